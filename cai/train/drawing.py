"""The figure of a training run: loss, and for preferences the margin and how often chosen beats rejected.

Drawn with matplotlib's Agg canvas on a figure of its own: no window, no state shared with anybody else's plots.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_PANELS = (
    ("loss", "loss"),
    ("rewards/margins", "margin of the rewards"),
    ("rewards/accuracies", "pairs ranked right"),
    ("margin", "margin of the scores"),
    ("accuracy", "pairs ranked right"),
    ("reward", "reward"),
)
"""Names in a trainer's log and what they say; only those that were logged are drawn. The test split's have `eval_`."""

_INCHES = (5.0, 3.4)  # of one panel
_TRAIN, _TEST = "#4269d0", "#ff725c"


def draw_training(history: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Return a PNG of a trainer's log: entries with `step` and whatever was measured there."""
    panels = [(name, label) for name, label in _PANELS if any(name in entry for entry in history)] or [_PANELS[0]]
    figure = Figure(figsize=(_INCHES[0] * len(panels), _INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    for place, (name, label) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        drawn = _curve(axes, history, name, "training", _TRAIN, "")
        if _curve(axes, history, f"eval_{name}", "test split", _TEST, "o") and drawn:
            axes.legend(frameon=False)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def _curve(axes: Axes, history: Sequence[Mapping[str, Any]], name: str, label: str, colour: str, marker: str) -> bool:
    """Draw one measure and return whether there was any."""
    points = [(entry["step"], float(entry[name])) for entry in history if entry.get(name) is not None]
    points = [point for point in points if math.isfinite(point[1])]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, label=label, color=colour, marker=marker, markersize=3, linewidth=1.2)
    return bool(points)
