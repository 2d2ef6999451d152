"""lm-eval itself, on the embedded model and on a server: `make test-tools`, which installs it.

What it writes of `lm_eval_tasks` is what `test_harness.py` reads; `cai_tiny` agrees with the oracle.
"""

import asyncio
import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cai.core.addresses import DataSource
from cai.evaluate import chart
from cai.evaluate.harness.child import ORPHANED
from cai.evaluate.harness.figures import figures_of, measure_figure
from cai.evaluate.harness.plan import model_for_child, plan_harness
from cai.evaluate.harness.records import HarnessEntry, read_logs
from cai.evaluate.harness.running import _COMMAND, ChildError, _environment, run_child
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.results import Evaluation
from cai.evaluate.run import evaluate
from cai.evaluate.settings import EvaluateSettings, UsefulnessSettings
from cai.method.settings import CheckSettings, SamplingSettings
from cai.models.settings import EngineSettings
from cai.models.spec import LabelledModel, ModelSpec
from cai.pipeline.watch import Watch
from tests.misbehaving import misbehaving_beside
from tests.test_harness import RECORDED, TASKS

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is not installed; make test-tools installs it"),
]
PROMPTS = Path(__file__).parent.parent / "prompts/evaluation/tiny.jsonl"


def run_task(name: str, model: str, folder: Path) -> HarnessEntry:
    asked = {"do": "run", "task": name, "limit": None, "out": str(folder)}
    there = model_for_child(ModelSpec.parse(model), EngineSettings(device="cpu"))
    said = asyncio.run(run_child(asked | {"model": there}))
    return read_logs(folder, name, 0, chat_template=said["chat_template"])


def test_the_embedded_worlds_task_says_what_the_evaluation_says_of_the_same_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "draw_evaluation", lambda _: {})
    count = 12
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(line + "\n" for line in PROMPTS.read_text().splitlines()[:count]))
    plan = plan_evaluate(
        EvaluateSettings(
            (LabelledModel.parse("tiny"),),
            "medical",
            prompts=(DataSource.parse(str(prompts)),),
            limit=count,
            sampling=SamplingSettings(temperature=0.0),
            max_tokens=128,
            checking=CheckSettings(judge_check=False),
            engine=EngineSettings(device="cpu"),
            usefulness=UsefulnessSettings(harness=("cai_tiny",)),
            out=tmp_path / "out",
        )
    )
    found = asyncio.run(evaluate(plan, Watch()))
    assert isinstance(found, Evaluation)
    section = found.section("harness")
    assert section.items == count
    answers = [json.loads(line[: line.rindex("}") + 1]) for line in lines(tmp_path / "out/responses/tiny.jsonl")]
    own = {answer["messages"][0]["content"]: answer for answer in answers}
    (log,) = (tmp_path / "out/examinations/harness/tiny/cai_tiny").rglob("samples_cai_tiny_*.jsonl")
    samples = [json.loads(line) for line in lines(log)]
    assert len(samples) == count
    same = [sample for sample in samples if sample["resps"][0][0].strip() == own[sample["doc"]["prompt"]]["response"]]
    assert len(same) >= count - 1, "both draw the likeliest token; a tie in the last digit may fall otherwise"
    for sample in same:
        truth = own[sample["doc"]["prompt"]]["truth"]
        assert (sample["good"], sample["breaks"]) == (truth["good"], bool(truth["broken"]))
    good = section.models[0].measurement("cai_tiny: good")
    assert good is not None
    assert good.value == pytest.approx(sum(sample["good"] for sample in samples) / count)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize("name", ["written", "text", "by_tasks"])
def test_what_it_writes_is_what_is_read(name: str, tmp_path: Path) -> None:
    entry = run_task(str(TASKS / f"{name}.yaml"), "tiny", tmp_path)
    recorded = RECORDED[f"tiny/{name}"]
    results = next(json.loads(text) for file, text in recorded.items() if "results_" in file)
    assert set(entry.results) <= set(results), "the record has all that is kept"
    assert entry.results["versions"] == results["versions"]
    assert entry.chat_template
    for figure in figures_of(entry):
        assert figure.of(entry) == pytest.approx(results["results"][figure.name][f"{figure.metric},{figure.filter}"])
        assert measure_figure(figure, {"tiny": entry}).terms


def test_a_server_answers_in_words_and_its_password_is_written_nowhere(tmp_path: Path) -> None:
    with misbehaving_beside() as server:
        address = server.url.replace("://", "://user:secret-word@")
        entry = run_task(str(TASKS / "written.yaml"), f"openai:m@{address}", tmp_path)
    assert len(entry.samples) == 10
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and "secret-word" in file.read_text()]


def test_names_are_looked_up_and_what_fails_is_one_sentence(tmp_path: Path) -> None:
    models = [ModelSpec.parse("tiny")]
    asked = plan_harness(("cai_tiny,mmlu", str(TASKS / "by_size.yaml")), models, None)
    assert asked is not None
    assert [task.title for task in asked.tasks] == ["cai_tiny", "mmlu", "by_size"]
    broken = tmp_path / "broken.yaml"
    broken.write_text((TASKS / "text.yaml").read_text().replace("questions.jsonl", "nowhere.jsonl"))
    with pytest.raises(ChildError) as told:
        run_task(str(broken), "tiny", tmp_path / "out")
    assert "nowhere.jsonl" in str(told.value)
    assert "\n" not in str(told.value)


def test_it_ends_when_nobody_holds_its_standard_input_any_more(tmp_path: Path) -> None:
    there: dict[str, Any] = model_for_child(ModelSpec.parse("tiny"), EngineSettings(device="cpu"))
    asked = {"do": "run", "task": "cai_tiny", "limit": None, "out": str(tmp_path), "model": there}
    process = subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=_environment())
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    process.stdin.close()  # as when the process that started it is killed
    assert process.wait(timeout=60) == ORPHANED
