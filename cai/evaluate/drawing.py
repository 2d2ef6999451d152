"""The picture of an evaluation: measured shares with their intervals, models side by side, ready for a slide.

One row a group (a principle, say); in a row, one line a model goes from the low to the high end of its interval, with a
marker and a number at the value. Models differ in colour and in marker; the colours are those of Okabe and Ito ("Color
Universal Design", 2008), which stay apart for people who are colour-blind. Matplotlib's Agg canvas on a figure of its
own: no window, no state shared with other plots. The same input gives the same bytes.
"""

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MARKERS = "osD^vPX*"  # as many as share no factor with the colours: fifty-six models look different

_WIDTH = 10.0  # inches, like the heights below
_LINE = 0.21  # of a model's line
_AROUND = 1.5  # for the legend, the axis and the caption
_BETWEEN = 0.7  # lines left free between two rows
_RESOLUTION = 200
_LARGE, _SMALL = 12.5, 10.5  # points
_ROW, _LABEL, _CAPTION = 30, 32, 105  # characters before a text is broken

_HANGUL = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo", "Malgun Gothic", "Baekmuk Gulim")
"""Fonts for Korean names, which the ordinary font lacks; only those that are installed are asked."""


class Measured(Protocol):
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
class Group:
    """One row of the picture: what was measured, and each model's share by the model's label."""

    title: str
    figures: Mapping[str, Measured]


def draw_evaluation(groups: Sequence[Group], caption: str) -> dict[str, bytes]:
    """Return the picture as the content of a file of each form, `png` and `svg`.

    Rows stand in the order of `groups`, models in the order in which the groups name them first; where a model has no
    share the picture says so. `caption` stands below everything; it should tell how many prompts there were, and when.
    Raises ValueError when there is no group.
    """
    if not groups:
        raise ValueError("an evaluation without groups cannot be drawn")
    installed = {font.name for font in font_manager.fontManager.ttflist}
    fonts = ["DejaVu Sans", *(name for name in _HANGUL if name in installed)]
    png, svg = io.BytesIO(), io.BytesIO()
    # Shapes instead of letters, so that the drawing looks the same where a font is missing.
    with (
        rc_context({"font.family": fonts, "svg.hashsalt": "cai", "svg.fonttype": "path"}),
        warnings.catch_warnings(),
    ):
        # Letters that no installed font has are drawn as boxes; a warning for each of them helps nobody.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = _picture(groups, caption)
        figure.savefig(png, format="png", dpi=_RESOLUTION)
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return {"png": png.getvalue(), "svg": svg.getvalue()}


def _picture(groups: Sequence[Group], caption: str) -> Figure:
    models = list(dict.fromkeys(label for group in groups for label in group.figures))
    row_height = len(models) + _BETWEEN  # heights on the axis are in lines, from the top
    figure = Figure(figsize=(_WIDTH, _AROUND + len(groups) * row_height * _LINE), layout="constrained", facecolor="w")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _frame(axes, [group.title for group in groups], row_height)
    for place, label in enumerate(models):
        colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
        # This line lies off the picture: it names the model in the legend even where nothing of it was measured.
        name = textwrap.fill(label, _LABEL)
        axes.plot([-100], [0], color=colour, marker=marker, markersize=8, linewidth=2.6, label=name)
        for number, group in enumerate(groups):
            height = number * row_height + _BETWEEN / 2 + place + 0.5
            _draw_line(axes, group.figures.get(label), height, colour, marker)
    if models:
        legend = figure.legend(loc="outside upper left", ncols=min(3, len(models)), frameon=False, fontsize=_LARGE)
        for text in legend.get_texts():
            text.set_parse_math(False)
    below = figure.supxlabel(textwrap.fill(caption, _CAPTION), x=0.01, ha="left", fontsize=_SMALL, color="#555555")
    below.set_parse_math(False)
    return figure


def _frame(axes: Axes, titles: Sequence[str], row_height: float) -> None:
    """Draw an axis from 0 to 100 % and name the rows, every other one on grey."""
    axes.set_xlim(0, 100)
    axes.set_ylim(len(titles) * row_height, 0)
    axes.set_xticks(range(0, 101, 20), [f"{share} %" for share in range(0, 101, 20)], fontsize=_LARGE)
    middles = [(number + 0.5) * row_height for number in range(len(titles))]
    axes.set_yticks(middles, [textwrap.fill(title, _ROW) for title in titles], fontsize=_LARGE, parse_math=False)
    for number in range(0, len(titles), 2):
        axes.axhspan(number * row_height, (number + 1) * row_height, color="#f3f3f3", zorder=0)
    axes.grid(axis="x", color="#d0d0d0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=9)  # room for a marker at 0 %
    axes.spines[:].set_visible(False)


def _draw_line(axes: Axes, measured: Measured | None, height: float, colour: str, marker: str) -> None:
    """Draw one model's line in one row."""
    if measured is None or measured.value is None:
        axes.text(0.8, height, "not measured", va="center", fontsize=_SMALL, color="#777777", style="italic")
        return
    value = 100 * measured.value
    low, high = (value if end is None else 100 * end for end in (measured.low, measured.high))
    axes.plot([low, high], [height, height], color=colour, linewidth=2.6, solid_capstyle="butt", clip_on=False)
    axes.plot([value], [height], color=colour, marker=marker, markersize=8, clip_on=False)
    # Right of the interval, or left of it where the axis is about to end.
    right = high < 92
    axes.annotate(
        f"{value:.1f}" if 0 < value < 9.95 else f"{value:.0f}",
        (high if right else low, height),
        xytext=(9 if right else -9, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center_baseline",
        fontsize=_SMALL,
        color="#333333",
    )
