"""How a training run ended: train.json for machines and later runs, a summary for whoever asked for it."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cai.rundir.manifest import now, this_writer
from cai.train.fit import Fitted
from cai.train.folder import FORMAT
from cai.train.metrics import losses, tokens_seen
from cai.train.plan import TrainPlan, settings_as_json
from cai.train.tasks.interference import mean_cosines, name_cosines, task_figures

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """How a run ended.

    `seconds` and `tokens_per_second` are those of this process's training, the rest is the whole run's. `already`
    says that nothing was done, because OUT was finished before. `best_step` is the step whose weights were kept, with
    a test split. `tokens` is 0 where a method does not count them. `cut_answers` counts the examples of which an
    answer was cut at `max_length` tokens. `measured` is what the trainer measured of the trained model: of a reward
    model how often it is right (`cai.train.trainers.reward_measuring`).
    """

    out: Path
    method: str
    status: Literal["done", "interrupted"]
    already: bool
    steps: int
    epochs: float
    resumed: int | None
    loss: float | None
    best_eval_loss: float | None
    best_step: int | None
    tokens: int
    seconds: float
    tokens_per_second: float
    left_out: Mapping[str, int]
    cut_answers: int
    max_length: int
    hardware: str
    measured: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the summary as what JSON can say."""
        return asdict(self) | {"out": str(self.out)}


def summarize(
    plan: TrainPlan, fitted: Fitted, left_out: Mapping[str, int], measured: Mapping[str, Any]
) -> TrainSummary:
    """Return the summary of what this process did; `left_out` counts by reason, the data's and the trainer's."""
    trained = losses(fitted.history)
    best = min(losses(fitted.history, "eval_loss"), key=lambda point: point[1], default=None)
    return TrainSummary(
        out=plan.settings.out,
        method=plan.settings.method,
        status="interrupted" if fitted.interrupted else "done",
        already=False,
        steps=fitted.steps,
        epochs=fitted.epochs,
        resumed=fitted.resumed,
        loss=trained[-1][1] if trained else None,
        best_eval_loss=None if best is None else best[1],
        best_step=None if best is None else best[0],
        tokens=tokens_seen(fitted.history),
        seconds=fitted.seconds,
        tokens_per_second=tokens_seen(fitted.history, fitted.resumed or 0) / fitted.seconds,
        left_out=dict(left_out),
        cut_answers=plan.cut.answers,
        max_length=plan.cut.length,
        hardware=plan.hardware.sentence(),
        measured=dict(measured),
    )


def manifest(
    plan: TrainPlan, summary: TrainSummary, files: list[str], history: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return train.json; `files` are those of the model, `history` is the trainer's log."""
    adapter = plan.settings.adapter
    return {
        "format": FORMAT,
        "name": summary.out.absolute().name,
        "finished": now(),
        "identity": plan.identity(),
        "base": plan.source.name,
        "base_model": plan.source.hub,
        "adapter": None if adapter.adapter == "none" or adapter.merge else adapter.adapter,
        **{name: value for name, value in summary.as_json().items() if name not in ("out", "already")},
        "hardware": plan.hardware.as_json(),
        "hardware_sentence": summary.hardware,
        "parts": [asdict(part) for part in plan.examples.parts],
        "tasks": _tasks(plan, summary, history),
        "settings": settings_as_json(plan.settings),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "writer": asdict(this_writer()),
        "files": files,
    }


def _tasks(plan: TrainPlan, summary: TrainSummary, history: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what was measured of each task with the weights that were kept, and how their gradients lie."""
    if plan.tasks is None or len(plan.tasks.names) < 2:
        return None
    names = plan.tasks.names
    cosines = mean_cosines(names, history)
    return {
        "weights": plan.tasks.weights,
        "measured": task_figures(names, history, summary.best_step),
        "cosines": {} if cosines is None else name_cosines(names, cosines),
    }


def recall(out: Path, recorded: Mapping[str, Any]) -> TrainSummary:
    """Return the summary of a run that was finished before, from its train.json."""
    names = set(TrainSummary.__dataclass_fields__) - {"out", "already", "hardware"}
    return TrainSummary(
        **{name: recorded[name] for name in names}, out=out, already=True, hardware=recorded["hardware_sentence"]
    )
