"""Runs the loop's stages in order: those that are done stay, a stage that changed runs again with all that follow it.

One that is only asked for more goes on, and so does one of whose rows some failed and are to be asked again.

Everything a stage did is in its own directory, and each verb goes on there by itself; the loop adds only which stage is
done. What a person sees of it is the caller's: a `Reporter`.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from cai.core.counts import counted
from cai.core.machine import release_memory
from cai.core.paths import expand
from cai.core.records import INPUT
from cai.data.export import ExportOptions, export_run
from cai.data.quality import load_quality
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.results import Evaluation
from cai.evaluate.run import evaluate
from cai.evaluate.settings import EvaluateSettings
from cai.generate.estimate import GenerateSummary
from cai.generate.plan import plan_generate
from cai.generate.run import generate
from cai.generate.settings import GenerateSettings
from cai.loop.plan import LoopPlan
from cai.loop.recorded import record_loop
from cai.loop.settings import LoopSettings
from cai.loop.stage_records import (
    StageRecord,
    changes,
    goes_on,
    identity,
    in_force,
    read_record,
    starting,
    with_rows,
    write_record,
)
from cai.loop.stages import Settings, Stage
from cai.pipeline.watch import Watch
from cai.rundir import RunReader
from cai.rundir.claim import claim
from cai.rundir.layout import MANIFEST
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
        before = in_force(stage, read_record(owned, stage.name))
        standing = _standing(stage, before, wanted, retry_failed=plan.settings.retry_failed)
        if standing.told:
            reporter.say(f"{stage.name}: {standing.told}")
        if standing.finished and before is not None:
            done[stage.name] = before
            if not isinstance(stage.settings, EvaluateSettings):
                continue
        else:
            write_record(owned, stage.name, starting(stage, wanted, before, fresh=standing.fresh))
            ran.append(stage.name)
        result = _run(_now(stage.settings, plan.settings, fresh=standing.fresh), reporter)
        release_memory()  # the next stage opens models of its own
        if isinstance(result, GenerateSummary):
            for line in _failed(result):
                reporter.say(f"{stage.name}: {line}")
        if result == "interrupted" or (isinstance(result, GenerateSummary) and result.status == "interrupted"):
            return LoopOutcome(plan.out, None, tuple(ran))
        if isinstance(result, Evaluation):
            evaluation = result
        made = _rows(stage.out) if isinstance(result, GenerateSummary) else None
        done[stage.name] = StageRecord("done", wanted if made is None else with_rows(wanted, made))
        write_record(owned, stage.name, done[stage.name])
    return LoopOutcome(plan.out, evaluation, tuple(ran))


@dataclass(frozen=True, slots=True)
class _Standing:
    """How far a stage is before it runs: `finished`, or to be run, `fresh` or on what is there; `told` to a person."""

    told: str
    finished: bool = False
    fresh: bool = False


def _standing(stage: Stage, before: StageRecord | None, wanted: Mapping[str, str], *, retry_failed: bool) -> _Standing:
    if before is None:
        return _Standing("begins")
    if before.shape != wanted:
        changed = f"because it changed ({_first(changes(before.shape, wanted))})"
        if goes_on(stage, before.shape, wanted):
            return _Standing(f"goes on, {changed}")
        return _Standing(f"runs again, {changed}", fresh=True)
    if before.status != "done":
        return _Standing("goes on")
    if isinstance(stage.settings, EvaluateSettings):
        return _Standing("", finished=True)  # it sees to its own failures each time that it is read
    owed, for_good = _failures(stage, parts=retry_failed)
    again = owed + for_good if retry_failed else owed
    if again:
        return _Standing(f"asks again for {counted(again, 'row')} that failed")
    left = f"; {counted(for_good, 'row')} failed, and --retry-failed asks again" if for_good else ""
    return _Standing(f"done before{left}", finished=True)


def _failures(stage: Stage, *, parts: bool) -> tuple[int, int]:
    """Return how many rows of a finished run are asked again by the same command, and how many only when it is told.

    With `parts` rows that are there and lack some are counted, too. Where the run was removed it is nobody's here: the
    stage that reads it says so.
    """
    if not isinstance(stage.settings, GenerateSettings) or not (stage.out / MANIFEST).exists():
        return 0, 0
    run = RunReader(stage.out)
    failures = [failure for failure in run.failures() if failure.stage != INPUT or failure.retryable]
    owed = sum(failure.retryable for failure in failures)
    return owed, len(failures) - owed + (sum(bool(row.failed) for row in run.rows()) if parts else 0)


def _rows(run: Path) -> str:
    """Return how much there is in a run, which more answers to what failed change."""
    rows = parts = 0
    for row in RunReader(run).rows():
        rows += 1
        parts += len(row.failed)
    return f"{rows}, {counted(parts, 'part')} missing"


def _failed(summary: GenerateSummary) -> list[str]:
    """Return what a person must know of rows that a run lacks, in no line or one."""
    failed = summary.owed + summary.for_good
    if not failed:
        return []
    again = f"the same command asks again for {summary.owed:,} of them, and with --retry-failed for all"
    return [f"{counted(failed, 'row')} failed; {again}"]


def _now(settings: Settings, loop: LoopSettings, *, fresh: bool) -> Settings:
    """Return a stage's settings with what shapes this run of it and not what it makes."""
    if isinstance(settings, TrainSettings):
        return replace(settings, fresh=fresh)
    return replace(settings, fresh=fresh, retry_failed=loop.retry_failed, checking=loop.checking)


def _run(settings: Settings, reporter: Reporter) -> Evaluation | GenerateSummary | str:
    """Do one stage; return `interrupted`, or a summary that says so, when the person stopped it before its end."""
    if isinstance(settings, GenerateSettings):
        plan = plan_generate(settings)
        return reporter.watched(lambda watch: generate(plan, watch))
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
