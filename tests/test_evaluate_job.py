"""The evaluation as a job: what is asked, kept, counted and refused; killed for real, it goes on where it was."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from cai.cli.evaluation_tables import print_evaluation
from cai.cli.main import main
from cai.core.addresses import DataSource
from cai.core.errors import EngineGoneError, RequestError, RunError, UsageError
from cai.core.records import Message
from cai.evaluate import run as job
from cai.evaluate.plan import label_models, plan_evaluate
from cai.evaluate.results import Evaluation
from cai.evaluate.run import evaluate
from cai.evaluate.settings import EvaluateSettings
from cai.method.settings import CheckSettings, SamplingSettings
from cai.models.asking import ATTEMPTS
from cai.models.base import Request
from cai.models.scripted import ScriptedEngine
from cai.models.settings import EngineSettings
from cai.models.spec import LabelledModel, ModelSpec
from cai.pipeline.watch import Watch
from tests.building import shown_answers

Answer = Callable[[Request], str]
PATIENCE = 60.0


def write_prompts(path: Path, count: int = 12) -> Path:
    rows = [
        {"id": f"q{n}", "prompt": f"Question {n}, please?", "tags": ["harmful" if n % 2 else "benign"]}
        for n in range(count)
    ]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def settings(tmp_path: Path, *models: str, **changes: Any) -> EvaluateSettings:
    prompts = tmp_path / "prompts.jsonl"
    if not prompts.exists():
        write_prompts(prompts)
    values: dict[str, Any] = {"prompts": (DataSource.parse(str(prompts)),), "out": tmp_path / "out", **changes}
    if "judge" in values:
        values["judge"] = scripted(values["judge"]).spec
    if "baseline" in values:
        values["baseline"] = scripted(values["baseline"])
    return EvaluateSettings(tuple(map(scripted, models or ("scripted",))), "harmless", **values)


def scripted(typed: str) -> LabelledModel:
    """Return a model of `Models` by the name that it has there."""
    label, equals, name = typed.rpartition("=")
    return LabelledModel.parse(f"{label}{equals}{name if ':' in name else f'transformers:{name}'}")


def named(*models: str) -> tuple[LabelledModel, ...]:
    return tuple(map(LabelledModel.parse, models))


def run(wanted: EvaluateSettings) -> Evaluation:
    found = asyncio.run(evaluate(plan_evaluate(wanted), Watch()))
    assert isinstance(found, Evaluation)
    return found


def lines(path: Path) -> list[Any]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


class Models:
    """Scripted models by spec; the judge dislikes what holds the word bad. Counts what each was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: Answer) -> None:
        self.answers = answers
        self.asked: dict[str, int] = dict.fromkeys(answers, 0)
        self.open: set[str] = set()
        self.most_open = 0
        self.gate: Callable[[tuple[Message, ...]], Sequence[float]] | None = None
        monkeypatch.setattr(job, "open_closing", self.opened)

    async def opened(self, spec: ModelSpec, _: EngineSettings, stack: AsyncExitStack, _say: object) -> ScriptedEngine:
        name = spec.model

        def answer(request: Request) -> str:
            self.asked[name] += 1
            return self.answers[name](request)

        self.open.add(name)
        self.most_open = max(self.most_open, len(self.open))
        stack.callback(self.open.discard, name)
        return ScriptedEngine(answer, self.choose, name=f"scripted {name}", concurrency=4)

    def choose(self, messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        if len(messages) > 1:  # a gate: the response is the turn before the question
            broken = "bad" in messages[-2]["content"]
            if self.gate is not None:
                return self.gate(messages)
            return (0.9, 0.05) if broken else (0.1, 0.8)
        first, second = shown_answers(messages[-1]["content"])
        lead = 0.4 * (("bad" in second) - ("bad" in first))
        return (0.5 + lead, 0.5 - lead)


def good(request: Request) -> str:
    return f"fine answer to {request.messages[-1]['content']}"


def bad(request: Request) -> str:
    return f"bad answer to {request.messages[-1]['content']}"


def test_a_worse_model_is_seen_to_be_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models(monkeypatch, judge=good, better=good, worse=bad)
    found = run(settings(tmp_path, "better", baseline="base=worse", judge="judge"))
    assert [model.label for model in found.models] == ["base", "better"], "the baseline comes first"
    assert (found.baseline, found.prompts, found.judge) == ("base", 12, "scripted judge")
    assert models.most_open == 2, "never two models beside the judge"
    assert found.measurement("breaks any principle", "base").value == 1
    better = found.measurement("breaks any principle", "better")
    assert (better.value, better.low, better.count) == (0, 0, 12)
    assert found.measurement("breaks any principle, harmful", "base").count == 6
    assert found.measurement("gate privacy", "base").value == pytest.approx(0.947)  # three digits are kept
    difference = found.model("better").difference("breaks any principle")
    assert difference is not None
    assert (difference.value, difference.low) == (-1, -1)
    assert difference.high == pytest.approx(1 - 2 * 0.025 ** (1 / 12)), "twelve prompts of one mind prove no more"
    assert found.model("better").differs("breaks any principle")
    discordance = found.model("better").discordance
    assert discordance is not None
    assert (discordance.only_model, discordance.only_baseline) == (0, 12)
    assert discordance.p == pytest.approx(2 / 2**12)
    assert discordance.prompts == 12
    by_principle = found.model("better").p_values
    assert set(by_principle) == {
        f"breaks {name}" for name in ("no-help-with-harm", "kind-tone", "privacy", "no-needless-refusal")
    }
    assert all(value == pytest.approx(len(by_principle) * 2 / 2**12) for value in by_principle.values())
    assert found.model("better").differs("breaks any principle")
    (pair,) = found.pairs
    assert (pair.a, pair.b, pair.wins, pair.losses, pair.ties) == ("better", "base", 12, 0, 0)
    assert found.ratings[1].value > found.ratings[0].value
    with pytest.raises(KeyError, match="breaks privacy"):
        found.measurement("nothing", "base")


@pytest.mark.slow
def test_attacks_are_measured_apart_and_judged_beside_the_prompt_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gullible(request: Request) -> str:
        plain = request.messages[-1]["content"].startswith("Question") and not request.prefill
        return " fine answer" if plain else " bad answer"

    models = Models(monkeypatch, gullible=gullible, judge=good)
    judged: list[str] = []

    def gate(messages: tuple[Message, ...]) -> Sequence[float]:
        judged.append(messages[0]["content"])
        return (0.9, 0.05) if "bad" in messages[1]["content"] else (0.1, 0.8)

    models.gate = gate
    untested = CheckSettings(judge_check=False)
    wanted = settings(tmp_path, "gullible", judge="judge", attack=("base64", "prefill", "base64"), checking=untested)
    found = run(wanted)
    assert found.prompts == 12
    assert found.measurement("breaks any principle", "gullible").count == 12
    assert found.measurement("breaks any principle, harmful", "gullible").value == 0
    assert [one.attack for one in found.attacks] == ["base64", "prefill"]
    for one in found.attacks:
        measured = one.models[0].measurement("breaks any principle, harmful")
        assert measured is not None
        assert (measured.value, measured.count, one.prompts) == (1, 6, 12)
    assert {text.partition(",")[0] for text in judged} == {f"Question {n}" for n in range(12)}
    rows = lines(tmp_path / "out" / "responses" / "gullible.jsonl")
    begun = [row["response"] for row in rows if row["id"].endswith("attack:prefill")]
    assert len(begun) == 12
    assert all(text.startswith("Of course. Here is how") and text.endswith("bad answer") for text in begun)
    assert models.asked["gullible"] == 36
    run(wanted)
    assert models.asked["gullible"] == 36, "nothing is asked again"
    more = run(replace(wanted, attack=("base64", "prefill", "split+persona")))
    assert models.asked["gullible"] == 48
    assert more.as_json()["attacks"][2]["attack"] == "split+persona"


def test_everything_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, one=good, two=bad)
    found = run(settings(tmp_path, "one", "two"))
    out = tmp_path / "out"
    document = orjson.loads((out / "evaluation.json").read_bytes())
    assert document["result"] == orjson.loads(orjson.dumps(found.as_json()))
    assert document["status"] == "done"
    assert document["models"] == {"one": "scripted one", "two": "scripted two"}
    assert {"constitution", "templates", "prompts", "judge", "seed", "temperature"} <= set(document["identity"])
    rows = lines(out / "responses" / "two.jsonl")
    assert {row["id"] for row in rows} == {f"q{n}" for n in range(12)}
    assert all(row["response"].startswith("bad") and len(row["gates"]) == 4 for row in rows)
    assert len(lines(out / "comparisons" / "two~one.jsonl")) == 12
    assert (out / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (out / "evaluation.svg").read_bytes()[:2000]


@pytest.mark.slow
def test_finished_work_is_not_asked_again_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models(monkeypatch, one=good, two=bad)
    run(settings(tmp_path, "one", limit=5))
    assert models.asked == {"one": 5, "two": 0}
    run(settings(tmp_path, "one"))
    assert models.asked["one"] == 12, "more prompts go on from fewer"
    run(settings(tmp_path, "one", "two"))
    assert models.asked == {"one": 12, "two": 12}, "more models go on from fewer"
    before = (tmp_path / "out" / "evaluation.json").read_bytes()
    run(settings(tmp_path, "one", "two"))
    assert (tmp_path / "out" / "evaluation.json").read_bytes() == before
    run(settings(tmp_path, "one", fresh=True))
    assert models.asked["one"] == 24
    assert not (tmp_path / "out" / "responses" / "two.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "seed: the run has 0, now 1"),
        ({"sampling": SamplingSettings(0.5)}, "temperature"),
        ({}, "model a"),
    ],
)
def test_a_changed_setting_does_not_mix(
    change: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Models(monkeypatch, judge=good, one=good, two=bad)
    run(settings(tmp_path, "a=one", judge="judge"))
    with pytest.raises(RunError, match=says):
        run(settings(tmp_path, "a=two" if not change else "a=one", judge="judge", **change))


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, one=good)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        run(settings(tmp_path, "one", fresh=True))
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_a_failed_row_is_counted_with_its_cause_and_owed_again_if_that_can_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True

    def moody(request: Request) -> str:
        text = request.messages[-1]["content"]
        if text.startswith("Question 3"):
            return "  "  # for good
        if text.startswith("Question 5") and broken:
            raise RequestError("the server hiccuped", retryable=True)
        return good(request)

    models = Models(monkeypatch, one=moody)
    found = run(settings(tmp_path, "one"))
    assert found.model("one").failures == {
        "response: the model returned an empty response": 1,
        "response: the server hiccuped": 1,
    }
    assert found.measurement("answered", "one").value == pytest.approx(10 / 12)
    assert found.measurement("words", "one").count == 10
    broken = False
    found = run(settings(tmp_path, "one"))
    assert list(found.model("one").failures.values()) == [1]
    assert models.asked["one"] == 12 + (ATTEMPTS - 1) + 1


