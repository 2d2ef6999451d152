"""A row from end to end in memory: what is compared, what is counted, and what a new judgement keeps."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import orjson
import pytest

from cai.constitution import RevisionPlan, load_constitution
from cai.core.errors import RequestError, RowError, UsageError
from cai.core.identity import derive_seed
from cai.core.records import Message, Prompt, Provenance, Row, Trace, row_from_dict
from cai.method.comparing import Turns
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.method.row import Generation, Judging
from cai.method.settings import JudgeSettings, RankingSettings
from cai.method.templates import Templates
from cai.method.verdicts import FAILED
from cai.models.base import Engine, Request, Sampling
from cai.models.meter import UsageCounter
from cai.models.scripted import default_script
from tests.building import (
    PRINCIPLES,
    make_constitution,
    make_engine,
    make_judge_configuration,
    make_method,
    make_prompt,
)

PROVENANCE = Provenance("model", "judge", "c", "c", "t", "t", "i", 0, 0)


def make_generation(
    engine: Engine,
    samples: int = 2,
    settings: JudgeSettings | None = None,
    plan: RevisionPlan | None = None,
    ranking: RankingSettings | None = None,
) -> Generation:
    configuration = make_judge_configuration(judging=settings)
    judging = Judging(engine, configuration, UsageCounter(), ranking or RankingSettings())
    method = make_method(plan or RevisionPlan(schedule="walk", rounds=1, gate=False))
    return Generation(engine, method, samples, PROVENANCE, judging)


def generate(generation: Generation) -> Row:
    return asyncio.run(generation.row(make_prompt()))


def test_samples_are_compared_with_each_other_and_finals_with_their_responses() -> None:
    row = generate(make_generation(default_script(), samples=3))
    assert [(verdict.a_source, verdict.b_source) for verdict in row.verdicts] == [
        ("response:0", "response:1"),
        ("response:0", "response:2"),
        ("response:1", "response:2"),
        ("final:0", "response:0"),
        ("final:1", "response:1"),
        ("final:2", "response:2"),
    ]
    assert len({trace.response for trace in row.traces}) == 3


def judged_pairs(row: Row) -> list[frozenset[str]]:
    return [frozenset((verdict.a_source, verdict.b_source)) for verdict in row.verdicts]


def test_to_rank_every_answer_is_compared_with_every_other_once() -> None:
    row = generate(make_generation(default_script(), samples=2, ranking=RankingSettings(rank=True)))
    answers = ("response:0", "response:1", "final:0", "final:1")
    assert sorted(map(sorted, judged_pairs(row))) == sorted(map(sorted, combinations(answers, 2)))
    usual = generate(make_generation(default_script(), samples=2))
    assert row.verdicts[: len(usual.verdicts)] == usual.verdicts


@pytest.mark.parametrize("budget", [5, 6, 9])
def test_a_budget_is_spent_on_different_pairs_that_connect_all_answers(budget: int) -> None:
    ranking = RankingSettings(rank=True, rank_budget=budget)
    row = generate(make_generation(default_script(), samples=3, ranking=ranking))
    pairs = judged_pairs(row)
    assert len(pairs) == len({*pairs}) == budget
    reached = {"response:0"}
    for _ in pairs:
        reached |= {source for pair in pairs if pair & reached for source in pair}
    assert len(reached) == 6
    assert generate(make_generation(default_script(), samples=3, ranking=ranking)) == row


def test_a_budget_beyond_all_pairs_is_all_pairs_and_one_without_principles_asks_nothing() -> None:
    ranking = RankingSettings(rank=True, rank_budget=99)
    row = generate(make_generation(default_script(), samples=2, ranking=ranking))
    assert len({*judged_pairs(row)}) == len(row.verdicts) == 6
    constitution = make_constitution(principles=[PRINCIPLES[2].model_dump()])
    configuration = replace(make_judge_configuration(), constitution=constitution)
    judging = Judging(default_script(), configuration, UsageCounter(), ranking)
    assert asyncio.run(judging.row(row)).verdicts == ()


def test_what_was_decided_decides_what_is_compared_next() -> None:
    traces = tuple(Trace(sample, 0, f"text {sample}", (), f"text {sample}", truncated=False) for sample in range(4))
    found: dict[str, list[frozenset[str]]] = {}
    for name, lead in (("low", 0.9), ("high", 0.1)):
        turns = Turns(RankingSettings(rank=True, rank_budget=3), 0, make_prompt(), traces)
        first = turns.next()
        for one in first:
            turns.note((one.a_source, one.b_source), lead)
        found[name] = [frozenset((one.a_source, one.b_source)) for one in (*first, *turns.next())]
        assert turns.next() == ()
    assert found["low"][:2] == found["high"][:2], "two pairs that have nothing in common"
    # Then near neighbours: both winners, or both losers.
    for pairs in found.values():
        (third,) = pairs[2:]
        assert [len(third & pair) for pair in pairs[:2]] == [1, 1]


def test_a_budget_that_cannot_connect_all_answers_is_refused() -> None:
    ranking = RankingSettings(rank=True, rank_budget=6)
    ranking.require_enough(7, revised=False)
    with pytest.raises(UsageError, match=r"--rank-budget 6 is too little to rank 4 responses and their .* at least 7"):
        ranking.require_enough(4, revised=True)
    with pytest.raises(UsageError, match=r"--rank-budget needs --rank"):
        RankingSettings(rank_budget=6)


def test_several_principles_give_several_verdicts_a_pair() -> None:
    row = generate(make_generation(default_script(), samples=2, settings=JudgeSettings(judge_principles=2)))
    assert len(row.verdicts) == 3 * 2
    assert {verdict.principle_id for verdict in row.verdicts} == {"kind", "safe"}


def test_a_trace_that_was_never_revised_is_not_compared_with_itself() -> None:
    def keeps(_messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        assert list(options) == ["Yes", "No"], "nothing to judge"
        return [0.0, 1.0]

    engine = make_engine(lambda request: f"seed {request.seed}", keeps)
    row = generate(make_generation(engine, samples=1, plan=RevisionPlan()))
    assert row.verdicts == ()
    assert row.traces[0].final == row.traces[0].response


def test_without_rounds_responses_are_judged_as_they_are() -> None:
    row = generate(make_generation(default_script(), samples=2, plan=RevisionPlan(rounds=0)))
    assert [(verdict.a_source, verdict.b_source) for verdict in row.verdicts] == [("response:0", "response:1")]
    assert all(trace.rounds == () and trace.final == trace.response for trace in row.traces)
    assert row.usage.requests == 2 + 2


def test_usage_counts_every_request_of_the_row_and_of_the_run() -> None:
    generation = make_generation(default_script(), samples=2)
    row = generate(generation)
    # Two samples of a response, two critiques and two revisions each; three comparisons in both orders.
    assert row.usage.requests == 2 * 5 + 3 * 2
    assert row.usage == generation.judging.tally.usage
    assert row.usage.prompt_tokens > row.usage.completion_tokens > 0


def test_a_row_depends_on_its_seed_and_prompt_alone() -> None:
    async def several() -> list[Row]:
        generation = make_generation(default_script())
        return list(await asyncio.gather(*[generation.row(make_prompt(str(n), ordinal=n)) for n in range(8)]))

    async def alone() -> list[Row]:
        generation = make_generation(default_script())
        return [await generation.row(make_prompt(str(n), ordinal=n)) for n in range(8)]

    assert asyncio.run(several()) == asyncio.run(alone())


def test_judging_again_keeps_the_traces_and_counts_its_own_tokens() -> None:
    engine = default_script()
    row = generate(make_generation(engine))
    judging = Judging(
        engine, make_judge_configuration(seed=1, judging=JudgeSettings(judge_principles=2)), UsageCounter()
    )
    again = asyncio.run(judging.row(row))
    assert again.traces == row.traces
    assert again.prompt == row.prompt
    assert len(again.verdicts) == 2 * len(row.verdicts)
    assert again.usage.requests == 12
    assert again.usage == judging.tally.usage
    provenance = again.provenance
    assert (provenance.judge, provenance.judge_seed) == ("scripted", 1)
    assert provenance.judge_constitution == judging.judge_configuration.constitution.fingerprint != "c"
    assert again.provenance.constitution == row.provenance.constitution


def fails_at(seed: int, error: RequestError | None) -> Callable[[Request], str]:
    """Return a script that gives an error, or nothing, where this seed's chain is asked for a critique."""
    chain = {derive_seed(seed, "critique", number) for number in range(9)}
    chain |= {derive_seed(one, "again", number) for one in chain for number in range(9)}

    def answer(request: Request) -> str:
        if request.seed in chain:
            if error is None:
                return " "
            raise error
        return f"text of {request.seed}"

    return answer


