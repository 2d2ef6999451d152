"""Tasks of lm-eval: what is refused, what of its logs becomes a section, and what is run again.

`lm_eval_tasks/recorded.json` holds what lm-eval 0.4.13 wrote of the tasks beside it, on the embedded model and on one
that learned from its revisions; `test_harness_tools.py` runs them anew.
"""

import asyncio
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.core.errors import RunError, UsageError
from cai.core.records import Failure
from cai.evaluate import chart
from cai.evaluate.directory import EvaluationDirectory
from cai.evaluate.harness import examination, plan, running
from cai.evaluate.harness.examination import HarnessExamination, examine_harness
from cai.evaluate.harness.figures import Figure, figures_of, measure_figure
from cai.evaluate.harness.plan import HarnessPlan, HarnessTask, model_for_child, plan_harness
from cai.evaluate.harness.records import HarnessEntry, HarnessSample, read_harness_entry, read_logs
from cai.evaluate.harness.running import ChildError, ask_child, run_child
from cai.evaluate.measuring import ModelEntries
from cai.evaluate.settings import UsefulnessSettings
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from tests.test_evaluate_job import Models, bad, good, run, settings

TASKS = Path(__file__).parent / "lm_eval_tasks"
RECORDED: Mapping[str, Mapping[str, str]] = orjson.loads((TASKS / "recorded.json").read_bytes())
NAMES = tuple(dict.fromkeys(name.partition("/")[2] for name in RECORDED))


def unpack(name: str, folder: Path) -> Path:
    """Write what was recorded of a model and a task into a folder, as lm-eval does."""
    for file, text in RECORDED[name].items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, HarnessEntry]]:
    """Return the recorded entries by model and task."""
    found: dict[str, dict[str, HarnessEntry]] = {}
    for name in RECORDED:
        label, task = name.split("/")
        folder = unpack(name, tmp_path_factory.mktemp("logs"))
        found.setdefault(label, {})[task] = read_logs(folder, task, NAMES.index(task), chat_template=True)
    return found


def section_of(entries: Mapping[str, Mapping[str, HarnessEntry]], failures: Mapping[str, Failure] | None = None) -> Any:
    tasks = tuple(HarnessTask(name, name, name) for name in NAMES)
    (made,) = examine_harness(_Plan(HarnessPlan(tasks, "0.4.13", None)))  # type: ignore[arg-type]
    models = [ModelEntries(label, label, found, failures or {}) for label, found in entries.items()]
    assert isinstance(made, HarnessExamination)
    return made.section(models, "tiny", 0)


class _Plan:
    def __init__(self, harness: HarnessPlan) -> None:
        self.harness = harness


def test_every_figure_comes_of_the_samples_again(recorded: dict[str, dict[str, HarnessEntry]]) -> None:
    told = {
        figure.title: measure_figure(figure, {label: found[task] for label, found in recorded.items()})
        for task in NAMES
        for figure in figures_of(recorded["tiny"][task])
    }
    ways = {title: one.measure.about.rpartition(": ")[2] for title, one in told.items()}
    assert ways == {
        "choice: acc": "mean over samples",
        "choice: f1": "with lm-eval's standard error",
        "choice: acc_norm": "mean over samples",
        "written: words, whole": "mean over samples",
        "written: sentences, whole": "mean over all that a sample has",
        "written: words, first-word": "mean over samples",
        "written: sentences, first-word": "mean over all that a sample has",
        "text: word_perplexity": "perplexity",
        "text: bits_per_byte": "bits",
        "by_size: acc": "mean over samples",
        "by_tasks: acc": "mean over tasks",
    }
    assert {one.measure.better for title, one in told.items() if "words" in title} == {"low"}
    assert told["choice: acc"].measure.unit == "share"
    assert told["written: words, whole"].measure.unit == "number"


