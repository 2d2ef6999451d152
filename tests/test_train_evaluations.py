"""Evaluations of the test split: killed in one, no step is taken again; how far one is, is told."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from cai.train import progress
from cai.train.folder import TrainingFolder
from cai.train.progress import ProgressTeller
from tests.training import approximately, curve, make_settings, train


class Killed(BaseException):
    """What no handler catches, as a process that ends."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what makes the evaluation after one step die, once."""

    def arrange(step: int) -> None:
        whole = Trainer.evaluate

        def evaluate(self: Trainer, *positional: Any, **keywords: Any) -> Any:
            if self.state.global_step == step:
                monkeypatch.setattr(Trainer, "evaluate", whole)
                raise Killed
            return whole(self, *positional, **keywords)

        monkeypatch.setattr(Trainer, "evaluate", evaluate)

    return arrange


# Of twelve steps eleven are an epoch's, so that the last is in the middle of one.
@pytest.mark.parametrize("step", [4, 12])
@pytest.mark.slow
def test_killed_in_an_evaluation_no_step_is_taken_again(
    tmp_path: Path, kill_at: Callable[[int], None], step: int
) -> None:
    undisturbed = train(make_settings(tmp_path, out="undisturbed", evaluations=3))
    settings = make_settings(tmp_path, out="killed", evaluations=3)
    kill_at(step)
    with pytest.raises(Killed):
        train(settings)
    assert (settings.out / "checkpoints" / f"checkpoint-{step}" / "complete").is_file()
    assert step not in dict(curve(settings.out, "eval_loss"))
    summary = train(settings)
    assert (summary.resumed, summary.steps) == (step, 12)
    assert (summary.best_step, summary.status) == (undisturbed.best_step, "done")
    for name in ("loss", "eval_loss"):
        assert curve(settings.out, name) == approximately(curve(tmp_path / "undisturbed", name)), name


@pytest.mark.slow
def test_an_evaluation_is_not_made_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingFolder, "forget_checkpoints", lambda _self: None)
    settings = make_settings(tmp_path, evaluations=3)
    train(settings)
    before = curve(settings.out, "eval_loss")
    (settings.out / "train.json").unlink()  # killed before the last file was written
    (settings.out / ".cai").rename(tmp_path / "kept")
    (tmp_path / "kept").rename(settings.out / ".cai")
    summary = train(settings)
    assert (summary.resumed, summary.steps) == (12, 12)
    assert curve(settings.out, "eval_loss") == before


def test_a_log_is_told_how_far_an_evaluation_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = 1000.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    told: list[str] = []
    arguments, control = TrainingArguments(output_dir=str(tmp_path), use_cpu=True), TrainerControl()
    state = TrainerState(max_steps=16, global_step=0)
    teller, silent = ProgressTeller("dpo out", told.append), ProgressTeller("dpo out", told.append, quiet=True)
    both = (teller, silent)
    for each in both:
        each.on_train_begin(arguments, state, control)
    now, state.global_step = now + 61, 16
    for each in both:
        each.on_log(arguments, state, control, {"loss": 0.5, "num_tokens": 6100})
        each.on_step_end(arguments, state, control)
    for _ in range(3):
        now += 25
        for each in both:
            each.on_prediction_step(arguments, state, control, eval_dataloader=[None] * 51)
    assert told == [
        "dpo out: step 16/16 · loss 0.500 · 100 tokens/s, 0:01:01 so far, 0:00:00 left",
        "dpo out: measuring the test split after step 16: 3/51 batches, 0:02:16 so far, 0:13:20 left",
    ]
    for each in both:
        each.close()