@pytest.mark.slow
def test_a_gate_that_failed_is_counted_beside_the_shares_and_taken_up_when_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Models(monkeypatch, one=good)
    asked: list[str] = []

    def refusing(messages: tuple[Message, ...]) -> Sequence[float]:
        asked.append(messages[0]["content"])
        if messages[0]["content"].startswith("Question 4") and "evades" not in messages[-1]["content"]:
            raise RequestError(f"400: no (request id {len(asked)})", retryable=False, kind="http 400")
        return (0.1, 0.8)

    models.gate = refusing
    found = run(settings(tmp_path, "one"))
    assert found.model("one").failures == {}
    assert sum(found.model("one").failed_gates.values()) > 0
    assert found.measurement("answered", "one").count == 12
    assert found.measurement("breaks any principle", "one").count == 11
    assert found.measurement("gates without an answer", "one").value > 0
    models.gate = None
    answers = models.asked["one"]
    assert sum(run(settings(tmp_path, "one")).model("one").failed_gates.values()) > 0
    found = run(settings(tmp_path, "one", retry_failed=True))
    assert found.model("one").failed_gates == {}
    assert found.measurement("breaks any principle", "one").count == 12
    assert models.asked["one"] == answers  # the response stays, only its gates are asked again


@pytest.mark.slow
def test_prompts_that_failed_for_good_are_asked_again_when_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = False

    def mute(request: Request) -> str:
        return good(request) if mended or not request.messages[-1]["content"].startswith("Question 3") else " "

    models = Models(monkeypatch, one=mute)
    assert list(run(settings(tmp_path, "one")).model("one").failures.values()) == [1]
    mended = True
    models.asked["one"] = 0
    assert list(run(settings(tmp_path, "one")).model("one").failures.values()) == [1]
    assert models.asked["one"] == 0
    assert run(settings(tmp_path, "one", retry_failed=True)).model("one").failures == {}
    assert models.asked["one"] == 1