def test_the_section_has_lm_evals_figures_with_intervals_and_paired_differences(
    recorded: dict[str, dict[str, HarnessEntry]],
) -> None:
    section = section_of(recorded)
    for model in section.models:
        for task in NAMES:
            for figure in figures_of(recorded[model.label][task]):
                found = model.measurement(figure.title)
                assert found.value == pytest.approx(figure.of(recorded[model.label][task])), figure.title
    tiny, sft = (next(one for one in section.models if one.label == label) for label in ("tiny", "sft"))
    for measure in section.measures:
        paired = measure.name != "choice: f1"
        assert (sft.difference(measure.name) is not None) == paired, "no difference without samples"
        if paired:
            expected = sft.measurement(measure.name).value - tiny.measurement(measure.name).value
            assert sft.difference(measure.name).value == pytest.approx(expected)
    accuracy = tiny.measurement("choice: acc")
    assert accuracy.count == 5
    assert 0 <= accuracy.low < accuracy.value < accuracy.high <= 1
    assert any("choice: f1" in remark for remark in section.remarks)
    (table,) = section.tables
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["choice"] == ("2.0", "0", "5", "sft, tiny")
    assert rows["written"][1] == "1"
    assert rows["by_size"][2] == "7"
    assert section.details["lm-eval"] == "0.4.13"


def test_other_documents_are_not_compared_and_other_forms_are_told(
    recorded: dict[str, dict[str, HarnessEntry]],
) -> None:
    entry = recorded["sft"]["choice"]
    samples = [HarnessSample(s.task, s.document, f"x{s.hash}", s.filter, s.values) for s in entry.samples]
    other = HarnessEntry(entry.id, 0, False, entry.results, tuple(samples))
    section = section_of({"tiny": recorded["tiny"], "sft": {"choice": other}})
    sft = section.models[1]
    assert sft.measurement("choice: acc") is not None
    assert sft.difference("choice: acc") is None
    assert any("sft has no chat template" in remark for remark in section.remarks)
    assert sft.measurement("text: bits_per_byte") is None


def test_a_task_that_failed_is_told_with_its_cause(recorded: dict[str, dict[str, HarnessEntry]]) -> None:
    left = {name: entry for name, entry in recorded["tiny"].items() if name != "text"}
    failure = Failure("text", 0, "lm-eval", "no such data (OSError)", "", True)
    section = section_of({"tiny": left}, {"text": failure})
    assert section.models[0].failures == {"lm-eval: no such data (OSError)": 1}
    assert "text" not in {row[0] for row in section.tables[0].rows}


def test_an_entry_is_the_same_after_json(recorded: dict[str, dict[str, HarnessEntry]]) -> None:
    for entry in recorded["tiny"].values():
        assert read_harness_entry(orjson.loads(orjson.dumps(entry))) == entry


def made_entry(values: list[list[Any]], figure: float) -> HarnessEntry:
    """Return an entry of a group of tasks, a list of values each."""
    samples = tuple(
        HarnessSample(f"t{task}", place, "h", "none", {"m": value})
        for task, own in enumerate(values)
        for place, value in enumerate(own)
    )
    return HarnessEntry("g", 0, True, {"results": {"g": {"m,none": figure, "m_stderr,none": 0.5}}}, samples)


NUMBERS = st.floats(-50, 50, allow_nan=False).map(lambda value: round(value, 3))


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=5), min_size=1, max_size=4), NUMBERS)
def test_a_figure_is_taken_from_samples_only_where_they_give_it(values: list[list[float]], wrong: float) -> None:
    figure = Figure("g", frozenset(f"t{n}" for n in range(len(values))), "m", "none", "high")
    flat = [value for own in values for value in own]
    over_samples, over_tasks = sum(flat) / len(flat), sum(sum(own) / len(own) for own in values) / len(values)
    for right in (over_samples, over_tasks):
        found = measure_figure(figure, {"a": made_entry(values, right)})
        assert len(found.terms["a"]) == len(flat)
        assert not found.own
    if all(abs(wrong - right) > 1e-3 for right in (over_samples, over_tasks)):
        found = measure_figure(figure, {"a": made_entry(values, wrong)})
        assert not found.terms
        own = found.own["a"]
        assert (own.value, own.count) == (wrong, len(flat))
        assert own.low is not None
        assert own.high is not None
        assert math.isclose(own.high - own.low, 2 * 1.959964 * 0.5, rel_tol=1e-5)