@pytest.mark.parametrize("error", [None, RequestError("400: req_1", retryable=False, kind="http 400", raw="\ud800")])
def test_a_sample_that_failed_is_its_own_failure_and_the_others_live(error: RequestError | None) -> None:
    engine = make_engine(fails_at(derive_seed(0, "p0", 1), error), lambda _messages, _options: [0.8, 0.2])
    row = generate(make_generation(engine, samples=3))
    assert [trace.sample for trace in row.traces] == [0, 2]
    (part,) = row.failed
    assert (part.part, part.stage) == ("sample:1", "critique")
    assert part.kind == ("no text" if error is None else "http 400")
    assert part.answered == ("response",)
    assert [(verdict.a_source, verdict.b_source) for verdict in row.verdicts] == [
        ("response:0", "response:2"),
        ("final:0", "response:0"),
        ("final:2", "response:2"),
    ]
    assert row_from_dict(orjson.loads(orjson.dumps(row))) == row  # what no Unicode is, too


def test_a_row_without_a_sample_fails_and_leaves_nothing_running() -> None:
    def answer(request: Request) -> str:
        return "" if len(request.messages) == 3 else "text"

    async def scenario() -> None:
        generation = make_generation(make_engine(answer), samples=4)
        with pytest.raises(RowError, match="empty critique") as caught:
            await generation.row(make_prompt())
        assert not caught.value.retryable
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


