"""The pictures of an evaluation show what was measured, where it was measured, in whatever words it was asked for."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.text import Text

from cai.drawing.canvas import COLOURS
from cai.evaluate.chart import ROWS, ChartRow, draw_chart, draw_evaluation
from cai.evaluate.measures import Measure, measures_of
from cai.evaluate.results import Evaluation, Measurement, ModelResult


@dataclass(frozen=True)
class Share:
    value: float | None
    low: float | None
    high: float | None


BASE, SFT = "base", "after SFT"
ROWS_OF_TWO = (
    ChartRow("no-doses", {BASE: Share(0.62, 0.55, 0.69), SFT: Share(0.034, 0.01, 0.07)}),
    ChartRow("kind-tone", {BASE: Share(0.97, 0.94, 0.99), SFT: Share(0.0, 0.0, 0.02)}),
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


def texts_of(figure: Figure) -> list[Text]:
    texts = [*figure.axes[0].get_yticklabels(), *figure.axes[0].get_xticklabels(), *figure.axes[0].texts]
    return [*texts, *figure.legends[0].get_texts(), figure._supxlabel]  # type: ignore[attr-defined]


def test_each_model_has_its_interval_in_each_row(drawn: list[Figure]) -> None:
    draw_chart(ROWS_OF_TWO, "n = 400")
    axes = drawn[0].axes[0]
    spans = {(across(line), line.get_color()) for line in lines(drawn[0])}
    base, sft = COLOURS[:2]
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
    draw_chart([*ROWS_OF_TWO, ChartRow(long, ROWS_OF_TWO[0].shares)], caption)
    figure = drawn[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [BASE, SFT]
    assert figure.get_supxlabel() == caption
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    boxes = [text.get_window_extent(renderer) for text in texts_of(figure)]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_what_was_not_measured_is_said_and_a_value_without_interval_is_a_marker(
    drawn: list[Figure],
) -> None:
    rows = [
        ChartRow("a", {BASE: Share(None, None, None), SFT: Share(0.5, None, None)}),
        ChartRow("b", {SFT: ROWS_OF_TWO[0].shares[SFT]}),
    ]
    draw_chart(rows, "")
    assert said(drawn[0]) == ["not measured", "not measured", "50", "3.4"]
    assert {across(line) for line in lines(drawn[0])} >= {(50.0, 50.0), (50.0,)}


def test_same_input_same_bytes() -> None:
    one, two = (draw_chart(ROWS_OF_TWO, "n = 400") for _ in range(2))
    assert one == two
    assert list(one) == ["png", "svg"]


def test_files_are_pictures_wide_enough_for_a_slide(tmp_path: Path) -> None:
    for form, data in draw_chart(ROWS_OF_TWO, "n = 400").items():
        (tmp_path / f"e.{form}").write_bytes(data)
    pixels = imread(tmp_path / "e.png")
    assert pixels.shape[1] >= 1920
    for colour in COLOURS[:2]:
        assert (np.abs(pixels[..., :3] - to_rgb(colour)).max(axis=2) < 0.01).sum() > 1000, "every model can be seen"
    assert ElementTree.parse(tmp_path / "e.svg").getroot().tag.endswith("svg")
    assert not re.search(r"<dc:date>", (tmp_path / "e.svg").read_text())


@pytest.mark.parametrize("odd", [r"$\frac{$ _x_ & <b>", "a" * 80])
def test_names_are_taken_as_they_are(odd: str, drawn: list[Figure]) -> None:
    # The first would be refused as a formula.
    draw_chart([ChartRow(odd, {odd: Share(0.5, 0.4, 0.6)})], odd)
    assert drawn[0].axes[0].get_yticklabels()[0].get_text().replace("\n", "") == odd


def test_many_models_look_different(drawn: list[Figure]) -> None:
    models = {f"model {number}": Share(0.5, 0.4, 0.6) for number in range(20)}
    draw_chart([ChartRow("a", models)], "")
    marks = [(line.get_color(), line.get_marker()) for line in lines(drawn[0]) if len(across(line)) == 1]
    assert len(set(marks)) == 20


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="without rows"):
        draw_chart([], "")


@pytest.mark.parametrize(
    ("titles", "models"),
    [
        (["a principle with an exceedingly long name that nobody thought about, three lines of it"] * 4, 1),
        ([f"row {number}" for number in range(8)], 7),
        (["one"], 1),
        ([f"a longer title of row {number} (n = 1,200)" for number in range(8)], 4),
    ],
)
@pytest.mark.parametrize("label", ["m", "a-model-with-a-label-of-eighty-characters-" + "x" * 37])
def test_no_text_is_printed_over_another(drawn: list[Figure], titles: list[str], models: int, label: str) -> None:
    shares = {f"{label}{number}": Share(0.5, 0.02, 0.98) for number in range(models)}
    draw_chart([ChartRow(f"{title} {place}", shares) for place, title in enumerate(titles)], "n = 400; " * 30)
    (figure,) = drawn
    assert isinstance(figure.canvas, FigureCanvasAgg)
    figure.canvas.draw()  # type: ignore[no-untyped-call]  # the last one was for another resolution
    renderer = figure.canvas.get_renderer()  # type: ignore[no-untyped-call]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts_of(figure) if text.get_text()]
    for place, (one, box) in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, one  # noqa: PT018
        for other, beside in boxes[:place]:
            apart = min(box.x1, beside.x1) - max(box.x0, beside.x0), min(box.y1, beside.y1) - max(box.y0, beside.y0)
            assert min(apart) <= 1, f"{one!r} and {other!r} share a place"


KOREAN = "해치지-않음"


def write_font(path: Path, letters: str) -> None:
    """Write a font that has these letters, all of them squares."""
    pen = TTGlyphPen(None)
    for draw, point in ((pen.moveTo, (0, 0)), (pen.lineTo, (0, 700)), (pen.lineTo, (700, 700)), (pen.lineTo, (700, 0))):
        draw(point)
    pen.closePath()
    square, names = pen.glyph(), [".notdef", *(f"uni{ord(letter):04X}" for letter in letters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    font.setupGlyf(dict.fromkeys(names, square))
    font.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)


def test_letters_that_no_font_has_are_numbers_and_no_boxes(
    drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    row = ChartRow(f"breaks {KOREAN} (n = 4)", {"모델": Share(0.5, 0.4, 0.6), "base": Share(0.5, 0.4, 0.6)})
    draw_chart(
        [row, ChartRow(KOREAN, row.shares)], "한국어 1.0.0, n = 4"
    )  # where a letter is missing, matplotlib warns
    figure = drawn[0]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["breaks [2] (n = 4)", "[2]"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["[1]", "base"]
    caption = " ".join(figure.get_supxlabel().split())
    assert caption.startswith("[3] 1.0.0, n = 4; [1], [2], [3]: names in letters that no installed font has")


def test_a_font_that_has_the_letters_is_found(
    drawn: list[Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_font(tmp_path / "squares.ttf", "해치지않음")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    font_manager.fontManager.addfont(tmp_path / "squares.ttf")
    draw_chart([ChartRow(KOREAN, ROWS_OF_TWO[0].shares)], "n = 4")
    assert drawn[0].axes[0].get_yticklabels()[0].get_text() == KOREAN
    assert drawn[0].get_supxlabel() == "n = 4"


def test_few_answers_have_no_line_and_the_unanswered_are_in_the_title(drawn: list[Figure]) -> None:
    measures = tuple(measure for measure in measures_of(("dose",)) if measure.name == "breaks dose")
    made = evaluation_of({"well": {"breaks dose": 0.5}, "badly": {"breaks dose": 0.5}, "never": {}}, measures)
    well, badly, never = made.models
    badly, never = replace(badly, unanswered={"breaks dose": 41}), replace(never, unanswered={"breaks dose": 7})
    draw_evaluation(replace(made, models=(well, badly, never)))
    axes = drawn[0].axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert "20 of 40, too few for a share" in texts
    assert "0 of 0, too few for a share" in texts
    title = axes.get_yticklabels()[0].get_text().replace("\xa0", " ").replace("\n", " ")
    assert title == "breaks dose ↓ (n = 0 to 40, unanswered 0 to 41)"


def evaluation_of(values: dict[str, dict[str, float]], measures: tuple[Measure, ...]) -> Evaluation:
    """Return an evaluation in which every model has these values, by its label and the measures' names."""
    models = tuple(
        ModelResult(
            label=label,
            engine=label,
            measurements=tuple(Measurement(name, value, value, value, 40) for name, value in found.items()),
            differences=(),
            discordance=None,
            failures={},
            failed_gates={},
        )
        for label, found in values.items()
    )
    return Evaluation(
        out=Path("out"),
        constitution="mine 1.0.0 abc",
        judge="judge",
        baseline=None,
        prompts=40,
        understood=0,
        unusable={},
        duplicates=0,
        seed=0,
        finished="2026-11-25T20:00:00+00:00",
        measures=measures,
        models=models,
        pairs=(),
        ratings=(),
        calibration=(),
        detector=(),
    )


