"""A run of training: killed, interrupted, repeated, disputed, and what lies in its directory in the end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import transformers

from cai.core.errors import CaiError, RunError, UsageError
from cai.train import run
from cai.train.callbacks import waited
from cai.train.folder import enter
from cai.train.metrics import tokens_seen
from cai.train.trainers.lengths import BucketedSFTTrainer
from tests.training import approximately, command, curve, make_settings, train

IDENTITY = {"method": "sft"}
PATIENCE = 120.0


def silent(_: str) -> None:
    """Say nothing."""


@pytest.mark.parametrize("method", ["sft", pytest.param("dpo", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_killed_and_started_again_the_loss_curve_is_that_of_an_undisturbed_run(tmp_path: Path, method: str) -> None:
    # Two and a half epochs, so that the place within a later epoch's order is restored, too.
    numbers: dict[str, Any] = {"max_steps": 27, "evaluations": 9}
    train(make_settings(tmp_path, method, out="undisturbed", **numbers), silent)
    settings = make_settings(tmp_path, method, out="killed", **numbers)
    process = subprocess.Popen(
        [sys.executable, "-m", "cai", *command(settings)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + PATIENCE
    while not (settings.out / "checkpoints" / "checkpoint-15" / "complete").exists():
        assert time.monotonic() < deadline
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.002)
            raise AssertionError(f"the run ended before it could be killed: {process.communicate()}")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (settings.out / "train.json").exists()
    summary = train(settings, silent)
    assert summary.resumed is not None
    assert summary.resumed >= 15
    for name in ("loss", "eval_loss"):
        assert curve(settings.out, name) == approximately(curve(tmp_path / "undisturbed", name)), name
    assert [step for step, _ in curve(settings.out)] == list(range(1, 28))


@pytest.mark.slow
def test_an_interrupt_leaves_a_checkpoint_and_the_same_command_goes_on(tmp_path: Path) -> None:
    undisturbed = train(make_settings(tmp_path, out="undisturbed", max_steps=24), silent)
    settings = make_settings(tmp_path, max_steps=24)

    def interrupt() -> None:
        nothing = threading.Event()
        metrics = settings.out / "metrics.jsonl"
        while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3):
            nothing.wait(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    first = train(settings, silent)
    thread.join()
    assert first.status == "interrupted"
    assert 3 <= first.steps < 24
    assert not (settings.out / "train.json").exists()
    assert not (settings.out / "config.json").exists()
    second = train(settings, silent)
    assert (second.status, second.resumed, second.steps) == ("done", first.steps, 24)
    assert curve(settings.out) == approximately(curve(tmp_path / "undisturbed"))
    assert second.tokens == undisturbed.tokens


@pytest.mark.slow
def test_what_a_finished_directory_holds(tmp_path: Path) -> None:
    summary = train(make_settings(tmp_path, max_steps=30, evaluations=5, report_to=("tensorboard",)), silent)
    out = tmp_path / "out"
    recorded = orjson.loads((out / "train.json").read_bytes())
    assert recorded["status"] == "done"
    assert recorded["identity"]["method"] == "sft"
    assert recorded["parts"][0]["train"] + recorded["parts"][0]["test"] == 96
    assert recorded["files"] == sorted(recorded["files"], key=lambda name: name == "config.json")
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"} <= {
        path.name for path in out.iterdir()
    }
    assert not (out / "checkpoints").exists()
    assert list((out / "runs").iterdir())
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    card = (out / "README.md").read_text()
    assert recorded["parts"][0]["fingerprint"] in card
    assert summary.hardware in card
    losses = [value for _, value in curve(out)]
    assert losses[-1] < losses[0] - 1
    # The weights are those of the best evaluation, not of the last step.
    best = min(curve(out, "eval_loss"), key=lambda point: point[1])
    assert (summary.best_step, summary.best_eval_loss) == best
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert model.config.vocab_size == 2048


@pytest.mark.slow
def test_a_finished_run_is_left_alone_and_another_one_is_not_mixed_in(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, max_steps=2)
    first = train(settings, silent)
    before = {path.name: path.stat().st_mtime_ns for path in settings.out.iterdir() if path.name != ".cai"}
    again = train(settings, silent)
    assert again.already
    assert (again.loss, again.steps) == (first.loss, first.steps)
    after = {path.name: path.stat().st_mtime_ns for path in settings.out.iterdir() if path.name != ".cai"}
    assert before == after
    with pytest.raises(RunError, match=r"learning-rate: the run has 0\.003, now 0\.001[^$]*--fresh"):
        train(make_settings(tmp_path, max_steps=2, learning_rate=1e-3), silent)
    with pytest.raises(RunError, match="data: the run has"):
        train(make_settings(tmp_path, max_steps=2, rows=40), silent)
    assert not train(make_settings(tmp_path, max_steps=2, rows=40, fresh=True), silent).already


def test_a_directory_is_one_run_s_and_one_process_s(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = enter(out, IDENTITY, fresh=False)
    with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        enter(out, IDENTITY, fresh=False)
    folder.release()
    enter(out, IDENTITY, fresh=False).release()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    for fresh in (False, True):
        with pytest.raises(RunError, match=r"not empty \(it holds thesis.txt\)"):
            enter(foreign, IDENTITY, fresh=fresh)
    assert (foreign / "thesis.txt").read_text() == "mine"


def test_a_half_published_model_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = enter(tmp_path / "out", IDENTITY, fresh=False)
    folder.staging.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder.staging / name).touch()
    seen: list[str] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    assert folder.publish() == seen
    assert seen[-1] == "config.json"
    assert sorted(seen) == ["config.json", "model.safetensors", "tokenizer.json"]
    folder.release()


def test_patience_counts_evaluations_since_the_best() -> None:
    def history(*losses: float) -> list[dict[str, float]]:
        return [{"step": step, "eval_loss": loss} for step, loss in enumerate(losses)]

    assert [waited(history(*losses)) for losses in ((), (3,), (3, 2), (3, 2, 2.5), (3, 2, 2.5, 2.4))] == [0, 0, 0, 1, 2]


def test_patience_stops_a_run_that_gets_no_better(tmp_path: Path) -> None:
    # So high a rate that the loss only climbs.
    summary = train(
        make_settings(tmp_path, max_steps=40, evaluations=20, patience=2, learning_rate=3.0, rows=40), silent
    )
    assert summary.status == "done"
    assert summary.steps < 40
    assert summary.best_step is not None
    assert summary.steps == summary.best_step + 4  # two evaluations, two steps apart
    with pytest.raises(UsageError, match="--test-share"):
        train(make_settings(tmp_path, out="other", patience=2, test_share=0.0), silent)


@pytest.mark.slow
def test_a_run_that_patience_stopped_and_that_was_killed_then_takes_no_further_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path, max_steps=40, evaluations=20, patience=2, learning_rate=3.0, rows=40)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "stage_model", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings, silent)
    before = curve(settings.out)
    summary = train(settings, silent)
    assert (summary.status, summary.resumed) == ("done", before[-1][0])
    assert curve(settings.out) == before
    assert summary.best_step == summary.steps - 4


def test_a_disk_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(CaiError, match="is a file"):
        enter(file, IDENTITY, fresh=False)


def test_tokens_are_counted_over_resumed_parts() -> None:
    counts = [100, 200, 300, 50, 150]
    history = [{"step": step, "num_tokens": count} for step, count in enumerate(counts, start=1)]
    assert tokens_seen(history) == 450
    assert tokens_seen(history, after=3) == 150


def test_tokens_behind_a_checkpoint_are_not_those_before_it_where_the_count_goes_on() -> None:
    history = [{"step": step, "num_tokens": step * 100} for step in range(1, 6)]
    assert tokens_seen(history) == 500
    assert tokens_seen(history, after=3) == 200
    assert tokens_seen([{"step": 1, "loss": 0.5}, *history[1:]], after=1) == 500


@pytest.mark.parametrize("steps", [1, 20, 21])
def test_the_first_of_few_steps_teaches_something(tmp_path: Path, steps: int) -> None:
    settings = make_settings(tmp_path, max_steps=steps, test_share=0.0, rows=24, batch_size=2)
    train(settings, silent)
    rates = [rate for _, rate in curve(settings.out, "learning_rate")]
    assert len(rates) == steps
    assert rates[0] == (0.0 if steps > 20 else settings.fit.learning_rate)
    assert rates[-1] > 0


@pytest.mark.parametrize("words", ["[enforce fail] DefaultCPUAllocator: can't allocate memory", "CUDA out of memory."])
@pytest.mark.parametrize("place", ["load_model", "_prepare_dataset", "training_step", "measured"])
def test_memory_that_is_not_enough_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, words: str
) -> None:
    def run_out(*_: Any, **__: Any) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(run if place == "load_model" else BucketedSFTTrainer, place, run_out)
    settings = make_settings(tmp_path, max_steps=1, test_share=0.0, rows=24)
    with pytest.raises(CaiError, match="the device's memory is not enough: lower --max-length"):
        train(settings, silent)