@pytest.mark.parametrize("stage", ["critique", "verdict"])
def test_a_row_with_a_part_that_may_succeed_later_is_owed(stage: str) -> None:
    overloaded = RequestError("overloaded", retryable=True, kind="http 503")
    shown = iter(range(100))

    def choose(_messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        if stage == "verdict" and next(shown) == 3:
            raise overloaded
        return [0.8, 0.2]

    seed = derive_seed(0, "p0", 1) if stage == "critique" else -1
    engine = make_engine(fails_at(seed, overloaded), choose)
    with pytest.raises(RowError, match="overloaded") as caught:
        generate(make_generation(engine, samples=3))
    assert caught.value.retryable
    assert (caught.value.stage, caught.value.kind) == (stage, "http 503")
    assert caught.value.answered == {"response", "critique", "revision", *({"verdict"} if stage == "verdict" else ())}


def test_a_verdict_that_failed_is_an_abstention_and_the_row_lives() -> None:
    def choose(messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        if "kind" in messages[0]["content"]:
            raise RequestError("400: req_7", retryable=False, kind="http 400", raw="{'error': 7}")
        return [0.8, 0.2]

    generation = make_generation(
        make_engine(lambda request: f"text {request.seed}", choose), settings=JudgeSettings(judge_principles=2)
    )
    row = generate(generation)
    failed = [verdict for verdict in row.verdicts if verdict.abstained == FAILED]
    assert [verdict.principle_id for verdict in failed] == ["kind"] * 3
    assert len(row.verdicts) == 6
    assert [part.part for part in row.failed] == [
        f"verdict:{verdict.a_source}:{verdict.b_source}:kind" for verdict in failed
    ]
    assert {(part.stage, part.kind, part.raw) for part in row.failed} == {("verdict", "http 400", "{'error': 7}")}
    # Judged again by a judge that answers, the row lacks nothing any more.
    again = asyncio.run(Judging(default_script(), make_judge_configuration(), UsageCounter()).row(row))
    assert again.failed == ()


def test_an_unreadable_letter_is_an_abstention_that_keeps_the_words() -> None:
    def answer(request: Request) -> str:
        return "Both are good." if "(A " in request.messages[0]["content"] else f"text {request.seed}"

    row = generate(make_generation(make_engine(answer), settings=JudgeSettings(judge_by="text", judge_orders="one")))
    assert {verdict.abstained for verdict in row.verdicts} == {"unreadable"}
    assert {verdict.unreadable for verdict in row.verdicts} == {("Both are good.",)}
    assert row.failed == ()


def test_a_korean_constitution_is_asked_in_korean_throughout() -> None:
    constitution = load_constitution("harmless-ko")
    templates = Templates.load(constitution.language)
    asked: list[str] = []

    def answer(request: Request) -> str:
        asked.append(request.messages[-1]["content"])
        return f"대답 {len(asked)}"

    def choose(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        asked.append(messages[-1]["content"])
        return [0.6, 0.3] if tuple(options) == templates.gate_options else [0.5, 0.4]

    engine = make_engine(answer, choose)
    method = Method(constitution, templates, constitution.revision, Sampling(), few_shot=False, seed=0)
    judging = Judging(
        engine,
        JudgeConfiguration(constitution, templates, JudgeSettings(judge_reasoning=True), Sampling(), 0),
        UsageCounter(),
    )
    prompt = Prompt("ko-1", 0, ({"role": "user", "content": "잠이 오지 않아요. 어떻게 하죠?"},))
    row = asyncio.run(Generation(engine, method, 2, PROVENANCE, judging).row(prompt))
    assert len(row.traces[0].rounds) == len(constitution.principles)
    assert len(asked) > 2 * 3 * len(constitution.principles)
    for question in asked:
        assert re.search("[가-힣]", question)
        assert set(re.findall(r"\b[A-Za-z]+\b", question)) <= {"A", "B"}, question