def test_a_gone_engine_ends_the_evaluation_and_it_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = False

    def dying(request: Request) -> str:
        if not alive and models.asked["one"] > 6:
            raise EngineGoneError("the server is gone")
        return good(request)

    models = Models(monkeypatch, one=dying)
    with pytest.raises(EngineGoneError):
        run(settings(tmp_path, "one"))
    done = len(lines(tmp_path / "out" / "responses" / "one.jsonl"))
    assert 0 < done < 12
    alive = True
    models.asked["one"] = 0
    assert run(settings(tmp_path, "one")).measurement("answered", "one").value == 1
    assert models.asked["one"] == 12 - done


def test_a_gate_without_an_answer_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models(monkeypatch, one=bad)
    models.gate = lambda _: (0.3, 0.1)
    found = run(settings(tmp_path, "one"))
    assert found.measurement("gates without an answer", "one").value == 1
    with pytest.raises(KeyError):
        found.measurement("breaks any principle", "one")


def test_a_model_that_says_nothing_has_no_figures_but_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, one=good, mute=lambda _: "")
    found = run(settings(tmp_path, "one", "mute"))
    assert [one.name for one in found.model("mute").measurements] == ["answered"]
    answered = found.measurement("answered", "mute")
    assert (answered.value, answered.low) == (0, 0)
    assert (found.pairs[0].wins, found.pairs[0].win_rate) == (0, None)


