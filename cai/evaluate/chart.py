"""The pictures of an evaluation: measured shares with their intervals, models side by side, ready for a slide.

One row a measure; in a row, one line a model goes from the low to the high end of its interval, with a marker and a
number at the value. Models differ in colour and in marker. Where letters are replaced by numbers, the caption says so.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Protocol
from unicodedata import east_asian_width

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cai.core.counts import counted
from cai.drawing.canvas import COLOURS, MARKERS, encode, new_figure, style
from cai.drawing.lettering import find_lettering
from cai.evaluate.directory import FIGURES
from cai.evaluate.measures import Measure
from cai.evaluate.results import Evaluation, EvaluationSection, ModelResult

ROWS = 8
"""Rows a picture has at most; a slide holds no more."""

_WIDTH = 10.0  # inches, like the heights below
_LINE = 0.21  # of a model's line, and of a line of a row's title
_LEGEND_LINE, _CAPTION_LINE, _AXIS = 0.26, 0.19, 0.6
_BETWEEN = 0.7  # lines left free between two rows
_LARGE, _SMALL = 12.5, 10.5  # points
_ROW, _LABEL, _CAPTION = 30, 32, 105  # characters before a text is broken
_CHARACTER = 0.1  # of a large text, in inches

_ARROWS = {"low": "\xa0↓", "high": "\xa0↑", None: ""}


class Interval(Protocol):
    """A share in [0, 1] with the ends of its interval; None where there is none."""

    @property
    def value(self) -> float | None:
        """The share."""

    @property
    def low(self) -> float | None:
        """The low end of its interval."""

    @property
    def high(self) -> float | None:
        """The high end of its interval."""


@dataclass(frozen=True, slots=True)
class ChartRow:
    """One row of a picture: what was measured, and each model's share by the model's label.

    `notes` say of a model why it has no share.
    """

    title: str
    shares: Mapping[str, Interval]
    notes: Mapping[str, str] = field(default_factory=dict)


def draw_evaluation(evaluation: Evaluation) -> dict[str, bytes]:
    """Return the pictures by file name: `evaluation` over all principles, `principles` of each, one a section.

    There is none of nothing.
    """
    models = evaluation.models
    measured = [measure for measure in evaluation.measures if measure.drawn and _asked(models, measure)]
    pictures: dict[str, bytes] = {}
    for name, of_principles in (("evaluation", False), ("principles", True)):
        wanted = [measure for measure in measured if (measure.principle is not None) == of_principles]
        chosen = _choose(models, wanted)
        if chosen:
            left_out = f", {len(chosen)} of {len(wanted)} measures: where the models differ most"
            caption = _caption(evaluation, left_out if len(chosen) < len(wanted) else "")
            rows = [_row(models, measure) for measure in chosen]
            pictures |= {f"{name}.{form}": data for form, data in draw_chart(rows, caption).items()}
    for section in evaluation.sections:
        pictures |= _draw_section(evaluation, section)
    return pictures


def _draw_section(evaluation: Evaluation, section: EvaluationSection) -> dict[str, bytes]:
    wanted = [measure for measure in section.measures if measure.drawn and _asked(section.models, measure)]
    chosen = _choose(section.models, wanted)
    if not chosen:
        return {}
    left_out = f", {len(chosen)} of {len(wanted)} measures: where the models differ most"
    told = f"{section.title}, {counted(section.items, 'item')}; {_caption(evaluation, '')}"
    rows = [_row(section.models, measure) for measure in chosen]
    drawn = draw_chart(rows, told + (left_out if len(chosen) < len(wanted) else ""))
    return {f"{FIGURES}/{section.name}.{form}": data for form, data in drawn.items()}


def _asked(models: Sequence[ModelResult], measure: Measure) -> int:
    return sum(model.counts(measure.name)[1] for model in models)


def _values(models: Sequence[ModelResult], measure: Measure) -> list[float]:
    return [found.value for model in models if (found := model.told(measure)) is not None]


def _choose(models: Sequence[ModelResult], measures: Sequence[Measure]) -> list[Measure]:
    """Return the measures in which models differ most, in their own order, if there are more than a picture holds."""

    def spread(measure: Measure) -> float:
        values = _values(models, measure)
        return max(values) - min(values) if values else 0.0

    names = {measure.name for measure in sorted(measures, key=spread, reverse=True)[:ROWS]}
    return [measure for measure in measures if measure.name in names]


def _row(models: Sequence[ModelResult], measure: Measure) -> ChartRow:
    counts = {model.label: model.counts(measure.name) for model in models}
    shares = {model.label: found for model in models if (found := model.told(measure)) is not None}
    notes = {
        model.label: model.in_counts(measure) + ("" if measure.graded else ", too few for a share")
        for model in models
        if model.label not in shares and counts[model.label][1]
    }
    told = f"n\xa0=\xa0{_range(answered for answered, asked in counts.values() if asked)}"
    if any(answered < asked for answered, asked in counts.values()):
        told += f", unanswered\xa0{_range(asked - answered for answered, asked in counts.values() if asked)}"
    # Spaces that do not break keep the arrow beside the name, and the number together.
    return ChartRow(f"{measure.name}{_ARROWS[measure.better]} ({told})", shares, notes)


def _range(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,}\xa0to\xa0{found[-1]:,}"


def _caption(evaluation: Evaluation, left_out: str) -> str:
    constitution = " ".join(evaluation.constitution.split(" ")[:2])
    baseline = f", baseline {evaluation.baseline}" if evaluation.baseline else ""
    return (
        f"{constitution}, {counted(evaluation.prompts, 'prompt')}, n: those that count, "
        f"95 % bootstrap intervals{baseline}, judge {evaluation.judge}, {evaluation.finished[:10]}; "
        f"↓ lower is better, ↑ higher is better{left_out}"
    )


def draw_chart(rows: Sequence[ChartRow], caption: str) -> dict[str, bytes]:
    """Return a picture as the content of a file of each form, `png` and `svg`.

    Rows stand in their order, models in the order in which the rows name them first; where a model has no share the
    picture says so. `caption` stands below everything; it should tell how many prompts there were, and when. Raises
    ValueError when there is no row.
    """
    if not rows:
        raise ValueError("a picture without rows cannot be drawn")
    models = list(dict.fromkeys(label for row in rows for label in (*row.shares, *row.notes)))
    lettering = find_lettering([*models, *(row.title for row in rows), caption])
    words = lettering.words
    shares = [[row.shares.get(model, row.notes.get(model)) for model in models] for row in rows]
    below = "; ".join(filter(None, (words[caption], lettering.note)))
    with style(lettering):
        figure = _picture(shares, [words[model] for model in models], [words[row.title] for row in rows], below)
        return {"png": encode(figure, "png"), "svg": encode(figure, "svg")}


def _picture(
    shares: Sequence[Sequence[Interval | str | None]], labels: Sequence[str], titles: Sequence[str], caption: str
) -> Figure:
    """Draw a row of shares a title, in it a share a label, or why there is none."""
    titles, labels = [_broken(title, _ROW) for title in titles], [_broken(label, _LABEL) for label in labels]
    caption = _broken(caption, _CAPTION)
    # Heights on the axis are in lines, from the top.
    heights = [max(len(labels), title.count("\n") + 1) + _BETWEEN for title in titles]
    longest = max((_places(line) for label in labels for line in label.split("\n")), default=0)
    columns = max(1, min(3, len(labels), int(_WIDTH / (longest * _CHARACTER + 0.7))))
    legend_lines = sum(label.count("\n") + 1 for label in labels) / columns + 1
    around = _AXIS + legend_lines * _LEGEND_LINE + (caption.count("\n") + 1) * _CAPTION_LINE
    figure = new_figure(_WIDTH, around + sum(heights) * _LINE)
    axes = figure.add_subplot()
    tops = [0.0, *accumulate(heights)]
    _frame(axes, titles, tops)
    for place, label in enumerate(labels):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        # This line lies off the picture: it names the model in the legend even where nothing of it was measured.
        axes.plot([-100], [0], color=colour, marker=marker, markersize=8, linewidth=2.6, label=label)
        for top, height, row in zip(tops, heights, shares, strict=False):
            _draw_line(axes, row[place], top + (height - len(labels)) / 2 + place + 0.5, colour, marker)
    if labels:
        legend = figure.legend(loc="outside upper left", ncols=columns, frameon=False, fontsize=_LARGE)
        for text in legend.get_texts():
            text.set_parse_math(False)
    below = figure.supxlabel(caption, x=0.01, ha="left", fontsize=_SMALL, color="#555555")
    below.set_parse_math(False)
    return figure


def _broken(text: str, width: int) -> str:
    """Return a text in lines; letters that are as wide as two count for two."""
    return textwrap.fill(text, max(1, width * len(text) // max(1, _places(text))))


def _places(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _frame(axes: Axes, titles: Sequence[str], tops: Sequence[float]) -> None:
    """Draw an axis from 0 to 100 % and name the rows, every other one on grey."""
    axes.set_xlim(0, 100)
    axes.set_ylim(tops[-1], 0)
    axes.set_xticks(range(0, 101, 20), [f"{share} %" for share in range(0, 101, 20)], fontsize=_LARGE)
    middles = [(top + bottom) / 2 for top, bottom in pairwise(tops)]
    axes.set_yticks(middles, titles, fontsize=_LARGE, parse_math=False)
    for top, bottom in list(pairwise(tops))[::2]:
        axes.axhspan(top, bottom, color="#f3f3f3", zorder=0)
    axes.grid(axis="x", color="#d0d0d0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=9)  # room for a marker at 0 %
    axes.spines[:].set_visible(False)


def _draw_line(axes: Axes, share: Interval | str | None, height: float, colour: str, marker: str) -> None:
    """Draw one model's line in one row."""
    if share is None or isinstance(share, str) or share.value is None:
        axes.text(
            0.8,
            height,
            share if isinstance(share, str) else "not measured",
            va="center",
            fontsize=_SMALL,
            color="#777777",
            style="italic",
        )
        return
    value = 100 * share.value
    low, high = (value if end is None else 100 * end for end in (share.low, share.high))
    axes.plot([low, high], [height, height], color=colour, linewidth=2.6, solid_capstyle="butt", clip_on=False)
    axes.plot([value], [height], color=colour, marker=marker, markersize=8, clip_on=False)
    axes.annotate(
        f"{value:.1f}" if 0 < value < 9.95 else f"{value:.0f}",
        (high, height),  # right of the interval, where nothing else is
        xytext=(9, 0),
        textcoords="offset points",
        ha="left",
        va="center_baseline",
        fontsize=_SMALL,
        color="#333333",
    )
