"""The same loop again: what a changed option keeps of what is there, and what is asked again of what failed."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cai.core.errors import ModelError
from cai.core.records import Failure, PartFailure, Row
from cai.generate.estimate import GenerateSummary
from cai.generate.settings import GenerateSettings
from cai.loop import run as loop_run
from cai.loop.plan import LoopPlan
from cai.loop.settings import LoopSettings
from cai.loop.stages import Settings, stages_of
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.rundir import Run
from cai.train.settings import FitSettings
from tests.storage import IDENTITY, make_failure, make_row

BASE = LoopSettings("medical", limit=8, evaluation_limit=6)
STAGES = ["generate", "sft", "pairs-1", "dpo-1", "evaluation"]
AGAIN = [(name, True) for name in STAGES[1:]]
MEASURED_AGAIN = [("evaluation", False)]
"""A finished evaluation is read each time, from what it has kept."""


@dataclass
class Loop:
    """A loop whose stages do no work but keep rows and failures, as many as are set; `ran`: which, fresh or not."""

    out: Path
    rows: list[Row] = field(default_factory=lambda: [make_row(number) for number in range(3)])
    failures: list[Failure] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    ran: list[tuple[str, bool]] = field(default_factory=list)
    quiet: bool = True
    down: str = ""
    """The stage that cannot start, as when a server is down."""
    stops: str = ""
    """The run that ends after its first row, as when it is killed."""

    def say(self, line: str) -> None:
        self.told.append(line)

    def again(self, settings: LoopSettings = BASE, content: dict[str, str] | None = None) -> list[tuple[str, bool]]:
        self.told, self.ran = [], []
        plan = LoopPlan(settings, self.out, stages_of(settings, self.out), content or {}, None, None, ())
        loop_run.run_loop(plan, self)  # type: ignore[arg-type]
        return self.ran

    def run(self, settings: Settings, _reporter: object) -> object:
        assert settings.out is not None
        if settings.out.name == self.down:
            raise ModelError("the server cannot be reached")
        self.ran.append((settings.out.name, settings.fresh))
        if not isinstance(settings, GenerateSettings):
            return "done"
        run = Run.open(settings.out, IDENTITY, {}, fresh=settings.fresh, retry_failed=settings.retry_failed)
        for row in self.rows:
            if not run.is_finished(row.prompt.id):
                run.commit(row)
            if settings.out.name == self.stops:
                run.close("interrupted")
                raise ModelError("the server went away")
        for failure in self.failures if settings.out.name == "generate" else ():
            if not run.is_finished(failure.id):
                run.fail(failure)
        run.close("done")
        owed = sum(failure.retryable for failure in run.failures())
        return GenerateSummary(
            out=settings.out, status="done", done=0, failed=0, skipped=0, duplicates=0, rows=run.finished, failures={},
            owed=owed, for_good=sum(1 for _ in run.failures()) - owed, requests=0, prompt_tokens=0, cached_tokens=0,
            completion_tokens=0, seconds=0.0,
        )  # fmt: skip


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop(tmp_path / "loop")
    monkeypatch.setattr(loop_run, "_run", made.run)
    monkeypatch.setattr(loop_run, "release_memory", lambda: None)  # no model was open
    return made


def test_what_shapes_only_the_run_runs_nothing_again(loop: Loop, tmp_path: Path) -> None:
    assert loop.again() == [(name, False) for name in STAGES]
    engine = EngineSettings(device="cpu", concurrency=64, timeout=5.0)
    fit = FitSettings(device="cpu")
    settings = replace(BASE, engine=engine, sft=fit, second=fit, prompts_dir=tmp_path)
    assert loop.again(settings) == MEASURED_AGAIN


@pytest.mark.parametrize("method", ["dpo", "reward-grpo"])
def test_a_loop_that_was_moved_runs_nothing_again(loop: Loop, tmp_path: Path, method: str) -> None:
    settings = replace(BASE, method=method, iterations=2)
    loop.again(settings)
    loop.out = loop.out.rename(tmp_path / "elsewhere")
    assert loop.again(settings) == MEASURED_AGAIN


def test_a_raised_limit_keeps_the_rows_and_a_lowered_one_begins_anew(loop: Loop) -> None:
    loop.again()
    assert loop.again(replace(BASE, limit=16)) == [("generate", False), *AGAIN]
    assert loop.told[0] == "generate: goes on, because it changed (limit: 8 → 16)"
    assert loop.again(replace(BASE, limit=None)) == [("generate", False), *AGAIN]
    assert loop.again(replace(BASE, limit=16)) == [("generate", True), *AGAIN]
    assert loop.told[0] == "generate: runs again, because it changed (limit: none → 16)"
    assert loop.again(replace(BASE, limit=32, seed=1)) == [("generate", True), *AGAIN], "a limit is not all"


def test_prompts_that_changed_keep_the_rows_of_those_that_are_asked_still(loop: Loop) -> None:
    settings = replace(BASE, limit=None)
    loop.again(settings, {"prompts-content": "1"})
    assert loop.again(settings, {"prompts-content": "2"})[0] == ("generate", False)
    assert loop.again(BASE, {"prompts-content": "2"})[0] == ("generate", True)
    assert loop.again(BASE, {"prompts-content": "3"})[0] == ("generate", True), "rows beyond the limit would stay"


def test_an_evaluation_keeps_its_answers_for_more_prompts_and_more_models(loop: Loop) -> None:
    loop.again()
    assert loop.again(replace(BASE, evaluation_limit=9)) == [("evaluation", False)]
    assert loop.told[-1] == "evaluation: goes on, because it changed (limit: 6 → 9)"
    more = replace(BASE, evaluation_limit=9, iterations=2)
    assert loop.again(more) == [(name, False) for name in ("pairs-2", "dpo-2", "evaluation")]
    assert loop.again(replace(BASE, evaluation_limit=9)) == [("evaluation", True)]


def test_what_is_owed_is_asked_again_and_what_follows_runs_only_if_rows_were_added(loop: Loop) -> None:
    loop.failures = [make_failure(7, retryable=True), make_failure(8)]
    loop.again()
    failed = "2 rows failed; the same command asks again for 1 of them, and with --retry-failed for all"
    assert f"generate: {failed}" in loop.told
    assert loop.again() == [("generate", False), *MEASURED_AGAIN]
    assert loop.told[0] == "generate: asks again for 1 row that failed"
    loop.rows.append(make_row(7))
    assert loop.again() == [("generate", False), *AGAIN]
    assert loop.again() == MEASURED_AGAIN
    assert loop.told[0] == "generate: done before; 1 row failed, and --retry-failed asks again"
    loop.rows.append(make_row(8))
    retrying = replace(BASE, retry_failed=True)
    assert loop.again(retrying) == [("generate", False), *AGAIN]
    assert loop.again(retrying) == MEASURED_AGAIN
    assert loop.told[0] == "generate: done before"


def test_parts_that_failed_are_asked_again_with_retry_failed(loop: Loop) -> None:
    whole = make_row(0)
    loop.rows = [replace(whole, failed=(PartFailure("sample:1", "response", "http 400", "no", "", ()),))]
    loop.again()
    assert loop.again() == MEASURED_AGAIN
    loop.rows = [whole]
    assert loop.again(replace(BASE, retry_failed=True))[:2] == [("generate", False), ("sft", True)]


@pytest.mark.parametrize("down", ["generate", "sft", "pairs-1", "evaluation"])
def test_a_stage_that_could_not_start_over_does_so_the_next_time(loop: Loop, down: str) -> None:
    loop.again()
    changed = replace(BASE, samples=3)
    loop.down = down
    for _ in range(2):
        with pytest.raises(ModelError):
            loop.again(changed)
    loop.down = ""
    loop.again(changed)
    assert (down, True) in loop.ran
    assert loop.again(changed) == MEASURED_AGAIN


def test_what_could_not_be_replaced_is_still_there_when_the_change_is_taken_back(loop: Loop) -> None:
    loop.again()
    loop.down = "generate"
    with pytest.raises(ModelError):
        loop.again(replace(BASE, samples=3))
    loop.down = ""
    assert loop.again() == MEASURED_AGAIN


def test_a_stage_that_was_stopped_after_it_began_anew_goes_on(loop: Loop) -> None:
    loop.again()
    changed = replace(BASE, samples=3)
    loop.stops = "generate"
    with pytest.raises(ModelError):
        loop.again(changed)
    assert loop.ran == [("generate", True)]
    loop.stops = ""
    assert loop.again(changed)[0] == ("generate", False)


def test_a_judge_s_settings_still_change_what_it_judges(loop: Loop) -> None:
    loop.again()
    assert loop.again(replace(BASE, judge=ModelSpec.checkpoint("m/n"))) == [("generate", True), *AGAIN]