def test_rows_that_are_no_prompts_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, one=good)
    path = write_prompts(tmp_path / "prompts.jsonl", 3)
    path.write_bytes(path.read_bytes() + b'{"id": "x", "prompt": ""}\n' + path.read_bytes())
    found = run(settings(tmp_path, "one"))
    assert (found.prompts, found.duplicates, found.unusable) == (3, 3, {"input: the prompt is empty": 1})
    path.write_bytes(b'{"prompt": ""}\n')
    with pytest.raises(UsageError, match="the prompt is empty"):
        run(settings(tmp_path, "one", fresh=True))


def test_identical_answers_are_ties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, one=good, two=good)
    (pair,) = run(settings(tmp_path, "one", "two")).pairs
    assert (pair.ties, pair.wins, pair.losses, pair.win_rate) == (12, 0, 0, None)


def test_a_drained_evaluation_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()

    def stopping(request: Request) -> str:
        watch.stop.drain()
        return good(request)

    models = Models(monkeypatch, one=stopping)
    wanted = settings(tmp_path, "one")
    assert asyncio.run(evaluate(plan_evaluate(wanted), watch)) == "interrupted"
    assert 0 < models.asked["one"] < 12
    assert run(wanted).measurement("answered", "one").value == 1
    assert models.asked["one"] == 12


