"""One answer of each prompt is selected: every answer is asked about, the best is chosen, and nothing is guessed."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cai
from cai.constitution import RevisionPlan
from cai.core.addresses import DataSource
from cai.core.errors import RequestError, RowError, RunError, UsageError
from cai.core.records import Criterion, Message, Provenance, Row, Score, Trace
from cai.data.examples.runs import RunChoices, RunExamples
from cai.data.export import ExportOptions, export_run
from cai.data.export.answers import NOT_SCORED, NOT_SELECTED
from cai.data.export.datasets import ExampleMaker
from cai.data.export.selecting import preferred
from cai.data.quality import count_left_out, load_quality
from cai.generate.plan import plan_generate
from cai.generate.run import estimate_generate
from cai.generate.settings import GenerateSettings
from cai.method.row import Generation, Judging
from cai.method.scoring import Scoring
from cai.method.selectors import Selection, SelectorName
from cai.method.steps import answers
from cai.models.base import Engine
from cai.models.meter import UsageCounter
from cai.models.scripted import default_script
from cai.models.spec import ModelSpec
from tests.building import make_engine, make_judge_configuration, make_method, make_prompt
from tests.command import Cai
from tests.storage import fill, verdict
from tests.test_export import row_of, trace

PROVENANCE = Provenance("model", "judge", "c", "c", "t", "t", "i", 0, 0)
TRACES = (trace(0, "zero", "zero, second", "zero, last"), trace(1, "one", "one, last"))
SOURCES = ["response:0", "revision:0:1", "final:0", "response:1", "final:1"]


def scored(by: str, values: dict[str, float | None], traces: tuple[Trace, ...] = TRACES) -> Row:
    return replace(row_of(traces), scores=tuple(Score(source, by, "judge", value) for source, value in values.items()))


def chosen(row: Row, by: SelectorName) -> tuple[str | None, Counter[str]]:
    left_out: Counter[str] = Counter()
    options = ExportOptions(select=by, quality=load_quality("none"))
    found = [one.source for one in preferred(row, by, count_left_out(Counter()))]
    made = list(ExampleMaker("sft", options, count_left_out(left_out)).examples(row))
    assert len(made) == bool(found)
    return found[0] if found else None, left_out


# What can be chosen


def test_answers_are_whole_and_each_counts_once() -> None:
    traces = (*TRACES, trace(2, "one", " ", "cut", last_truncated=True), trace(3, "zero, last"))
    assert list(answers(traces)) == SOURCES
    source, left_out = chosen(scored("gates", {"final:1": 0.5}, traces), "gates")
    assert source == "final:1"
    assert left_out == {"duplicate": 2, "empty": 1, "truncated": 1, NOT_SCORED: 4}


# How it is chosen


@pytest.mark.parametrize("by", ["gates", "rubric", "reward"])
def test_the_highest_score_wins_wherever_it_stands(by: SelectorName) -> None:
    values = dict(zip(SOURCES, (0.2, -0.5, 0.1, 0.9, None), strict=True))
    source, left_out = chosen(scored(by, values), by)
    assert source == "response:1"
    assert left_out == {NOT_SELECTED: 3, NOT_SCORED: 1}
    other: SelectorName = "reward" if by == "gates" else "gates"
    assert chosen(scored(by, values), other) == (None, {NOT_SCORED: 5})


@given(st.permutations(SOURCES), st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=5, max_size=5))
def test_the_order_of_scores_decides_nothing(order: list[str], values: list[float]) -> None:
    known = dict(zip(SOURCES, values, strict=True))
    source, _ = chosen(scored("gates", {name: known[name] for name in order}), "gates")
    assert source == chosen(scored("gates", dict(known)), "gates")[0]
    assert source is not None
    assert known[source] == max(values)


def test_equal_answers_are_drawn_from_and_not_the_first_taken() -> None:
    rows = [scored("gates", dict.fromkeys(SOURCES, 1.0)) for _ in range(40)]
    drawn = Counter(
        chosen(replace(row, prompt=replace(row.prompt, id=str(number))), "gates")[0] for number, row in enumerate(rows)
    )
    assert set(drawn) == set(SOURCES)


def test_the_judge_chooses_the_strongest_of_what_it_compared() -> None:
    verdicts = (
        verdict("response:0", "response:1", 0.3, 0.3),
        verdict("final:0", "response:0", 0.8, 0.8),
        verdict("final:1", "response:1", 0.9, 0.9),
    )
    source, left_out = chosen(row_of(TRACES, verdicts), "judge")
    assert source == "final:1"
    assert left_out == {NOT_SELECTED: 3, NOT_SCORED: 1}  # what was between the first and the last was not compared
    swapped = tuple(
        replace(one, a_source=one.b_source, b_source=one.a_source, probability=1.0 - (one.probability or 0.0))
        for one in verdicts
    )
    assert chosen(row_of(TRACES, swapped), "judge")[0] == "final:1"
    assert chosen(row_of(TRACES), "judge") == (None, {NOT_SCORED: 5})


def test_a_prompt_with_one_answer_has_nothing_to_choose() -> None:
    names: tuple[SelectorName, ...] = ("judge", "gates", "rubric", "reward", "random")
    for by in names:
        assert chosen(row_of((trace(0, "one"),)), by) == ("response:0", {})


def test_random_is_drawn_from_the_seed_alone() -> None:
    rows = [replace(row_of(TRACES), prompt=replace(row_of(()).prompt, id=str(number))) for number in range(60)]
    drawn = Counter(chosen(row, "random")[0] for row in rows)
    assert set(drawn) == set(SOURCES)
    assert [chosen(row, "random")[0] for row in rows] == [chosen(replace(row), "random")[0] for row in rows]
    other = [replace(row, provenance=replace(row.provenance, seed=1)) for row in rows]
    assert [chosen(row, "random")[0] for row in rows] != [chosen(row, "random")[0] for row in other]


# What is asked when a row is made


def make_generation(engine: Engine, by: SelectorName, **changes: Any) -> Generation:
    plan = RevisionPlan(schedule="walk", rounds=1, gate=False)
    configuration = make_judge_configuration()
    if changes:
        configuration = replace(configuration, constitution=make_method(plan, **changes).constitution)
    tally = UsageCounter()
    scoring = Scoring(by, engine, configuration, tally)
    judging = Judging(engine, configuration, tally)
    return Generation(engine, make_method(plan), 2, PROVENANCE, judging, (), scoring)


def judge_of(kept: dict[str, float], asked: list[str]) -> Engine:
    """Return an engine whose answers are kept, or meet a criterion, by a word of the question."""

    def choose(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        question = messages[-1]["content"]
        if options[0] == "A":
            return 0.6, 0.4
        asked.append(question)
        for word, value in kept.items():
            if word in question:
                return (value, 1.0 - value) if "criterion" in question else (1.0 - value, value)
        return 0.1, 0.1

    numbers = iter(range(100))
    return make_engine(lambda _: f"text {next(numbers)}", choose)


def test_gates_ask_about_every_answer_and_weigh_as_the_constitution_does() -> None:
    asked: list[str] = []
    engine = judge_of({"is kind": 0.25, "is safe": 0.75}, asked)
    row = asyncio.run(make_generation(engine, "gates").row(make_prompt()))
    # Two principles apply and are walked: each sample has a response, a revision and a final text.
    assert [score.source for score in row.scores] == [
        f"{kind}:{sample}{':1' if kind == 'revision' else ''}"
        for sample in (0, 1)
        for kind in ("response", "revision", "final")
    ]
    assert len(asked) == 6 * 2
    for score in row.scores:
        assert {finding.about: finding.probability for finding in score.findings} == {"kind": 0.25, "safe": 0.75}
        assert score.value == pytest.approx((0.25 * 1 + 0.75 * 3 * 4) / 13)  # minor counts 1, critical 4, weight 3
    assert row.usage.requests == 2 * 5 + 3 * 2 + 12  # texts, verdicts in both orders, and questions


def test_rubric_asks_each_criterion_of_the_constitution_and_of_the_prompt() -> None:
    asked: list[str] = []
    engine = judge_of({"names a dose": 0.5, "warns": 1.0}, asked)
    generation = make_generation(engine, "rubric", rubric=[{"criterion": "warns", "points": 4}])
    prompt = replace(make_prompt(), rubric=(Criterion("names a dose", -2.0), Criterion("rhymes", 9.0)))
    row = asyncio.run(generation.row(prompt))
    for score in row.scores:
        assert score.value == pytest.approx((4 - 1) / 4)  # nobody knows whether it rhymes, so that counts nowhere
        assert [finding.probability for finding in score.findings] == [1.0, 0.5, None]
        assert score.findings[-1].mass == pytest.approx(0.2)


@pytest.mark.parametrize("retryable", [True, False])
def test_a_question_that_fails_is_owed_or_told(retryable: bool) -> None:
    def choose(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        if options[0] == "Yes" and "kind" in messages[-1]["content"]:
            raise RequestError("timed out", retryable=retryable)
        return 0.6, 0.4

    numbers = iter(range(100))
    generation = make_generation(make_engine(lambda _: f"text {next(numbers)}", choose), "gates")
    if retryable:
        with pytest.raises(RowError) as caught:
            asyncio.run(generation.row(make_prompt()))
        assert caught.value.retryable
        return
    row = asyncio.run(generation.row(make_prompt()))
    assert {part.part for part in row.failed} == {f"score:{score.source}:kind" for score in row.scores}
    assert {part.stage for part in row.failed} == {"score"}
    assert [score.value for score in row.scores] == [pytest.approx(0.4)] * 6


def test_a_reward_model_scores_every_answer() -> None:
    class Longest:
        name = "reward:longest"

        def score(self, dialogues: Sequence[Sequence[Message]]) -> list[float | None]:
            return [float(len(dialogue[-1]["content"])) for dialogue in dialogues]

    generation = make_generation(default_script(), "gates")
    assert generation.scoring is not None
    generation = replace(generation, scoring=replace(generation.scoring, by="reward", reward=Longest()))
    row = asyncio.run(generation.row(make_prompt()))
    assert {score.model for score in row.scores} == {"reward:longest"}
    found = preferred(row, "reward", count_left_out(Counter()))[0]
    assert len(found.step.text) == max(len(step.text) for step in answers(row.traces).values())


# Options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best", "there is no selector 'best'; there are judge, gates, rubric, reward:DIRECTORY or random"),
        ("gates:x", "there is no selector 'gates:x'"),
        ("reward", "--select reward needs a model"),
        ("reward:", "--select reward needs a model"),
    ],
)
def test_a_selector_that_is_none_is_told(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Selection.parse(text)


def test_a_selector_is_written_as_it_is_read() -> None:
    for text in ("judge", "random", "reward:/models/reward"):
        assert str(Selection.parse(text)) == text


def settings(tmp_path: Path, select: str, **changes: Any) -> GenerateSettings:
    return GenerateSettings(
        "medical",
        model=ModelSpec.parse("scripted"),
        limit=2,
        out=tmp_path / "run",
        select=Selection.parse(select),
        **changes,
    )


def test_what_cannot_be_selected_is_told_before_a_model_is_open(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--select rubric needs criteria"):
        plan_generate(settings(tmp_path, "rubric"))
    with pytest.raises(UsageError, match="holds no model"):
        plan_generate(settings(tmp_path, f"reward:{tmp_path}"))
    with pytest.raises(UsageError, match="--all-revisions takes all"):
        plan_generate(settings(tmp_path, "gates", all_revisions=True))
    with pytest.raises(UsageError, match="--all-revisions takes all"):
        ExportOptions(all_revisions=True, select="judge")


def test_only_what_is_asked_is_part_of_a_runs_identity_and_of_its_estimate(tmp_path: Path) -> None:
    plans = {name: plan_generate(settings(tmp_path, name)) for name in ("judge", "random", "gates")}
    named = {name: plan.identity("m", "j", ())["select"] for name, plan in plans.items()}
    assert named == {"judge": "none", "random": "none", "gates": "gates"}
    requests = {name: estimate_generate(plan).most.requests for name, plan in plans.items()}
    assert requests["judge"] == requests["random"] < requests["gates"]


# From end to end


def test_the_command_selects_and_the_export_can_do_so_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = [
        {"prompt": f"Question {number}?", "rubric": [{"criterion": "is kind", "points": 2}]} for number in range(3)
    ]
    (tmp_path / "prompts.jsonl").write_bytes(b"\n".join(map(orjson.dumps, prompts)))
    out = str(tmp_path / "run")
    command = ["generate", "--constitution", "medical", "--model", "scripted", "--out", out, "--no-judge-check"]
    command += ["--prompts", str(tmp_path / "prompts.jsonl")]
    run_cai = Cai(capsys)
    told = run_cai.told(*command, "--select", "rubric")["export"]["selected"]
    assert told["by"] == "rubric"
    assert told["responses"] + told["revisions"] == 3
    run = cai.open_run(out)
    rows = list(run)
    assert all(row.prompt.rubric == (Criterion("is kind", 2.0),) and row.scores for row in rows)
    table = pq.read_table(tmp_path / "run" / "sft" / "train.parquet").to_pylist()
    assert {row["selected_by"] for row in table} == {"rubric"}
    assert {len(run.dataset("sft", select=name)) for name in ("rubric", "judge", "random")} <= {0, 3}
    assert len(run.dataset("sft", select="final")) > 3 - 1
    assert "`--select rubric`" in (tmp_path / "run" / "README.md").read_text()
    with pytest.raises(RunError, match="have no scores by gates"):
        run.export(select="gates")
    assert run.export(select="final").selected is None
    learned = list(RunExamples(DataSource.parse(out), "supervised", RunChoices()).examples())
    assert sum(hasattr(item, "values") for item in learned) == 3
    code, _, said = run_cai(*command)
    assert code != 0
    assert "select" in said


def test_an_export_of_fewer_says_why(tmp_path: Path) -> None:
    fill(tmp_path / "run", [replace(row_of(TRACES), prompt=make_prompt())])
    assert export_run(tmp_path / "run", ExportOptions(select="final", test_share=0.0)).sft.size == 2
    remarks = export_run(tmp_path / "run", ExportOptions(select="random", test_share=0.0)).remarks
    assert remarks == (
        "sft holds 1 example where the last export had 2: now it has one answer a prompt, selected by random; "
        "--select final has all",
    )


def test_where_a_filter_leaves_the_best_out_the_next_is_chosen() -> None:
    junk = "The response goes against the principle, and the user should be told so."
    row = scored(
        "gates",
        {"response:0": 0.9, "response:1": 0.5, "response:2": 0.1},
        tuple(
            trace(number, text) for number, text in enumerate((junk, "Rest, and drink water.", "See a doctor today."))
        ),
    )
    left_out: Counter[str] = Counter()
    (made,) = ExampleMaker("sft", ExportOptions(select="gates"), count_left_out(left_out)).examples(row)
    assert (made["sample"], made["score"]) == (1, 0.5)
    assert left_out[NOT_SELECTED] == 1
    assert left_out.total() == 2
