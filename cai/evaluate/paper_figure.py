"""An evaluation as one figure for a paper: every drawn share of every axis, as wide as a page's text (6.75 inches).

One panel an axis, in two columns; in a panel one row a measure, in a row one line a model from the low to the high end
of its interval. Letters stay letters (Type 42 fonts), so that a paper's text can be searched.
"""

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cai.drawing.canvas import COLOURS, MARKERS, encode, new_figure, style
from cai.drawing.lettering import find_lettering
from cai.evaluate.paper import Axis, axes_of
from cai.evaluate.results import Evaluation

_WIDTH = 6.75  # inches, like all below
_LINE, _TITLE, _SCALE, _LEGEND = 0.085, 0.24, 0.22, 0.3
_NAMES = 0.5
"""The part of a column that the measures' names take."""
_FONT = 6.5  # points
_LONGEST = 28  # letters of a line of a name


def draw_paper_figure(evaluation: Evaluation) -> dict[str, bytes]:
    """Return the figure as the content of a file of each form, by the file's name; nothing where no share is drawn."""
    axes = [
        Axis(one.title, tuple(each for each in one.measures if each.drawn), one.models) for one in axes_of(evaluation)
    ]
    axes = [one for one in axes if one.measures]
    if not axes:
        return {}
    labels = [model.label for model in evaluation.models]
    texts = [*labels, *(text for one in axes for text in (one.title, *(each.name for each in one.measures)))]
    lettering = find_lettering(texts)
    columns = _columns(axes, len(labels))
    height = max(sum(_height(one, len(labels)) for one in column) for column in columns) + _LEGEND
    with style(lettering, _FONT):
        figure = new_figure(_WIDTH, height, layout=None)
        for place, column in enumerate(columns):
            top = height - _LEGEND
            for one in column:
                below = top - _height(one, len(labels))
                panel = _panel(figure, place / len(columns), 1 / len(columns), (top, below, height))
                _draw_axis(panel, one, lettering.words)
                top = below
        _legend(figure, [lettering.words[label] for label in labels])
        return {"figure.pdf": encode(figure, "pdf"), "figure.svg": encode(figure, "svg")}


def _columns(axes: Sequence[Axis], models: int) -> list[list[Axis]]:
    """Return the axes in two columns of about one height, in their order; in one where there is one."""
    if len(axes) == 1:
        return [list(axes)]
    heights = [_height(one, models) for one in axes]
    cuts = range(1, len(axes))
    cut = min(cuts, key=lambda place: max(sum(heights[:place]), sum(heights[place:])))
    return [list(axes[:cut]), list(axes[cut:])]


def _height(axis: Axis, models: int) -> float:
    return _TITLE + _SCALE + len(axis.measures) * (models + 1) * _LINE


def _panel(figure: Figure, left: float, width: float, ends: tuple[float, float, float]) -> Axes:
    """Return the place for one axis; `ends` are its top, its bottom and the figure's height, in inches."""
    top, bottom, whole = ends
    start = left + _NAMES * width
    place = (start, (bottom + _SCALE) / whole, left + width - start - 0.03, (top - bottom - _SCALE - _TITLE) / whole)
    return figure.add_axes(place)


def _draw_axis(axes: Axes, axis: Axis, words: Mapping[str, str]) -> None:
    lines = len(axis.models) + 1
    axes.set_xlim(0, 100)
    axes.set_ylim(lines * len(axis.measures), 0)
    axes.set_title(words[axis.title], loc="left", fontsize=_FONT + 1, fontweight="bold", parse_math=False, pad=3)
    names = [words[measure.name] for measure in axis.measures]
    names = [textwrap.fill(name, _LONGEST, max_lines=2, placeholder="…") for name in names]
    axes.set_yticks([lines * (place + 0.5) for place in range(len(names))], names, parse_math=False)
    axes.set_xticks(range(0, 101, 25), [f"{share} %" for share in range(0, 101, 25)], fontsize=_FONT - 1)
    axes.grid(axis="x", color="#d8d8d8", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, measure in enumerate(axis.measures):
        for place, model in enumerate(axis.models):
            found = model.told(measure)
            height = lines * row + place + 1.0
            if found is None:
                axes.text(1, height, "too few", va="center", fontsize=_FONT - 1.5, color="#777777", style="italic")
                continue
            value, low, high = (
                100 * (found.value if end is None else end) for end in (found.value, found.low, found.high)
            )
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            axes.plot([low, high], [height, height], color=colour, linewidth=1.2, clip_on=False)
            axes.plot([value], [height], color=colour, marker=marker, markersize=3.2, clip_on=False)


def _legend(figure: Figure, labels: Sequence[str]) -> None:
    place = figure.add_axes((0.0, 0.99, 0.01, 0.01))
    place.set_axis_off()
    for number, label in enumerate(labels):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        place.plot([], [], color=colour, marker=marker, markersize=4, linewidth=1.4, label=label)
    found = figure.legend(loc="upper left", ncols=max(1, min(4, len(labels))), frameon=False, borderpad=0.1)
    for text in found.get_texts():
        text.set_parse_math(False)