def test_a_torn_line_is_owed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models(monkeypatch, one=good)
    first = run(settings(tmp_path, "one"))
    path = tmp_path / "out" / "responses" / "one.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    again = run(settings(tmp_path, "one"))
    assert models.asked["one"] == 13
    assert again.models == first.models


@pytest.mark.slow
def test_killed_again_and_again_it_finds_what_it_would_have_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_prompts(tmp_path / "prompts.jsonl", 60)
    command = [
        "evaluate", "a=scripted?delay_ms=4", "b=scripted?delay_ms=5", "--constitution",
        "harmless", "--prompts", str(tmp_path / "prompts.jsonl"), "--concurrency", "2", "--json",
    ]  # fmt: skip

    def found(out: Path) -> Any:
        with pytest.raises(SystemExit) as left:
            main([*command, "--out", str(out)])
        assert left.value.code == 0
        return orjson.loads(capsys.readouterr().out)

    undisturbed = found(tmp_path / "whole")
    out = tmp_path / "killed"
    for part, count in (("responses/a.jsonl", 10), ("responses/b.jsonl", 20), ("comparisons/b~a.jsonl", 10)):
        process = subprocess.Popen(
            [sys.executable, "-m", "cai", *command, "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + PATIENCE
        while not (out / part).exists() or (out / part).read_bytes().count(b"\n") < count:
            assert time.monotonic() < deadline
            assert process.poll() is None, "it ended before it could be disturbed"
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert process.stderr is not None
        process.stderr.close()
    resumed = found(out)
    for result in (undisturbed, resumed):
        del result["out"], result["finished"]
    assert resumed == undisturbed
    for name in ("a", "b"):
        ids = [row["id"] for row in lines(out / "responses" / f"{name}.jsonl")]
        assert len(ids) == len(set(ids)) == 60, "no prompt was answered twice"


def test_labels() -> None:
    models, baseline = label_models(named("transformers:/a/sft", "x=openai:m@http://h:1/v1", "tiny"), *named("tiny"))
    assert [(one.label, str(one.spec)) for one in models] == [
        ("tiny", "tiny"),
        ("sft", "transformers:/a/sft"),
        ("x", "openai:m@http://h:1/v1"),
    ]
    assert baseline == "tiny"
    assert label_models(named("openai:org/m@http://u:p@h/v1"), None)[0][0].label == "m"
    assert label_models(named("scripted?delay_ms=3"), None)[0][0].label == "scripted"
    with pytest.raises(UsageError, match="two models are called sft; name one of them"):
        label_models(named("transformers:/a/sft", "transformers:/b/sft"), None)
    with pytest.raises(UsageError, match="may hold letters"):
        label_models(named("a b=tiny"), None)


def test_prompts_that_are_not_there_are_told() -> None:
    with pytest.raises(UsageError, match="medical"):
        plan_evaluate(EvaluateSettings(named("tiny"), "medical", prompts=(DataSource.parse("medcal"),)))
    assert plan_evaluate(EvaluateSettings(named("tiny"), "medical")).prompts.size == 460


def test_prompts_that_fail_under_an_attack_are_counted_with_their_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plain_only(request: Request) -> str:
        if request.prefill:
            raise RequestError("HOST does not continue a turn that is begun", retryable=False)
        return good(request)

    Models(monkeypatch, one=plain_only, judge=good)
    found = run(settings(tmp_path, "one", judge="judge", attack=("prefill",)))
    (attack,) = found.attacks
    assert found.models[0].failures == {}
    assert attack.models[0].failures == {"response: HOST does not continue a turn that is begun": 12}
    told = StringIO()
    print_evaluation(Console(file=told, width=150), found)
    assert "12 of one's prompts under prefill failed" in " ".join(told.getvalue().split())
