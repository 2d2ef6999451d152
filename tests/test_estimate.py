"""What a run would cost: the bounds hold for any model, and are reached by the models that they describe."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.constitution import RevisionPlan
from cai.core.errors import InputError, UsageError
from cai.core.records import Failure, Message, Prompt, Provenance, Usage
from cai.data import Prompts
from cai.generate.dry_run import DryRun, Load
from cai.generate.estimate import SAMPLED_PROMPTS, Estimate, GenerateSummary, Rates, RowsSoFar, estimate
from cai.generate.plan import plan_generate
from cai.generate.run import generate
from cai.generate.settings import GenerateSettings
from cai.method.critique import REVISION_TRIES, Method
from cai.method.judge import JudgeConfiguration
from cai.method.row import Generation, Judging
from cai.method.settings import JudgeSettings, RankingSettings
from cai.method.templates import Templates
from cai.models.base import Request, Sampling
from cai.models.meter import UsageCounter
from cai.models.scripted import ScriptedEngine
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.models.tokens import WordCounter
from cai.pipeline.filling import Summary
from cai.pipeline.watch import Watch
from cai.rundir import Run
from tests.building import make_constitution, make_prompt

LIMIT = 30
PROMPTS = tuple(
    make_prompt(f"Question {i}: what is {'very ' * i} good?", *(("privacy",) if i % 3 == 0 else ()), ordinal=i)
    for i in range(6)
)
NOWHERE = Provenance("", "", "", "", "", "", "", 0, 0)

plans = st.builds(
    RevisionPlan, schedule=st.sampled_from(["walk", "sample"]), rounds=st.integers(0, 3), gate=st.booleans()
)
judgings = st.builds(
    JudgeSettings,
    judge_principles=st.integers(1, 3),
    judge_orders=st.sampled_from(["both", "one"]),
    judge_by=st.sampled_from(["logprobs", "text"]),
    judge_reasoning=st.booleans(),
)


rankings = st.sampled_from([RankingSettings(), RankingSettings(rank=True), RankingSettings(rank=True, rank_budget=4)])


def make_dry_run(
    plan: RevisionPlan, judging: JudgeSettings, samples: int, ranking: RankingSettings | None = None
) -> DryRun:
    constitution, templates, sampling = make_constitution(), Templates.load("en"), Sampling(max_tokens=LIMIT)
    method = Method(constitution, templates, plan, sampling, few_shot=False, seed=0)
    configuration = JudgeConfiguration(constitution, templates, judging, sampling, seed=0)
    return DryRun(method, configuration, samples, WordCounter(), WordCounter(), ranking or RankingSettings())


def ask(dry_run: DryRun, engine: ScriptedEngine) -> Load:
    """Make every prompt's row and return what was asked."""
    tally = UsageCounter()
    judging = Judging(engine, dry_run.judge_configuration, tally, dry_run.ranking)
    generation = Generation(engine, dry_run.method, dry_run.samples, NOWHERE, judging)

    async def rows() -> None:
        for prompt in PROMPTS:
            await generation.row(prompt)

    asyncio.run(rows())
    return Load(tally.usage.requests, tally.usage.prompt_tokens, tally.usage.completion_tokens)


def foresee(dry_run: DryRun, so_far: RowsSoFar | None = None) -> Estimate:
    return estimate(PROMPTS, len(PROMPTS), dry_run, so_far)


def inside(load: Load, found: Estimate) -> bool:
    return all(
        least <= value <= most
        for least, value, most in zip(
            (found.least.requests, found.least.prompt_tokens, found.least.completion_tokens),
            (load.requests, load.prompt_tokens, load.completion_tokens),
            (found.most.requests, found.most.prompt_tokens, found.most.completion_tokens),
            strict=True,
        )
    )


@settings(deadline=None)
@given(plan=plans, judging=judgings, samples=st.integers(1, 3), ranking=rankings, luck=st.integers(0, 2**32))
@pytest.mark.slow
def test_whatever_a_model_does_the_run_lies_between_the_bounds(
    plan: RevisionPlan, judging: JudgeSettings, samples: int, ranking: RankingSettings, luck: int
) -> None:
    chance = random.Random(luck)

    def answer(_: Request) -> str:
        # Few different words, so that answers are alike at times and the judge has nothing to do.
        return " ".join(chance.choices("abc", k=chance.choice((1, 1, 2, LIMIT, 2 * LIMIT))))

    def weigh(*_: object) -> tuple[float, float]:
        broken, mass = chance.random(), chance.choice((0.2, 1.0))
        return mass * broken, mass * (1 - broken)

    dry_run = make_dry_run(plan, judging, samples, ranking)
    found = foresee(dry_run)
    assert inside(found.expected, found)
    assert inside(ask(dry_run, ScriptedEngine(answer, weigh)), found)