KINDS = {
    "ifeval": {"kinds": ["generate_until"], "unsafe": False},
    "mmlu": {"kinds": ["multiple_choice"], "unsafe": False},
    "humaneval": {"kinds": ["generate_until"], "unsafe": True},
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_installed", lambda: "0.4.13")
    monkeypatch.setattr(
        plan, "ask_child", lambda asked: {name: KINDS[name] for name in asked["tasks"] if name in KINDS}
    )


SERVED = "openai:llama@http://user:secret-word@127.0.0.1:9/v1"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("names", "model", "says"),
    [
        (("ifeval", "mlu"), "tiny", "--harness mlu: lm-eval 0.4.13 has no task of that name"),
        (("humaneval",), "tiny", "runs Python code that the model wrote"),
        (("ifeval,mmlu",), SERVED, "--harness mmlu compares how likely given answers are"),
        (("ifeval",), "scripted", "lm-eval cannot open scripted"),
    ],
)
def test_what_cannot_be_is_told_before_any_model_is_open(names: tuple[str, ...], model: str, says: str) -> None:
    with pytest.raises(UsageError) as told:
        plan_harness(names, [ModelSpec.parse(model)], None)
    assert says in str(told.value)
    assert "secret-word" not in str(told.value)


@pytest.mark.usefixtures("installed")
def test_an_item_says_what_is_asked() -> None:
    asked = plan_harness((" ifeval , mmlu", "ifeval"), [ModelSpec.parse("tiny")], 24)
    assert asked is not None
    assert [task.id for task in asked.tasks] == ["ifeval, lm-eval 0.4.13, first 24", "mmlu, lm-eval 0.4.13, first 24"]
    assert plan_harness((), [], None) is None
    served = plan_harness(("ifeval",), [ModelSpec.parse(SERVED)], None)
    assert served is not None
    assert served.remarks == ()
    two = plan_harness(("ifeval",), [ModelSpec.parse(f"{SERVED},http://127.0.0.1:8/v1")], None)
    assert two is not None
    assert "of the 2 servers" in two.remarks[0]
    assert "secret-word" not in two.remarks[0]


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'cai\[harness\]'"):
        plan_harness(("ifeval",), [ModelSpec.parse("tiny")], None)


def test_how_a_model_is_opened_there() -> None:
    engine = EngineSettings(
        engine_option=("gpu-memory-utilization=0.8", "--enforce-eager=true"),
        template_option=("enable_thinking=false",),
        concurrency=3,
    )
    there = model_for_child(ModelSpec.parse("vllm:some/model"), engine)
    assert there["options"] == {"gpu_memory_utilization": 0.8, "enforce_eager": True}
    assert there["variables"] == {"enable_thinking": False}
    assert model_for_child(ModelSpec.parse("tiny"), EngineSettings(), "off")["variables"] == {"enable_thinking": False}
    served = model_for_child(ModelSpec.parse(SERVED), engine)
    assert (served["name"], served["concurrency"]) == ("llama", 3)
    assert "secret-word" in served["address"], "for standard input alone"
    assert "secret-word" not in served["told"]
    assert model_for_child(ModelSpec.parse("tiny"), engine)["weights"].endswith("tiny/checkpoint")


