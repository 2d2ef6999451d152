"""What a model thinks is kept in the row, and reaches nothing else: no request, no text, no dataset."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import cai
from cai.cli.main import main
from cai.constitution import RevisionPlan
from cai.core.arrow import THINKING_MESSAGES
from cai.core.errors import RowError
from cai.core.records import RESPONSE, VERDICT
from cai.method.critique import respond_and_revise
from cai.method.judge import judge
from cai.method.settings import JudgeSettings, StageThinking
from cai.models.asking import ALL_THOUGHT, Asker
from cai.models.base import NOT_THINKING, Completion, Engine, Request, Sampling, Thinking
from cai.models.scripted import ScriptedEngine, default_script
from tests.building import PRINCIPLES, make_comparison, make_judge_configuration, make_method, make_prompt
from tests.thinking import THOUGHT, ThinkingEngine

ON = Thinking("on", 100)
GATED = RevisionPlan(schedule="walk", rounds=1, gate=True)


def test_a_trace_keeps_every_thought_and_feeds_none_back() -> None:
    method = replace(make_method(GATED), thinking=StageThinking(Thinking(), ON, ON))
    engine = ThinkingEngine(default_script())
    trace = asyncio.run(respond_and_revise(engine, method, make_prompt(), 0))
    revised = [turn for turn in trace.rounds if turn.revision is not None]
    assert revised
    kept = [trace.reasoning, *(turn.gate_reasoning for turn in trace.rounds)]
    kept += [thought for turn in revised for thought in (turn.critique_reasoning, turn.revision_reasoning)]
    assert sorted(map(str, kept)) == sorted(f"{THOUGHT} {number}" for number in range(1, len(engine.requests) + 1))
    assert not any(THOUGHT in message["content"] for request in engine.requests for message in request.messages)
    assert [request.thinking for request in engine.requests[:2]] == [Thinking(), ON]


def test_without_thoughts_the_same_trace_has_none() -> None:
    method = make_method(GATED)
    plain = asyncio.run(respond_and_revise(default_script(), method, make_prompt(), 0))
    thinking = replace(method, thinking=StageThinking(ON, ON, NOT_THINKING))
    trace = asyncio.run(respond_and_revise(ThinkingEngine(default_script()), thinking, make_prompt(), 0))
    assert plain.reasoning is None
    assert {turn.gate_reasoning for turn in trace.rounds} == {None}
    bare = [replace(turn, critique_reasoning=None, revision_reasoning=None) for turn in trace.rounds]
    assert replace(trace, reasoning=None, rounds=tuple(bare)) == plain


def test_critiques_and_revisions_may_be_drawn_otherwise() -> None:
    revising = Sampling(temperature=0.3, top_p=0.9)
    engine = ThinkingEngine(default_script())
    method = replace(make_method(RevisionPlan(rounds=1, gate=False)), revising=revising)
    asyncio.run(respond_and_revise(engine, method, make_prompt(), 0))
    assert [request.sampling for request in engine.requests] == [Sampling(), *[revising] * 4]


def test_a_judge_s_thoughts_are_among_its_rationales_and_its_labels_are_clamped() -> None:
    configuration = replace(make_judge_configuration(judging=JudgeSettings(judge_reasoning=True)), thinking=ON)
    script = ScriptedEngine(lambda _: "Because.", lambda messages, _: _favouring("good", messages[0]["content"]))
    verdict = asyncio.run(
        judge(ThinkingEngine(script), configuration, make_comparison("good", "bad"), PRINCIPLES[0], "p")
    )
    assert verdict.probability == pytest.approx(0.6)
    first, second = ((f"{THOUGHT} {number}", "Because.", f"{THOUGHT} {number + 1}") for number in (1, 3))
    assert verdict.rationales == (*first, *second)
    silent = replace(configuration, settings=JudgeSettings())
    verdict = asyncio.run(judge(ThinkingEngine(script), silent, make_comparison("good", "bad"), PRINCIPLES[0], "p"))
    assert verdict.rationales == (f"{THOUGHT} 1", f"{THOUGHT} 2")
    assert verdict.probability == pytest.approx(0.6)
    silent = replace(silent, thinking=NOT_THINKING)
    verdict = asyncio.run(judge(ThinkingEngine(script), silent, make_comparison("good", "bad"), PRINCIPLES[0], "p"))
    assert verdict.rationales == ()
    assert verdict.probability == pytest.approx(0.9)


def _favouring(text: str, question: str) -> list[float]:
    return [0.9, 0.1] if question.index(f") {text}") < question.index("\n(B ") else [0.1, 0.9]


@pytest.mark.parametrize(("thinking", "limit"), [(NOT_THINKING, 8), (Thinking("on"), 512), (ON, 8)])
def test_by_text_a_thought_finds_room(thinking: Thinking, limit: int) -> None:
    configuration = replace(make_judge_configuration(judging=JudgeSettings(judge_by="text")), thinking=thinking)
    engine = ThinkingEngine(ScriptedEngine(lambda _: "A", lambda *_: [1.0, 0.0]))
    asyncio.run(judge(engine, configuration, make_comparison("good", "bad"), PRINCIPLES[0], "p"))
    assert {request.sampling for request in engine.requests} == {Sampling(temperature=0.0, max_tokens=limit)}


@pytest.mark.parametrize(
    ("stage", "thinking", "told"),
    [
        (RESPONSE, Thinking(), "raise --max-tokens, or turn it off with --thinking off"),
        (VERDICT, ON, "raise --thinking-budget or --max-tokens, or turn it off with --judge-thinking off"),
        (RESPONSE, NOT_THINKING, "the model can only think: give it --thinking-budget"),
    ],
)
def test_a_thought_that_fills_the_limit_is_a_failure_and_no_text(stage: str, thinking: Thinking, told: str) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Completion:
        asked.append(request)
        return Completion("", "length", 10, 0, 1512, "Let me see.")

    engine = ScriptedEngine(answer, lambda *_: [1.0, 0.0])
    with pytest.raises(RowError) as caught:
        asyncio.run(Asker(engine).write(stage, Request(make_prompt().messages, thinking=thinking)))
    assert str(caught.value) == f"1,512 tokens of the {stage} were all thought: {told}"
    assert (caught.value.kind, caught.value.raw, caught.value.retryable) == (ALL_THOUGHT, "Let me see.", False)
    assert len(asked) == 1


DATASETS = [Path(name, f"{split}.parquet") for name in ("sft", "preference") for split in ("train", "test")]


def _generate(out: Path, engine: Engine, **options: Any) -> cai.Run:
    return cai.generate(
        constitution="harmless", model=engine, limit=8, max_tokens=60, out=out, progress=False, **options
    )


def _exported(run: Path) -> dict[str, bytes]:
    return {str(path): (run / path).read_bytes() for path in DATASETS if (run / path).exists()}


def test_a_model_that_thinks_gives_the_same_datasets_as_one_that_does_not(tmp_path: Path) -> None:
    plain = _generate(tmp_path / "plain", default_script())
    thinking = _generate(tmp_path / "thinking", ThinkingEngine(default_script()))
    exported = _exported(thinking.path)
    assert exported
    assert exported == _exported(plain.path)
    assert THOUGHT.encode() not in b"".join(exported.values())
    assert all(trace.reasoning for row in thinking for trace in row.traces)
    assert not any(trace.reasoning for row in plain for trace in row.traces)
    assert [replace(verdict, rationales=()) for row in thinking for verdict in row.verdicts] == [
        verdict for row in plain for verdict in row.verdicts
    ]
    assert "The model thought before" in (thinking.path / "README.md").read_text()
    assert "The model thought before" not in (plain.path / "README.md").read_text()


def test_thoughts_are_exported_when_they_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _generate(tmp_path / "run", ThinkingEngine(default_script()), gate=False)
    without = _exported(run.path)
    summary = run.export(reasoning=True)
    assert summary.reasoning.keys() == {"response", "critique", "revision"}
    table = pq.read_table(run.path / "sft" / "train.parquet")
    assert table.schema.field("completion").type == THINKING_MESSAGES
    by_final = {trace.final: trace.rounds[-1].revision_reasoning for row in run for trace in row.traces}
    for example in table.to_pylist():
        (answer,) = example["completion"]
        assert answer["thinking"] == by_final[answer["content"]]
        assert example["messages"][-1] == answer
        assert example["messages"][0]["thinking"] is None
    responses = {trace.response: trace.reasoning for row in run for trace in row.traces}
    pairs = run.dataset("preference", reasoning=True)
    assert len(pairs)
    for pair in pairs:
        for (answer,) in (pair["chosen"], pair["rejected"]):
            assert answer["thinking"] == (responses | by_final)[answer["content"]]
    assert "`thinking`, null where it did not think" in (run.path / "README.md").read_text()
    assert run.export().remarks == ("the last export had the model's reasoning, which --reasoning exports again",)
    assert _exported(run.path) == without

    def told(*words: str) -> str:
        with pytest.raises(SystemExit) as left:
            main([*words])
        assert left.value.code == 0
        return capsys.readouterr().out

    assert THOUGHT not in told("show", str(run.path), "--limit", "1")
    assert f"thought: {THOUGHT}" in told("show", str(run.path), "--limit", "1", "--reasoning")
    assert "thoughts in the rows" in told("export", str(run.path), "--reasoning")
