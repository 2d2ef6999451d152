"""Who interferes with whom: each task's held-out loss while the others train, and the cosine of every two gradients.

Read from a trainer's log, where a task's evaluation is `eval_TASK_loss` and beside it the method's own measures, and a
cosine `cosine/TASK/TASK` (PCGrad: the mean of the steps since the line before) or `eval_cosine/TASK/TASK` (held-out
examples). A cosine below 0 says that a small step for one of both raises the other's loss.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cai.core.markdown import table
from cai.train.metrics import losses
from cai.train.tasks.surgery import Matrix

COSINE = "cosine"
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
    return losses(history, f"{COSINE}/{one}/{other}") + losses(history, f"eval_{COSINE}/{one}/{other}")


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
