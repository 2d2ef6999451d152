"""The reliability diagram: how often a judge's label is right, beside how sure it is of it; a panel a judge.

On the diagonal a label means what it says; below it the judge is surer than it is right. A marker's area says how many
labels it stands for, its line the share's 95 % interval.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes

from cai.core.reliability import Reliability
from cai.core.shares import wilson
from cai.drawing.canvas import COLOURS, encode, new_figure, style
from cai.drawing.lettering import find_lettering
from cai.judge_bench.results import JudgeMeasures

PANELS = 6
"""Judges that are drawn at most, the first ones."""

_COLUMNS = 3
_SIDE = 3.2  # inches
_GREY = "#777777"


def draw_reliability(judges: Sequence[JudgeMeasures]) -> dict[str, bytes]:
    """Return the diagram by file name, of the judges that label anything; nothing where none does."""
    drawn = [(judge.label, judge.labels) for judge in judges if judge.labels is not None][:PANELS]
    if not drawn:
        return {}
    columns = min(_COLUMNS, len(drawn))
    lines = -(-len(drawn) // columns)
    lettering = find_lettering([label for label, _ in drawn])
    with style(lettering):
        figure = new_figure(columns * _SIDE, lines * (_SIDE + 0.5))
        for place, (label, labels) in enumerate(drawn, start=1):
            _draw_panel(figure.add_subplot(lines, columns, place), lettering.words[label], labels)
        about = "how sure the judge is of the answer it prefers"
        figure.supxlabel("\n".join(filter(None, (about, lettering.note))), fontsize=10)
        figure.supylabel("how often people prefer it too", fontsize=10)
        return {"reliability.png": encode(figure, "png"), "reliability.svg": encode(figure, "svg")}


def _draw_panel(axes: Axes, label: str, labels: Reliability) -> None:
    axes.plot([0.5, 1], [0.5, 1], color=_GREY, linewidth=1, linestyle="--")
    for one in labels.bins:
        ends = wilson(min(max(one.happened, 0.0), 1.0) * one.count, one.count)
        axes.plot([one.said, one.said], [ends.low, ends.high], color=COLOURS[0], linewidth=1.6)
        axes.scatter([one.said], [one.happened], s=20 + 180 * one.count / labels.count, color=COLOURS[0], zorder=3)
    title = f"{label}\nECE {labels.error:.3f}, Brier {labels.brier:.3f}, n = {labels.count:,}"
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlim(0.48, 1.02)
    axes.set_ylim(0, 1.03)
    axes.grid(color="#d0d0d0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