def test_a_picture_for_all_principles_and_one_for_each_with_what_differs_most(drawn: list[Figure]) -> None:
    principles = [f"principle-{number:02d}" for number in range(20)]
    values = {f"breaks {name}": place / 40 for place, name in enumerate(principles)} | {"refuses, benign": 0.1}
    base = dict.fromkeys(values, 0.0) | {"words": 80.0, "answered": 1.0}
    pictures = draw_evaluation(evaluation_of({"base": base, "sft": values}, measures_of(principles)))
    assert list(pictures) == ["evaluation.png", "evaluation.svg", "principles.png", "principles.svg"]
    over_all, each = [[label.get_text() for label in figure.axes[0].get_yticklabels()] for figure in drawn]
    assert [title.replace("\xa0", " ") for title in over_all] == ["refuses, benign ↓ (n = 40)"], (
        "neither what is no share nor what nobody compares"
    )
    assert [title.split()[1] for title in each] == principles[-ROWS:], "in the table's order"
    caption = " ".join(drawn[1].get_supxlabel().split())
    assert caption.endswith(f"{ROWS} of 20 measures: where the models differ most")


def test_nothing_is_drawn_of_nothing() -> None:
    assert draw_evaluation(evaluation_of({"mute": {"answered": 0.0}}, measures_of(["a"]))) == {}
