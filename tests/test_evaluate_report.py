"""The picture of an evaluation shows what was measured, where it was measured, in whatever words it was asked for."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cai.evaluate.drawing import Group, draw_evaluation
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

from cai.evaluate import drawing as evaluation


@dataclass(frozen=True)
class Share:
    value: float | None
    low: float | None
    high: float | None


BASE, SFT = "base", "after SFT"
GROUPS = (
    Group("no-doses", {BASE: Share(0.62, 0.55, 0.69), SFT: Share(0.034, 0.01, 0.07)}),
    Group("kind-tone", {BASE: Share(0.97, 0.94, 0.99), SFT: Share(0.0, 0.0, 0.02)}),
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return the figures that were made, as they are when they have been written."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments: object, **options: object) -> None:
        if self not in figures:
            figures.append(self)
        save(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def across(line: Line2D) -> tuple[float, ...]:
    """Return where a line's points lie on the axis, in percent."""
    return tuple(np.round(np.asarray(line.get_xdata(), dtype=float), 6).tolist())


def lines(figure: Figure) -> list[Line2D]:
    """Return the intervals and the markers, the legend's own lines left out."""
    return [line for line in figure.axes[0].lines if min(across(line)) >= 0]


def said(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_each_model_has_its_interval_in_each_row(drawn: list[Figure]) -> None:
    draw_evaluation(GROUPS, "n = 400")
    axes = drawn[0].axes[0]
    spans = {(across(line), line.get_color()) for line in lines(drawn[0])}
    base, sft = evaluation._COLOURS[:2]
    assert {((55, 69), base), ((62,), base), ((1, 7), sft), ((3.4,), sft), ((0, 2), sft), ((97,), base)} <= spans
    assert said(drawn[0]) == ["62", "97", "3.4", "0"]
    assert axes.get_xlim() == (0, 100)
    heights = [float(np.asarray(line.get_ydata(), dtype=float)[0]) for line in lines(drawn[0])]
    bottom, top = axes.get_ylim()
    assert top < min(heights) < max(heights) < bottom, "the first row stands on top, and all are inside"
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert ticks == ["no-doses", "kind-tone"]
    nearest = [ticks[int(np.argmin(np.abs(axes.get_yticks() - height)))] for height in sorted(set(heights))]
    assert nearest == ["no-doses", "no-doses", "kind-tone", "kind-tone"]


def test_legend_and_caption_are_there_and_nothing_leaves_the_page(drawn: list[Figure]) -> None:
    caption = "Constitution medical 1.0.0, n = 400 prompts, 95 % bootstrap intervals, baseline base, 2026-11-21"
    long = "a principle with an exceedingly long name that nobody thought about"
    draw_evaluation([*GROUPS, Group(long, GROUPS[0].figures)], caption)
    figure = drawn[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [BASE, SFT]
    assert figure.get_supxlabel() == caption
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    texts = [*figure.axes[0].get_yticklabels(), *figure.axes[0].get_xticklabels(), *figure.axes[0].texts]
    texts += [*figure.legends[0].get_texts(), figure._supxlabel]  # type: ignore[attr-defined]
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_what_was_not_measured_is_said_and_a_value_without_interval_is_a_marker(
    drawn: list[Figure],
) -> None:
    groups = [
        Group("a", {BASE: Share(None, None, None), SFT: Share(0.5, None, None)}),
        Group("b", {SFT: GROUPS[0].figures[SFT]}),
    ]
    draw_evaluation(groups, "")
    assert said(drawn[0]) == ["not measured", "not measured", "50", "3.4"]
    assert {across(line) for line in lines(drawn[0])} >= {(50.0, 50.0), (50.0,)}


def test_same_input_same_bytes() -> None:
    one, two = (draw_evaluation(GROUPS, "n = 400") for _ in range(2))
    assert one == two
    assert list(one) == ["png", "svg"]


def test_files_are_pictures_wide_enough_for_a_slide(tmp_path: Path) -> None:
    for form, data in draw_evaluation(GROUPS, "n = 400").items():
        (tmp_path / f"e.{form}").write_bytes(data)
    pixels = imread(tmp_path / "e.png")
    assert pixels.shape[1] >= 1920
    for colour in evaluation._COLOURS[:2]:
        assert (np.abs(pixels[..., :3] - to_rgb(colour)).max(axis=2) < 0.01).sum() > 1000, "every model can be seen"
    assert ElementTree.parse(tmp_path / "e.svg").getroot().tag.endswith("svg")
    assert not re.search(r"<dc:date>", (tmp_path / "e.svg").read_text())


@pytest.mark.parametrize("odd", [r"$\frac{$ _x_ & <b>", "해치지 않음", "a" * 80])
def test_names_are_taken_as_they_are(odd: str, drawn: list[Figure]) -> None:
    # The first would be refused as a formula; the second warns, an error here, where no font has its letters.
    draw_evaluation([Group(odd, {odd: Share(0.5, 0.4, 0.6)})], odd)
    assert drawn[0].axes[0].get_yticklabels()[0].get_text().replace("\n", "") == odd


def test_many_models_look_different(drawn: list[Figure]) -> None:
    models = {f"model {number}": Share(0.5, 0.4, 0.6) for number in range(20)}
    draw_evaluation([Group("a", models)], "")
    marks = [(line.get_color(), line.get_marker()) for line in lines(drawn[0]) if len(across(line)) == 1]
    assert len(set(marks)) == 20


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="without groups"):
        draw_evaluation([], "")
