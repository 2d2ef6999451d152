"""Runs the loop's stages in order: those that are done stay, a stage that changed runs again with all that follow it.

Everything a stage did is in its own directory, and each job resumes there by itself; the loop adds only which stage is
done. It knows nothing of screens: the caller lends it a `Stagehand`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from cai import __version__
from cai.constitution import load_constitution
from cai.core.errors import UsageError
from cai.core.paths import expand
from cai.data.export import ExportOptions, export_run
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.results import Evaluation
from cai.evaluate.run import evaluate
from cai.evaluate.settings import EvaluateSettings
from cai.generate.plan import plan_generate
from cai.generate.run import generate
from cai.generate.settings import GenerateSettings
from cai.loop.record import Record, changes, identity, read_record, write_record
from cai.loop.settings import LoopSettings
from cai.loop.stages import Settings, stages
from cai.models.checkpoint.fingerprint import weights_hash
from cai.models.spec import LabelledModel
from cai.pipeline.watch import Watch
from cai.rundir.claim import claim
from cai.rundir.owned import Owned
from cai.train.run import train
from cai.train.settings import TrainSettings

Result = TypeVar("Result")


class Stagehand(Protocol):
    """Whoever stands between the loop and the person."""

    def say(self, line: str) -> None:
        """Tell what happens next, in one line."""

    def watched(self, job: Callable[[Watch], Awaitable[Result]]) -> Result:
        """Run an asynchronous job where the person can watch and interrupt it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a loop ends with: the evaluation of all its models, or None when it was interrupted before that."""

    out: Path
    evaluation: Evaluation | None
    ran: tuple[str, ...]
    """The stages that were run now; the others were done before."""


def run_loop(settings: LoopSettings, hand: Stagehand) -> Outcome:
    """Bring every stage to its end; raises what the stages raise, with all finished work kept."""
    for option, source in (("prompts", settings.prompts), ("evaluation-prompts", settings.evaluation_prompts)):
        if source is not None and str(source) == "-":
            raise UsageError(f"--{option} is standard input, which is read once; a loop needs a file to come back to")
    out = default_out(settings)
    content = _content(settings)
    with closing(claim(out, "loop")) as owned:
        return _run_stages(settings, hand, owned, content)


def _run_stages(settings: LoopSettings, hand: Stagehand, owned: Owned, content: Mapping[str, str]) -> Outcome:
    out = owned.path
    done: dict[str, Record] = {}
    ran: list[str] = []
    evaluation = None
    for stage in stages(settings, out):
        wanted = identity(stage, content, {name: done[name] for name in stage.needs})
        before = read_record(owned, stage.name)
        finished = before is not None and before.status == "done" and dict(before.identity) == wanted
        done[stage.name] = Record("done", wanted)
        if finished and not isinstance(stage.settings, EvaluateSettings):
            hand.say(f"{stage.name}: done before")
            continue
        fresh = before is not None and dict(before.identity) != wanted
        if fresh and before is not None:
            hand.say(f"{stage.name}: runs again, because it changed ({_first(changes(before.identity, wanted))})")
        elif not finished:
            hand.say(f"{stage.name}: {'goes on' if before is not None else 'begins'}")
        if not finished:
            write_record(owned, stage.name, Record("started", wanted))
            ran.append(stage.name)
        result = _run(_now(stage.settings, fresh=fresh, retry_failed=settings.retry_failed), hand)
        if result == "interrupted":
            return Outcome(out, None, tuple(ran))
        if isinstance(result, Evaluation):
            evaluation = result
        write_record(owned, stage.name, done[stage.name])
    return Outcome(out, evaluation, tuple(ran))


def default_out(settings: LoopSettings) -> Path:
    """Return the loop's directory; raises ConstitutionError when there is nothing to name it after."""
    return settings.out or Path("loops") / load_constitution(settings.constitution).name


def _now(settings: Settings, *, fresh: bool, retry_failed: bool) -> Settings:
    """Return a stage's settings with what shapes this run of it and not what it makes."""
    if isinstance(settings, TrainSettings):
        return replace(settings, fresh=fresh)
    return replace(settings, fresh=fresh, retry_failed=retry_failed)


def _run(settings: Settings, hand: Stagehand) -> Evaluation | str:
    """Do one stage; return `interrupted` when the person stopped it before its end."""
    if isinstance(settings, GenerateSettings):
        plan = plan_generate(settings)
        _say_all(plan.remarks, hand)
        summary = hand.watched(lambda watch: generate(plan, watch))
        export_run(summary.out, ExportOptions())
        return summary.status
    if isinstance(settings, TrainSettings):
        return train(settings, hand.say).status
    evaluation_plan = plan_evaluate(settings)
    if settings.prompts is not None:
        _say_all(evaluation_plan.prompts.remarks, hand)
    return hand.watched(lambda watch: evaluate(evaluation_plan, watch))


def _say_all(lines: Iterable[str], hand: Stagehand) -> None:
    for line in lines:
        hand.say(line)


def _content(settings: LoopSettings) -> Mapping[str, str]:
    """Return fingerprints of the files that the loop reads, which may change under the same names."""
    prompts = plan_generate(GenerateSettings(settings.constitution, prompts=settings.prompts)).prompts.fingerprint
    evaluation = plan_evaluate(
        EvaluateSettings(
            (LabelledModel(None, settings.model),), settings.constitution, prompts=settings.evaluation_prompts
        )
    ).prompts.fingerprint
    found = {
        "cai": __version__,
        "constitution-content": load_constitution(settings.constitution).fingerprint,
        "prompts-content": prompts,
        "evaluation-prompts-content": evaluation,
    }
    model = expand(settings.model.model)
    if settings.model.model and model.is_dir():
        found["model-content"] = weights_hash(model)
    return found


def _first(differences: list[str]) -> str:
    more = len(differences) - 1
    return f"{differences[0]}{f', and {more} more' if more else ''}"