@settings(deadline=None)
@given(plan=plans, judging=judgings, samples=st.integers(1, 3))
@pytest.mark.slow
def test_the_models_that_the_bounds_describe_reach_them(
    plan: RevisionPlan, judging: JudgeSettings, samples: int
) -> None:
    dry_run = make_dry_run(plan, judging, samples)
    found = foresee(dry_run)
    assert ask(dry_run, ScriptedEngine(lambda _: "same", lambda *_: (0.0, 1.0))) == found.least

    def wordy(request: Request) -> str:
        return f"{request.seed} {'word ' * LIMIT}"

    # A choice that weighs too little is asked again.
    assert ask(dry_run, ScriptedEngine(wordy, lambda *_: (0.4, 0.0))) == found.most


def test_without_a_measurement_what_is_expected_is_called_an_assumption() -> None:
    gated = foresee(make_dry_run(RevisionPlan(gate=True), JudgeSettings(), 2))
    assert any("assuming one gate in 7 finding its principle broken and texts of 30 tokens" in it for it in gated.basis)
    plain = foresee(make_dry_run(RevisionPlan(gate=False), JudgeSettings(judge_by="text"), 2))
    assert not any("gate" in sentence or "broken" in sentence for sentence in plain.basis)
    # Without a gate every round is written out, whoever answers.
    # At most each revision is tried again; of a chain, the revisions are half of what follows its response.
    again = plain.most.requests - plain.expected.requests
    assert again > 0
    assert again % (REVISION_TRIES - 1) == 0


def test_finished_rows_are_the_measure_of_those_that_are_left() -> None:
    prompts = [make_prompt(f"Question {i}", ordinal=i) for i in range(SAMPLED_PROMPTS + 36)]
    dry_run = make_dry_run(RevisionPlan(), JudgeSettings(), 2)
    so_far = RowsSoFar(20, Usage(200, 4000, 100, 600))
    found = estimate(prompts, len(prompts), dry_run, so_far)
    assert (found.rows, found.whole) == (80, True)
    assert found.expected == Load(800, 16000, 2400)
    assert any("20 rows finished so far" in sentence for sentence in found.basis)
    assert foresee(dry_run, RowsSoFar(0, Usage(9, 9, 9, 9))) == foresee(dry_run)
    # More rows than the input has: it was longer when they were made.
    assert foresee(dry_run, RowsSoFar(7, Usage(70, 700, 0, 70))).least == Load(0, 0, 0)


def test_an_input_of_unknown_size_is_estimated_by_its_first_rows_and_scaled_later() -> None:
    prompts = [make_prompt(f"Question {i}", ordinal=i) for i in range(2 * SAMPLED_PROMPTS)]
    dry_run = make_dry_run(RevisionPlan(), JudgeSettings(), 2)
    found = estimate(prompts, None, dry_run)
    assert (found.rows, found.whole) == (SAMPLED_PROMPTS, False)
    assert found.scaled(2 * SAMPLED_PROMPTS).least == estimate(prompts, len(prompts), dry_run).least
    short = estimate(prompts[:5], None, dry_run)
    assert (short.rows, short.whole) == (5, True)


def test_a_broken_input_row_is_a_row_that_costs_nothing() -> None:
    dry_run = make_dry_run(RevisionPlan(), JudgeSettings(), 2)
    failed = Failure("f:7", 7, "input", "no text", "{}", retryable=False)
    items: list[Prompt | Failure] = [*PROMPTS, failed]
    found = estimate(items, len(items), dry_run)
    assert found.rows == len(PROMPTS) + 1
    assert found.most == foresee(dry_run).most
    assert estimate([failed], 1, dry_run).most == Load(0, 0, 0)
    assert estimate([], 0, dry_run).scaled(3).most == Load(0, 0, 0)


def test_rates_turn_tokens_into_time_and_money() -> None:
    rates = Rates(speed_prompt=1000, speed_completion=50, price_prompt=0.5, price_completion=2)
    assert rates.seconds(Load(7, 60_000, 3_000)) == pytest.approx(60 + 60)
    assert rates.money(Load(7, 4_000_000, 500_000)) == pytest.approx(2 + 1)
    assert Rates().seconds(Load(1, 1, 1)) is None
    assert Rates().money(Load(1, 1, 1)) is None


