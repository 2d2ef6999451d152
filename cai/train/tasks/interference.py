"""Who interferes with whom: each task's held-out loss while the others train, and the cosine of every two gradients.

Read from a trainer's log, where a task's evaluation is `eval_TASK_loss` and beside it the method's own measures, and a
cosine `cosine/TASK/TASK` (PCGrad: the mean of the steps since the line before) or `eval_cosine/TASK/TASK` (held-out
examples). A cosine below 0 says that a small step for one of both raises the other's loss.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cai.core.markdown import table
from cai.train.metrics import losses
from cai.train.tasks.surgery import Matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COSINE = "cosine"
_COLOURS = ("#4269d0", "#ff725c", "#3ca951", "#efb118", "#a463f2", "#6cc5b0", "#ff8ab7", "#9c6b4e")
_INCHES = (5.0, 3.4)
_NOT_TOLD = ("_runtime", "_samples_per_second", "_steps_per_second", "_num_tokens", "_model_preparation_time")

History = Sequence[Mapping[str, Any]]


def name_cosines(names: Sequence[str], matrix: Matrix, prefix: str = "") -> dict[str, float]:
    """Return the cosines of a matrix, (tasks, tasks), under the names that a log has for them, without nan."""
    return {
        f"{prefix}{COSINE}/{one}/{names[other]}": float(matrix[number, other])
        for number, one in enumerate(names)
        for other in range(number + 1, len(names))
        if np.isfinite(matrix[number, other])
    }


def mean_cosines(names: Sequence[str], history: History) -> Matrix | None:
    """Return every two tasks' mean cosine over a log, (tasks, tasks), 1 on the diagonal; None where none was taken."""
    found = np.eye(len(names))
    taken = False
    for number, one in enumerate(names):
        for other in range(number + 1, len(names)):
            values = [value for _, value in cosine_curve(one, names[other], history)]
            found[number, other] = found[other, number] = np.mean(values) if values else math.nan
            taken |= bool(values)
    return found if taken else None


def cosine_curve(one: str, other: str, history: History) -> list[tuple[int, float]]:
    """Return (step, cosine) of two tasks wherever it was taken."""
    entries = list(map(dict, history))
    return losses(entries, f"{COSINE}/{one}/{other}") + losses(entries, f"eval_{COSINE}/{one}/{other}")


def task_figures(names: Sequence[str], history: History, step: int | None) -> list[dict[str, Any]]:
    """Return what was measured of each task at a step: `name`, and every measure under its own name."""
    at_step = {name: value for entry in history if entry["step"] == step for name, value in entry.items()}
    return [
        {
            "name": task,
            **{
                name.removeprefix(f"eval_{task}_"): value
                for name, value in at_step.items()
                if name.startswith(f"eval_{task}_") and not name.endswith(_NOT_TOLD)
            },
        }
        for task in names
    ]


def draw_tasks(names: Sequence[str], history: History, title: str) -> bytes:
    """Return a PNG: the tasks' held-out losses by step, and where cosines were taken, these by step and as a matrix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (nothing else needs matplotlib)
    from matplotlib.figure import Figure  # noqa: PLC0415

    matrix = mean_cosines(names, history)
    panels = 1 if matrix is None else 3
    figure = Figure(figsize=(_INCHES[0] * panels, _INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    axes = figure.add_subplot(1, panels, 1)
    entries = list(map(dict, history))
    for number, name in enumerate(names):
        _curve(axes, losses(entries, f"eval_{name}_loss"), name, number)
    _label(axes, "held-out loss")
    if matrix is not None:
        axes = figure.add_subplot(1, panels, 2)
        pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
        for number, (one, other) in enumerate(pairs):
            _curve(axes, cosine_curve(one, other, history), f"{one}, {other}", number)
        axes.axhline(0.0, color="black", linewidth=0.6)
        _label(axes, "cosine of the gradients")
        _draw_matrix(figure.add_subplot(1, panels, 3), names, matrix)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def tell_tasks(manifest: Mapping[str, Any], picture: str) -> list[str]:
    """Return a model card's section on the tasks, in Markdown, from train.json; nothing where there is one task."""
    tasks = manifest["tasks"]
    if tasks is None:
        return []
    measures = list(dict.fromkeys(name for task in tasks["measured"] for name in task if name != "name"))
    rows = [
        ("weight of its loss", *(f"{weight:.3g}" for weight in tasks["weights"])),
        *((name, *(_figure(task.get(name)) for task in tasks["measured"])) for name in measures),
    ]
    cosines = [(*name.split("/")[1:], f"{value:+.3f}") for name, value in tasks["cosines"].items()]
    return [
        "## Tasks\n",
        *table(("on the test split", *(task["name"] for task in tasks["measured"])), rows),
        *table(("gradients of", "and of", "mean cosine"), cosines),
        f"![tasks]({picture})\n",
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _curve(axes: "Axes", points: Sequence[tuple[int, float]], label: str, number: int) -> None:
    points = [point for point in points if math.isfinite(point[1])]
    if points:
        steps, values = zip(*points, strict=True)
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(steps, values, label=label, color=colour, marker="o", markersize=3, linewidth=1.2)


def _label(axes: "Axes", what: str) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel(what)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def _draw_matrix(axes: "Axes", names: Sequence[str], matrix: Matrix) -> None:
    axes.imshow(matrix, cmap="RdBu", vmin=-1.0, vmax=1.0)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_title("mean cosine", fontsize="medium")
    for (row, column), value in np.ndenumerate(matrix):
        if math.isfinite(value):
            colour = "white" if abs(value) > 0.6 else "black"
            axes.text(column, row, f"{value:+.2f}", ha="center", va="center", color=colour)
