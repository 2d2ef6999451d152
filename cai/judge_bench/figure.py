"""The reliability diagram: how often a judge's label is right, beside how sure it is of it; a panel a judge.

On the diagonal a label means what it says; below it the judge is surer than it is right. A marker's area says how many
labels it stands for, its line the share's 95 % interval. Matplotlib's Agg canvas on a figure of its own: no window, no
state shared with other plots; the same input gives the same bytes.
"""

import io
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cai.core.reliability import Reliability
from cai.core.shares import wilson
from cai.judge_bench.results import JudgeMeasures

PANELS = 6
"""Judges that are drawn at most, the first ones."""

_COLUMNS = 3
_SIDE = 3.2  # inches
_COLOUR, _GREY = "#0072b2", "#777777"
_RESOLUTION = 200


def draw_reliability(judges: Sequence[JudgeMeasures]) -> dict[str, bytes]:
    """Return the diagram by file name, of the judges that label anything; nothing where none does."""
    drawn = [(judge.label, judge.labels) for judge in judges if judge.labels is not None][:PANELS]
    if not drawn:
        return {}
    columns = min(_COLUMNS, len(drawn))
    lines = -(-len(drawn) // columns)
    pictures = {}
    with rc_context({"font.family": "DejaVu Sans", "svg.hashsalt": "cai", "svg.fonttype": "path"}):
        figure = Figure(figsize=(columns * _SIDE, lines * (_SIDE + 0.5)), layout="constrained")
        FigureCanvasAgg(figure)
        for place, (label, labels) in enumerate(drawn, start=1):
            _draw_panel(figure.add_subplot(lines, columns, place), label, labels)
        figure.supxlabel("how sure the judge is of the answer it prefers", fontsize=10)
        figure.supylabel("how often people prefer it too", fontsize=10)
        for form, about in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            data = io.BytesIO()
            figure.savefig(data, format=form, dpi=_RESOLUTION, metadata=about)
            pictures[f"reliability.{form}"] = data.getvalue()
    return pictures


def _draw_panel(axes: Axes, label: str, labels: Reliability) -> None:
    axes.plot([0.5, 1], [0.5, 1], color=_GREY, linewidth=1, linestyle="--")
    for one in labels.bins:
        ends = wilson(min(max(one.happened, 0.0), 1.0) * one.count, one.count)
        axes.plot([one.said, one.said], [ends.low, ends.high], color=_COLOUR, linewidth=1.6)
        axes.scatter([one.said], [one.happened], s=20 + 180 * one.count / labels.count, color=_COLOUR, zorder=3)
    title = f"{label}\nECE {labels.error:.3f}, Brier {labels.brier:.3f}, n = {labels.count:,}"
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlim(0.48, 1.02)
    axes.set_ylim(0, 1.03)
    axes.grid(color="#d0d0d0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
