"""Runs the loop's stages in order: those that are done stay, a stage that changed runs again with all that follow it.

Everything a stage did is in its own directory, and each verb goes on there by itself; the loop adds only which stage is
done. What a person sees of it is the caller's: a `Reporter`.
"""

from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from cai.core.machine import release_memory
from cai.core.paths import expand
from cai.data.export import ExportOptions, export_run
from cai.data.quality import load_quality
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.results import Evaluation
from cai.evaluate.run import evaluate
from cai.evaluate.settings import EvaluateSettings
from cai.generate.plan import plan_generate
from cai.generate.run import generate
from cai.generate.settings import GenerateSettings
from cai.loop.plan import LoopPlan
from cai.loop.recorded import record_loop
from cai.loop.settings import LoopSettings
from cai.loop.stage_records import StageRecord, changes, identity, read_record, write_record
from cai.loop.stages import Settings
from cai.pipeline.watch import Watch
from cai.rundir.claim import claim
from cai.rundir.owned import Owned
from cai.train.launching import choose_launch, gpus_to_share, train_launched
from cai.train.plan import plan_train
from cai.train.run import train
from cai.train.settings import TrainSettings

Result = TypeVar("Result")


class Reporter(Protocol):
    """Tells a person what happens: on a terminal, in a notebook, in a log."""

    @property
    def quiet(self) -> bool:
        """Whether nobody is to be told how far a stage is."""

    def say(self, line: str) -> None:
        """Tell what happens next, in one line."""

    def watched(self, job: Callable[[Watch], Awaitable[Result]]) -> Result:
        """Run an asynchronous job where the person can watch and interrupt it."""


@dataclass(frozen=True, slots=True)
class LoopOutcome:
    """What a loop ends with: the evaluation of all its models, or None when it was interrupted before that."""

    out: Path
    evaluation: Evaluation | None
    ran: tuple[str, ...]
    """The stages that were run now; the others were done before."""


def run_loop(plan: LoopPlan, reporter: Reporter) -> LoopOutcome:
    """Bring every stage to its end; raises what the stages raise, with all finished work kept."""
    with closing(claim(plan.out, "loop")) as owned:
        record_loop(owned, replace(plan.settings, out=plan.out))
        for line in plan.remarks:
            reporter.say(line)
        return _run_stages(plan, reporter, owned)


def _run_stages(plan: LoopPlan, reporter: Reporter, owned: Owned) -> LoopOutcome:
    done: dict[str, StageRecord] = {}
    ran: list[str] = []
    evaluation = None
    for stage in plan.stages:
        wanted = identity(stage, plan.content, {name: done[name] for name in stage.needs})
        before = read_record(owned, stage.name)
        finished = before is not None and before.status == "done" and dict(before.identity) == wanted
        done[stage.name] = StageRecord("done", wanted)
        if finished and not isinstance(stage.settings, EvaluateSettings):
            reporter.say(f"{stage.name}: done before")
            continue
        fresh = before is not None and dict(before.identity) != wanted
        if fresh and before is not None:
            reporter.say(f"{stage.name}: runs again, because it changed ({_first(changes(before.identity, wanted))})")
        elif not finished:
            reporter.say(f"{stage.name}: {'goes on' if before is not None else 'begins'}")
        if not finished:
            write_record(owned, stage.name, StageRecord("started", wanted))
            ran.append(stage.name)
        result = _run(_now(stage.settings, plan.settings, fresh=fresh), reporter)
        release_memory()  # the next stage opens models of its own
        if result == "interrupted":
            return LoopOutcome(plan.out, None, tuple(ran))
        if isinstance(result, Evaluation):
            evaluation = result
        write_record(owned, stage.name, done[stage.name])
    return LoopOutcome(plan.out, evaluation, tuple(ran))


def _now(settings: Settings, loop: LoopSettings, *, fresh: bool) -> Settings:
    """Return a stage's settings with what shapes this run of it and not what it makes."""
    if isinstance(settings, TrainSettings):
        return replace(settings, fresh=fresh)
    return replace(settings, fresh=fresh, retry_failed=loop.retry_failed, checking=loop.checking)


def _run(settings: Settings, reporter: Reporter) -> Evaluation | str:
    """Do one stage; return `interrupted` when the person stopped it before its end."""
    if isinstance(settings, GenerateSettings):
        plan = plan_generate(settings)
        summary = reporter.watched(lambda watch: generate(plan, watch))
        return summary.status
    if isinstance(settings, TrainSettings):
        # What is trained on lies beside its run, with the card and the ledger of what filters left out. Only now: other
        # filters are no reason to generate again.
        data = settings.data
        options = ExportOptions(test_share=data.test_share, quality=load_quality(data.quality))
        for run in data.data:
            export_run(expand(run.reveal()), options)
        return _train(settings, reporter)
    evaluation_plan = plan_evaluate(settings)
    return reporter.watched(lambda watch: evaluate(evaluation_plan, watch))


def _train(settings: TrainSettings, reporter: Reporter) -> str:
    """Train on all GPUs that there are, in a process each where there are several."""
    gpus = gpus_to_share(settings.fit.device)
    if gpus == 1:
        return train(plan_train(settings), reporter.say, quiet=reporter.quiet).status
    launch = choose_launch(settings, torch.cuda.get_device_properties(0).total_memory)
    reporter.say(f"on {gpus} GPUs, a process each ({launch})")
    return train_launched(settings, launch, gpus, reporter.say, quiet=reporter.quiet)


def _first(differences: list[str]) -> str:
    more = len(differences) - 1
    return f"{differences[0]}{f', and {more} more' if more else ''}"