@pytest.mark.parametrize(
    ("half", "missing"),
    [
        ({"speed_prompt": 1.0}, "--speed-completion"),
        ({"speed_completion": 1.0}, "--speed-prompt"),
        ({"price_prompt": 0.0}, "--price-completion"),
        ({"price_completion": 1.0}, "--price-prompt"),
    ],
)
def test_half_a_pair_of_rates_is_refused(half: dict[str, float], missing: str) -> None:
    with pytest.raises(UsageError, match=f"^{missing} is missing"):
        Rates(**half)


def run(directory: Path, **changes: object) -> GenerateSummary:
    chosen = GenerateSettings("medical", out=directory, **changes)  # type: ignore[arg-type]
    return asyncio.run(generate(plan_generate(chosen), Watch()))


def test_an_estimate_is_made_where_an_event_loop_runs_too() -> None:
    async def in_a_notebook() -> Estimate:
        return foresee(make_dry_run(RevisionPlan(), JudgeSettings(), 2))

    assert asyncio.run(in_a_notebook()) == foresee(make_dry_run(RevisionPlan(), JudgeSettings(), 2))


def test_the_estimate_and_the_run_read_the_input_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, read = [], Prompts.__iter__

    def counted(prompts: Prompts) -> Iterator[Prompt | Failure]:
        reads.append(prompts)
        return read(prompts)

    monkeypatch.setattr(Prompts, "__iter__", counted)
    summary = run(tmp_path / "run", model=ModelSpec.parse("scripted"), limit=80, shuffle=True)
    assert summary.estimate is not None
    assert (summary.done, len(reads)) == (80, 1)


def test_an_input_that_breaks_off_while_it_is_estimated_is_told_after_the_rows_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_prompts: Prompts) -> Iterator[Prompt | Failure]:
        yield from PROMPTS
        raise InputError("the file ends in the middle of a line")

    monkeypatch.setattr(Prompts, "__iter__", broken)
    with pytest.raises(InputError, match="in the middle"):
        run(tmp_path / "run", model=ModelSpec.parse("scripted"))
    assert Run.read(tmp_path / "run").count() == len(PROMPTS)


@pytest.mark.slow
def test_the_embedded_model_takes_what_a_pilot_measured(tmp_path: Path) -> None:
    engine, length = EngineSettings(device="cpu"), 48
    pilot = run(tmp_path, engine=engine, max_tokens=length, limit=6)
    assert pilot.estimate is not None
    assert inside(asked(pilot), pilot.estimate)
    # Nothing was measured yet, and the miniature is terser than most; requests do not depend on that.
    assert 1 / 2 < pilot.estimate.expected.requests / pilot.requests < 2
    rest = run(tmp_path, engine=engine, max_tokens=length, limit=16)
    assert rest.estimate is not None
    assert rest.estimate.rows == rest.done == 10
    assert inside(asked(rest), rest.estimate)
    for foreseen, actual in (
        (rest.estimate.expected.requests, rest.requests),
        (rest.estimate.expected.prompt_tokens, rest.prompt_tokens),
        (rest.estimate.expected.completion_tokens, rest.completion_tokens),
    ):
        assert 2 / 3 < foreseen / actual < 3 / 2


def asked(summary: Summary) -> Load:
    return Load(summary.requests, summary.prompt_tokens, summary.completion_tokens)


def test_few_shot_exemplars_are_counted() -> None:
    constitution = make_constitution(
        exemplars=[{"prompt": "p " * 50, "response": "r", "principle": "kind", "critique": "c", "revision": "v"}]
    )
    plan = RevisionPlan(gate=False, rounds=1)
    loads = []
    for few_shot in (False, True):
        dry_run = make_dry_run(plan, JudgeSettings(), 1)
        method = Method(constitution, dry_run.method.templates, plan, dry_run.method.sampling, few_shot, seed=0)
        loads.append(foresee(DryRun(method, dry_run.judge_configuration, 1, WordCounter(), WordCounter())).least)
    plainly, shown = loads
    assert shown.requests == plainly.requests
    written = plainly.requests - len(PROMPTS)  # every request but the first responses shows them
    assert shown.prompt_tokens - plainly.prompt_tokens > 50 * written


def test_a_judge_counts_its_own_tokens() -> None:
    class Double(WordCounter):
        def count(self, messages: Sequence[Message]) -> int:
            return 2 * super().count(messages)

    dry_run = make_dry_run(RevisionPlan(rounds=0), JudgeSettings(), 2)
    found = foresee(dry_run)
    other = foresee(DryRun(dry_run.method, dry_run.judge_configuration, 2, WordCounter(), Double()))
    assert other.least == found.least  # no two answers that differ: nobody is asked to judge
    assert other.most.prompt_tokens > found.most.prompt_tokens