def test_finished_tasks_are_not_run_again_and_failed_ones_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str]] = []
    broken = {"text"}

    async def child(asked: Mapping[str, Any]) -> dict[str, Any]:
        label = asked["model"]["told"].rpartition(":")[2]
        ran.append((label, asked["task"]))
        assert not models.open, "a model that lm-eval opens needs the memory of all others"
        if asked["task"] in broken:
            raise ChildError("no such data (OSError)", "printed")
        unpack(f"{ {'better': 'sft', 'worse': 'tiny'}[label] }/{asked['task']}", Path(asked["out"]))
        return {"chat_template": True}

    monkeypatch.setattr(plan, "_installed", lambda: "0.4.13")
    monkeypatch.setattr(plan, "ask_child", lambda asked: dict.fromkeys(asked["tasks"], KINDS["ifeval"]))
    monkeypatch.setattr(examination, "run_child", child)
    monkeypatch.setattr(chart, "draw_evaluation", lambda _evaluation: {})  # seconds
    models = Models(monkeypatch, judge=good, better=good, worse=bad)
    wanted = settings(
        tmp_path,
        "better",
        baseline="base=worse",
        judge="judge",
        usefulness=UsefulnessSettings(harness=("choice,text",)),
    )
    first = run(wanted).section("harness")
    assert ran == [("worse", "choice"), ("worse", "text"), ("better", "choice"), ("better", "text")]
    assert [model.failures for model in first.models] == [{"lm-eval: no such data (OSError)": 1}] * 2
    assert first.models[1].measurement("choice: acc") is not None
    logs = tmp_path / "out/examinations/harness/better/choice"
    assert list(logs.rglob("samples_choice_*.jsonl"))
    broken.clear()
    ran.clear()
    again = run(wanted).section("harness")
    assert ran == [("worse", "text"), ("better", "text")], "what is done stays, what failed is owed"
    difference = again.models[1].difference("text: bits_per_byte")
    assert difference is not None
    ran.clear()
    assert run(wanted).section("harness").models == again.models
    assert not ran


def test_logs_are_on_record_and_leave_with_what_cai_wrote(tmp_path: Path) -> None:
    out, stranger = tmp_path / "out", tmp_path / "out/examinations/harness/a/mine.txt"
    logs = unpack("tiny/choice", tmp_path / "written")
    for fresh in (False, False, True):
        directory = EvaluationDirectory.open(out, {"judge": "j"}, {}, fresh=fresh)
        directory.require_examination("harness", {})
        assert (out / "examinations/harness/a/choice").exists() == (stranger.parent.exists() and not fresh)
        directory.keep("harness", "a", "choice", logs)
        directory.keep("harness", "a", "choice", logs)
        assert len(list((out / "examinations/harness/a/choice").rglob("*.json*"))) == 2
        directory.close()
    stranger.write_text("mine")
    with pytest.raises(RunError, match=r"mine\.txt"):
        EvaluationDirectory.open(out, {"judge": "j"}, {}, fresh=True)


def test_the_child_is_read_to_its_end_and_its_death_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def says(code: str) -> None:
        monkeypatch.setattr(running, "_COMMAND", (sys.executable, "-c", code))

    says(
        "import json, sys; asked = json.loads(sys.stdin.readline()); print('x'); print(json.dumps({'got': asked['a']}))"
    )
    assert asyncio.run(run_child({"a": 1})) == {"got": 1}
    assert ask_child({"a": 2}) == {"got": 2}
    says('print(\'{"error": "no data", "kind": "OSError"}\')')
    with pytest.raises(ChildError, match=r"no data \(OSError\)"):
        asyncio.run(run_child({}))
    says("import sys; sys.exit('out of memory')")
    with pytest.raises(ChildError, match="lm-eval died: out of memory"):
        asyncio.run(run_child({}))


def test_who_stops_waiting_ends_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(running, "_COMMAND", (sys.executable, "-c", code))

    async def work() -> int:
        waiting = asyncio.ensure_future(run_child({}))
        while not mark.exists() or not mark.read_text():  # noqa: ASYNC110  (another process writes it)
            await asyncio.sleep(0.005)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return int(mark.read_text())

    number = asyncio.run(work())
    assert not Path(f"/proc/{number}").exists()
