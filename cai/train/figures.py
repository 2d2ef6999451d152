"""The pictures beside a trained model: what its trainer logged by step, and where there were tasks, who interfered.

Only what was measured is drawn: of a preference's training also the margin and how often chosen beats rejected.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cai.drawing.canvas import COLOURS, MARKERS, encode, new_figure, style
from cai.drawing.lettering import Lettering, find_lettering
from cai.train.metrics import losses
from cai.train.tasks.interference import History, cosine_curve, mean_cosines
from cai.train.tasks.surgery import Matrix

_PANELS = (
    ("loss", "loss"),
    ("rewards/margins", "margin of the rewards"),
    ("rewards/accuracies", "pairs ranked right"),
    ("margin", "margin of the scores"),
    ("accuracy", "pairs ranked right"),
    ("correlation", "correlation of scores and labels"),
    ("reward", "reward"),
    ("reward_models/disagreement", "disagreement of the reward models, deviations"),
    ("kl", "KL from the reference"),
    ("explained_variance", "variance of the returns that the values explain"),
)
"""Names in a trainer's log and what they say; only those that were logged are drawn. The test split's have `eval_`."""

_WIDTH, _HEIGHT = 5.0, 3.4  # inches, of one panel


def draw_training(history: History, title: str) -> bytes:
    """Return a PNG of a trainer's log: entries with `step` and whatever was measured there."""
    panels = [
        (name, label) for name, label in _PANELS if any(name in entry or f"eval_{name}" in entry for entry in history)
    ] or [_PANELS[0]]
    lettering = find_lettering([title])
    with style(lettering):
        figure = _figure(len(panels), title, lettering)
        for place, (name, label) in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), place)
            drawn = _draw_curve(axes, losses(history, name), "training", 0, "")
            tested = _draw_curve(axes, losses(history, f"eval_{name}"), "test split", 1, MARKERS[0])
            _label(axes, label, legend=drawn and tested)
        return encode(figure, "png")


def draw_tasks(names: Sequence[str], history: History, title: str) -> bytes:
    """Return a PNG: the tasks' held-out losses by step, and where cosines were taken, these by step and as a matrix."""
    matrix = mean_cosines(names, history)
    panels = 1 if matrix is None else 3
    lettering = find_lettering([title, *names])
    with style(lettering):
        figure = _figure(panels, title, lettering)
        axes = figure.add_subplot(1, panels, 1)
        drawn = [
            _draw_curve(axes, losses(history, f"eval_{name}_loss"), lettering.words[name], number)
            for number, name in enumerate(names)
        ]
        _label(axes, "held-out loss", legend=any(drawn))
        if matrix is not None:
            axes = figure.add_subplot(1, panels, 2)
            pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
            drawn = [
                _draw_curve(axes, cosine_curve(*pair, history), ", ".join(lettering.words[one] for one in pair), number)
                for number, pair in enumerate(pairs)
            ]
            axes.axhline(0.0, color="black", linewidth=0.6)
            _label(axes, "cosine of the gradients", legend=any(drawn))
            _draw_matrix(figure.add_subplot(1, panels, 3), [lettering.words[name] for name in names], matrix)
        return encode(figure, "png")


def _figure(panels: int, title: str, lettering: Lettering) -> Figure:
    figure = new_figure(_WIDTH * panels, _HEIGHT)
    figure.suptitle(lettering.words[title], parse_math=False)
    if lettering.note:
        figure.supxlabel(lettering.note, fontsize="small")
    return figure


def _draw_curve(
    axes: Axes, points: Sequence[tuple[int, float]], label: str, number: int, marker: str | None = None
) -> bool:
    """Draw the points that are numbers and return whether there was any; the marker is the number's own by default."""
    points = [point for point in points if math.isfinite(point[1])]
    if points:
        steps, values = zip(*points, strict=True)
        colour, own = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.plot(
            steps,
            values,
            label=label,
            color=colour,
            marker=own if marker is None else marker,
            markersize=3,
            linewidth=1.2,
        )
    return bool(points)


def _label(axes: Axes, what: str, *, legend: bool) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel(what)
    axes.grid(alpha=0.25)
    if legend:
        for text in axes.legend(frameon=False).get_texts():
            text.set_parse_math(False)


def _draw_matrix(axes: Axes, names: Sequence[str], matrix: Matrix) -> None:
    axes.imshow(matrix, cmap="RdBu", vmin=-1.0, vmax=1.0)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_title("mean cosine", fontsize="medium")
    for (row, column), value in np.ndenumerate(matrix):
        if math.isfinite(value):
            colour = "white" if abs(value) > 0.6 else "black"
            axes.text(column, row, f"{value:+.2f}", ha="center", va="center", color=colour)
