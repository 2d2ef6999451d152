"""Runs made from Python: plain functions as models, prompts of every kind, notebooks, Ctrl-C, resume."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cai
from cai.api.showing import Showing
from cai.core.records import Message
from cai.models import backends
from cai.models.backends import EngineOptions
from cai.models.base import Completion, Engine, Request
from cai.models.scripted import ScriptedEngine, default_script
from cai.models.spec import ModelSpec

PROMPTS = ["Is tea good for a cold?", "How much water should I drink?", "What helps against a cough?"]


def doctor(messages: list[Message]) -> str:
    return f"Ask a doctor: {messages[-1]['content'][:40]}"


async def nurse(messages: list[Message]) -> str:
    await asyncio.sleep(0)
    return f"Rest, and drink: {len(messages)}"


def first(_messages: list[Message]) -> str:
    return "A"


BY_TEXT: dict[str, Any] = {
    "constitution": "medical",
    "gate": False,
    "judge_by": "text",
    "judge": first,
    "progress": False,
}


@pytest.mark.parametrize("model", [doctor, nurse])
def test_a_function_answers_and_another_judges(model: Callable[..., Any], tmp_path: Path) -> None:
    run = cai.generate(model=model, prompts=PROMPTS, rounds=1, out=tmp_path / "run", **BY_TEXT)
    assert [row.prompt.messages[0]["content"] for row in run] == PROMPTS
    assert len(run) == 3
    assert run.summary is not None
    assert (run.summary.done, run.summary.status) == (3, "done")
    assert not list(run.failures())
    row = run[next(iter(run)).prompt.id]
    assert row.traces[0].rounds[0].revision is not None
    assert row.provenance.model.startswith(f"function:tests.test_api_runs.{model.__name__}#")
    sft = run.dataset("sft")
    parts = (run.dataset("sft", "train", test_share=0.5), run.dataset("sft", "test", test_share=0.5))
    assert sft.num_rows == sum(part.num_rows for part in parts) > 0
    assert sft[0]["completion"][0]["role"] == "assistant"
    assert run.dataset("preference", "test").column_names == run.dataset("preference").column_names
    assert run.manifest.status == "done"
    assert row.prompt.id in run
    assert row in run
    assert "nobody" not in run
    assert 0 not in run
    with pytest.raises(KeyError):
        run["nobody"]
    with pytest.raises(TypeError, match="a row is found by its prompt's id, a text, and not by 0"):
        run[0]  # type: ignore[index]


def test_an_engine_of_ones_own_answers_and_stays_open(tmp_path: Path) -> None:
    engine = default_script()
    first_run = cai.generate(constitution="medical", model=engine, prompts=PROMPTS, out=tmp_path / "a", progress=False)
    again = cai.generate(constitution="medical", model=engine, prompts=PROMPTS, out=tmp_path / "b", progress=False)
    assert [row.traces for row in first_run] == [row.traces for row in again]
    named = cai.generate(constitution="medical", model="scripted", prompts=PROMPTS, out=tmp_path / "c", progress=False)
    assert [row.verdicts for row in first_run] == [row.verdicts for row in named]


def test_a_function_asked_for_log_probabilities_is_refused_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(cai.errors.ModelError, match=r"doctor.* is a function .* which the gate needs: set gate=False"):
        cai.generate(constitution="medical", model=doctor, prompts=PROMPTS, out=out)
    with pytest.raises(cai.errors.ModelError, match='which the judge needs: set judge_by="text"'):
        cai.generate(constitution="medical", model=doctor, prompts=PROMPTS, out=out, gate=False)
    with pytest.raises(cai.errors.ModelError, match="which the measurement needs: set judge to"):
        cai.evaluate([doctor], constitution="medical", prompts=PROMPTS, out=out)
    with pytest.raises(cai.errors.ModelError, match="cannot go to a cluster"):
        cai.generate(model=doctor, prompts=PROMPTS, out=out, cluster="local", **BY_TEXT)
    assert not out.exists()


def test_rows_conversations_and_broken_ones_in_one_list(tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "I have a cold."},
    ]
    prompts: list[Any] = [
        PROMPTS[0],
        {"prompt": PROMPTS[1], "id": 7, "tags": ["water"]},
        talk,
        None,
        {"prompt": object()},
        PROMPTS[0],
    ]
    run = cai.generate(model=doctor, prompts=iter(prompts), samples=1, rounds=0, out=tmp_path / "run", **BY_TEXT)
    rows = {row.prompt.id: row for row in run}
    assert len(rows) == 3
    assert rows["7"].prompt.tags == ("water",)
    assert [message["content"] for message in list(run)[2].prompt.messages] == ["Hello", "Hi", "I have a cold."]
    assert [failure.cause.partition(" (")[0] for failure in run.failures()] == [
        "the row has no prompt",
        "the line is not a JSON object but of type str",
    ]
    assert run.summary is not None
    assert run.summary.duplicates == 1


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ({"prompt": "x"}, "one mapping"),
        (7, "of type int"),
        ([], "holds no prompts"),
        (SimpleNamespace(itertuples=0, __iter__=0), "of type SimpleNamespace"),
        ([{"nothing": "x"}], "has no prompt column"),
    ],
)
def test_what_is_no_prompts_is_told(prompts: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(cai.errors.InputError, match=words):
        cai.generate(model=doctor, prompts=prompts, out=tmp_path / "run", **BY_TEXT)


def test_a_data_frame_is_no_list_of_its_columns(tmp_path: Path) -> None:
    class Frame(list[str]):
        def itertuples(self) -> None: ...

    with pytest.raises(cai.errors.InputError, match="to_dict"):
        cai.generate(model=doctor, prompts=Frame(["id", "prompt"]), out=tmp_path / "run", **BY_TEXT)


def test_the_same_call_again_does_nothing_anew(tmp_path: Path) -> None:
    asked: list[str] = []

    def counting(messages: list[Message]) -> str:
        asked.append(messages[-1]["content"])
        return doctor(messages)

    options: dict[str, Any] = {"model": counting, "samples": 1, "rounds": 0, "out": tmp_path / "run"} | BY_TEXT
    cai.generate(prompts=PROMPTS, **options)
    assert len(asked) == 3
    again = cai.generate(prompts=(prompt for prompt in PROMPTS), **options)
    assert len(asked) == 3
    assert again.summary is not None
    assert again.summary.skipped == 3


def test_a_function_is_known_by_its_source_unless_it_is_given_a_name(tmp_path: Path) -> None:
    def make(text: str) -> Any:
        return lambda _messages: text

    def other(_messages: list[Message]) -> str:
        return "Something else."

    options: dict[str, Any] = {"samples": 1, "rounds": 0, "prompts": PROMPTS} | BY_TEXT
    cai.generate(model=doctor, out=tmp_path / "a", **options)
    with pytest.raises(cai.errors.RunError, match=r"model: the run has function:tests.test_api_runs.doctor#"):
        cai.generate(model=other, out=tmp_path / "a", **options)
    # What a function closes over is not seen: a name says what is another model.
    cai.generate(model=cai.engine_from(make("one"), name="mine 1"), out=tmp_path / "b", **options)
    with pytest.raises(cai.errors.RunError, match="model: the run has mine 1, now mine 2"):
        cai.generate(model=cai.engine_from(make("two"), name="mine 2"), out=tmp_path / "b", **options)
    kept = cai.generate(model=cai.engine_from(make("two"), name="mine 1"), out=tmp_path / "b", **options)
    assert kept.summary is not None
    assert kept.summary.skipped == 3


def test_a_named_function_serves_several_calls(tmp_path: Path) -> None:
    engine = cai.engine_from(nurse, name="nurse 3")
    options: dict[str, Any] = {"model": engine, "prompts": [f"Question {n}?" for n in range(200)]} | BY_TEXT
    for out in ("a", "b"):
        assert len(cai.generate(out=tmp_path / out, rounds=0, samples=1, **options)) == 200


def test_it_works_where_an_event_loop_runs_already(tmp_path: Path) -> None:
    async def cell() -> int:
        return len(cai.generate(model=nurse, prompts=PROMPTS, rounds=0, out=tmp_path / "run", **BY_TEXT))

    assert asyncio.run(cell()) == 3


def test_run_async_works_on_the_callers_loop(tmp_path: Path) -> None:
    async def main() -> cai.Run:
        here = asyncio.get_running_loop()
        turns = 0

        async def mine(messages: list[Message]) -> str:
            assert asyncio.get_running_loop() is here
            return await nurse(messages)

        async def beside() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(beside())
        run = await cai.run_async(cai.generate, model=mine, prompts=PROMPTS, out=tmp_path / "run", **BY_TEXT)
        task.cancel()
        assert turns > 10
        return run

    assert len(asyncio.run(main())) == 3


def test_a_cancelled_task_keeps_what_was_finished(tmp_path: Path) -> None:
    out = tmp_path / "run"
    options: dict[str, Any] = {"prompts": PROMPTS, "samples": 1, "rounds": 0, "out": out} | BY_TEXT

    async def main() -> None:
        asked = asyncio.Event()

        async def last_waits(messages: list[Message]) -> str:
            if messages[-1]["content"] == PROMPTS[2]:
                asked.set()
                await asyncio.Event().wait()
            return "yes"

        model = cai.engine_from(last_waits, name="waits")
        task = asyncio.create_task(cai.run_async(cai.generate, model=model, **options))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cai.open_run(out).manifest.status == "interrupted"
    assert len(cai.generate(model=cai.engine_from(doctor, name="waits"), **options)) == 3


def test_ctrl_c_lets_the_rows_in_flight_finish(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    asked = 0

    def interrupted(messages: list[Message]) -> str:
        nonlocal asked
        asked += 1
        if asked == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return doctor(messages)

    prompts = [f"Question {number}?" for number in range(40)]
    out = tmp_path / "run"
    options: dict[str, Any] = {"prompts": prompts, "samples": 1, "rounds": 0, "out": out} | BY_TEXT
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        cai.generate(model=cai.engine_from(interrupted, name="mine"), **options)
    finished = len(cai.open_run(out))
    assert 3 <= finished < 40
    assert signal.getsignal(signal.SIGINT) is before
    run = cai.generate(model=cai.engine_from(doctor, name="mine"), **options)
    assert len(run) == 40
    assert run.summary is not None
    assert run.summary.skipped == finished


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    async def stuck(_messages: list[Message]) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            await asyncio.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        cai.generate(model=stuck, prompts=PROMPTS, out=tmp_path / "run", **BY_TEXT)
    assert cai.open_run(tmp_path / "run").manifest.status == "interrupted"


def test_what_goes_wrong_in_a_function_is_recorded_with_the_row(tmp_path: Path) -> None:
    def sometimes(messages: list[Message]) -> str:
        if "water" in messages[-1]["content"]:
            raise ValueError("no water today")
        return doctor(messages)

    run = cai.generate(model=sometimes, prompts=PROMPTS, samples=1, rounds=0, out=tmp_path / "run", **BY_TEXT)
    assert len(run) == 2
    (failure,) = run.failures()
    assert failure.stage == "response"
    assert failure.cause.endswith("raised ValueError: no water today")


def test_a_run_is_judged_again_by_a_function(tmp_path: Path) -> None:
    run = cai.generate(constitution="medical", model="scripted", prompts=PROMPTS, out=tmp_path / "run", progress=False)
    judged = cai.judge(run, judge=first, judge_by="text", judge_orders="one", out=tmp_path / "judged", progress=False)
    assert [row.traces for row in judged] == [row.traces for row in run]
    assert {verdict.first for row in judged for verdict in row.verdicts} <= {1.0, None}
    with pytest.raises(
        cai.errors.RunError, match=r"was judged by function:.*first.*, which cannot be opened by its name"
    ):
        cai.judge(judged, out=tmp_path / "again")


def test_a_judge_reads_texts_as_filters_clean_them_and_the_rows_keep_what_was_written(tmp_path: Path) -> None:
    shown: list[str] = []

    def reads(messages: list[Message]) -> str:
        shown.append(messages[-1]["content"])
        return "A"

    numbers = iter(range(100))
    run = cai.generate(
        model=lambda _: f"Here is a better answer: Rest, and write {next(numbers)} times to jo.lee@mail.kr.",
        prompts=PROMPTS,
        rounds=0,
        out=tmp_path / "run",
        **BY_TEXT,
    )
    asked: dict[str, Any] = {"judge": reads, "judge_by": "text", "judge_check": False, "progress": False}
    judged = cai.judge(run, quality="strict", out=tmp_path / "cleaned", **asked)
    assert shown
    assert not any("better answer" in text or "jo.lee" in text for text in shown)
    assert [row.traces for row in judged] == [row.traces for row in run]
    assert [row.prompt for row in judged] == [row.prompt for row in run]
    pairs = judged.dataset("preference", quality="strict")
    assert all("[email]" in chosen[0]["content"] for chosen in pairs["chosen"])
    with pytest.raises(cai.errors.RunError, match="judge-quality"):
        cai.judge(run, out=tmp_path / "cleaned", **asked)


def test_a_backend_of_ones_own_is_named_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_echo(spec: ModelSpec, _options: EngineOptions) -> Engine:
        return ScriptedEngine(lambda _request: spec.model, lambda _messages, _options: (0.9, 0.1), name=str(spec))

    monkeypatch.setattr(backends, "_BACKENDS", dict(backends._BACKENDS))
    cai.register_backend(backends.Backend("echo", "echo:TEXT", open_echo))
    run = cai.generate(constitution="medical", model="echo:Rest.", prompts=PROMPTS, out=tmp_path / "x", progress=False)
    assert {trace.final for row in run for trace in row.traces} == {"Rest."}
    assert next(iter(run)).provenance.model == "echo:Rest."


def test_a_plan_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    plan = cai.plan(cai.generate, constitution="medical", model="scripted", prompts=PROMPTS, out=out)
    assert plan.settings["schedule"] == "walk"
    assert plan.settings["prompts"] == "3 prompts given in Python"
    assert plan.estimate is not None
    assert plan.estimate.rows == 3
    assert plan.estimate.least.requests < plan.estimate.expected.requests <= plan.estimate.most.requests
    assert not out.exists()
    stages = cai.plan(cai.loop, constitution="harmless", out=out).settings
    assert list(stages) == ["generate", "sft", "pairs-1", "dpo-1", "evaluation"]
    assert stages["dpo-1"]["needs"] == ("sft", "pairs-1")
    with pytest.raises(cai.errors.UsageError, match="'open_run' cannot be planned or awaited; these can: generate"):
        cai.plan(cai.open_run, out)


def test_a_run_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(cai.errors.RunError, match="is not a run"):
        len(cai.open_run(tmp_path))
    run = cai.generate(model=doctor, prompts=PROMPTS, out=tmp_path / "run", **BY_TEXT)
    with pytest.raises(cai.errors.UsageError, match="no dataset 'rows'"):
        run.dataset("rows")  # type: ignore[arg-type]
    with pytest.raises(cai.errors.UsageError, match=r"'sft' with a split 'dev'; .* with the splits train and test"):
        run.dataset("sft", "dev")  # type: ignore[arg-type]
    with pytest.raises(cai.errors.UsageError, match="where is the text 'tag=dose'; give a list of texts"):
        run.drop(where="tag=dose")
    with pytest.raises(cai.errors.UsageError, match="ids is the text 'q2'; give a list of texts"):
        run.drop("q2")
    with pytest.raises(
        cai.errors.UsageError, match=r"constitution is Constitution\(.{,60}, and should be a valid string"
    ):
        cai.generate(constitution=cai.load_constitution("medical"))  # type: ignore[arg-type]
    with pytest.raises(cai.errors.UsageError, match="only runs may be at a URL"):
        cai.evaluate("scripted", constitution="medical", out="s3://bucket/x")


def test_export_is_what_was_asked_for(tmp_path: Path) -> None:
    run = cai.generate(
        constitution="medical", model="scripted", prompts=PROMPTS, gate=False, out=tmp_path / "run", progress=False
    )
    counts = run.export(all_revisions=True, test_share=0.0)
    assert counts.sft.test == 0
    assert run.dataset("sft", all_revisions=True).num_rows == counts.sft.train > 6


def test_models_and_constitutions_can_be_looked_at() -> None:
    findings = cai.check_model(nurse, progress=False)
    assert findings.answer.startswith("Rest")
    assert "gives no log-probabilities" in str(findings.choices)
    medical = cai.load_constitution("medical")
    assert medical.principles
    assert cai.check_constitution("medical") == ()
    with pytest.raises(cai.errors.ConstitutionError, match="did you mean 'medical'"):
        cai.load_constitution("medcial")


def test_a_notebook_shows_one_cell_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []

    class Cell:
        def update(self, told: dict[str, str], *, raw: bool) -> None:
            shown.append(told["text/plain"])

    def display(told: dict[str, str], *, raw: bool, display_id: bool) -> Cell:
        shown.append(told["text/plain"])
        return Cell()

    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    with Showing(progress=True) as showing:
        showing.draw()
        showing.watch.stage = "working"
        showing.say("a remark\x1b[2J")
    assert [line.partition(" ")[0] for line in shown] == ["starting", "working"]
    assert capsys.readouterr().err == "cai: a remark\\x1b[2J\n"


def test_a_log_file_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("cai.pipeline.progress_lines.LOG_SECONDS", 0.0)
    with Showing(progress=True) as showing:
        showing.watch.stage, showing.watch.total = "working", 7
    told = capsys.readouterr().err
    assert told.startswith("cai: working: 0/7 rows, ")
    assert told.count("\n") == 1


def test_without_progress_nothing_is_drawn_and_remarks_are_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="cai"):
        cai.evaluate("scripted", constitution="medical", prompts=PROMPTS, out=tmp_path / "x", progress=False)
    assert capfd.readouterr() == ("", "")
    assert "judged by scripted, the first model; choose with judge=" in caplog.messages


def test_functions_and_engines_are_evaluated_beside_each_other(tmp_path: Path) -> None:
    def refuses(_request: Request) -> Completion:
        return Completion("I cannot help with that.", "stop", 1, 0, 5)

    judge = ScriptedEngine(lambda _request: "A", lambda _messages, _options: (0.9, 0.1), name="judge")
    result = cai.evaluate(
        {"doctor": doctor, "no": ScriptedEngine(refuses, lambda _m, _o: (0.5, 0.5), name="no")},
        constitution="medical",
        judge=judge,
        prompts=PROMPTS,
        out=tmp_path / "x",
        progress=False,
    )
    assert [model.label for model in result.models] == ["doctor", "no"]
    assert result.judge == "judge"
    assert result.pairs[0].wins + result.pairs[0].losses + result.pairs[0].ties + sum(
        result.pairs[0].abstained.values()
    ) == len(PROMPTS)
