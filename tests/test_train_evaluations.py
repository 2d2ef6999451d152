"""Evaluations of the test split: killed in one, no step is taken again; how far one is, is told; some are not made."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from datasets import Dataset
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from cai.rundir.claim import join
from cai.train import progress
from cai.train.callbacks import CheckpointMarks
from cai.train.checkpoints import newest_checkpoint
from cai.train.folder import TrainingFolder
from cai.train.methods import find_method
from cai.train.methods.reward import RewardSettings
from cai.train.plan import plan_train
from cai.train.progress import ProgressTeller
from cai.train.run import train as train_plan
from tests.train_context import BAD, CHECKPOINT, GOOD, QUESTIONS, assistant, make_context, make_model, user
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
def test_killed_in_an_evaluation_the_steps_behind_it_draw_as_they_would_have(
    tmp_path: Path, kill_at: Callable[[int], None]
) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    tokenizer.save_pretrained(tmp_path / "dropout")
    ends = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.GPT2Config(vocab_size=len(tokenizer), **sizes, **ends)
    assert config.resid_pdrop > 0
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "dropout")
    fit: dict[str, Any] = {"model": str(tmp_path / "dropout"), "max_steps": 4, "evaluations": 2, "rows": 40}
    train(make_settings(tmp_path, out="undisturbed", **fit))
    killed = make_settings(tmp_path, out="killed", **fit)
    kill_at(2)
    with pytest.raises(Killed):
        train(killed)
    assert train(killed).resumed == 2
    for name in ("loss", "eval_loss"):
        assert curve(killed.out, name) == approximately(curve(tmp_path / "undisturbed", name)), name


def test_killed_while_a_checkpoint_gets_its_evaluation_the_checkpoint_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit: dict[str, Any] = {"max_steps": 4, "evaluations": 2, "rows": 40}
    undisturbed = train(make_settings(tmp_path, out="undisturbed", **fit))
    settings = make_settings(tmp_path, out="killed", **fit)
    whole, seen = CheckpointMarks.on_save, []

    def on_save(self: CheckpointMarks, args: Any, state: TrainerState, control: Any, **more: Any) -> None:
        seen.append(state.global_step)
        if seen.count(2) == 2:  # before the evaluation, and after it
            raise Killed
        whole(self, args, state, control, **more)

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointMarks, "on_save", on_save)
        with pytest.raises(Killed):
            train(settings)
    assert seen == [2, 2]
    told: list[str] = []
    with closing(join(settings.out, "training")) as owned:
        assert newest_checkpoint(owned, told.append) == settings.out / "checkpoints" / "checkpoint-2"
    assert told == []
    summary = train(settings)
    assert (summary.resumed, summary.steps, summary.best_step) == (2, 4, undisturbed.best_step)
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


@pytest.mark.parametrize(("before", "first"), [(8000, 6100), (3000, 9100)], ids=["from 0", "goes on"])
def test_tokens_before_a_checkpoint_are_not_told_as_seen_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, first: int
) -> None:
    now = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    told: list[str] = []
    arguments, control = TrainingArguments(output_dir=str(tmp_path), use_cpu=True), TrainerControl()
    state = TrainerState(max_steps=16, global_step=8, log_history=[{"step": 8, "num_tokens": before}])
    teller = ProgressTeller("grpo out", told.append)
    teller.on_train_begin(arguments, state, control)
    now, state.global_step = 61.0, 9
    for count in (first, first + 6100):
        teller.on_log(arguments, state, control, {"loss": 0.5, "num_tokens": count})
        teller.on_step_end(arguments, state, control)
        now += 61
    teller.close()
    assert ["100 tokens/s" in line for line in told] == [True, True]


def rows_of(kind: str, question: str) -> list[dict[str, Any]]:
    """Return two examples of a kind that ask one question."""
    prompt, good, bad = user(question), assistant(GOOD), assistant(BAD)
    made: dict[str, list[dict[str, Any]]] = {
        "supervised": [{"prompt": prompt, "completion": said} for said in (good, bad)],
        "pairs": [{"prompt": prompt, "chosen": good, "rejected": bad, "chosen_probability": 1.0}] * 2,
        "labelled": [{"prompt": prompt, "completion": said, "label": said is good} for said in (good, bad)],
        "scored": [{"prompt": prompt, "completion": said, "score": 1.0 + (said is good)} for said in (good, bad)],
        "ranked": [
            {"prompt": prompt, "answers": [{"completion": good, "rank": 1}, {"completion": bad, "rank": 2}]},
        ]
        * 2,
    }
    return made[kind]


@pytest.mark.parametrize(
    ("method", "kind", "objective"),
    [
        ("sft", "supervised", None),
        ("dpo", "pairs", None),
        ("kto", "labelled", None),
        ("orpo", "pairs", None),
        ("reward", "pairs", "bradley-terry"),
        ("reward", "ranked", "plackett-luce"),
        ("reward", "scored", "regression"),
        ("reward", "scored", "ordinal"),
    ],
)
def test_a_test_split_that_preparation_empties_is_said_and_training_goes_on(
    tmp_path: Path, method: str, kind: Any, objective: Any
) -> None:
    context = make_context(
        tmp_path,
        method,
        kind,
        [row for question in QUESTIONS for row in rows_of(kind, question)],
        test=rows_of(kind, "sleep " * 100),
        model=make_model(labels=None if objective is None else 1),
        own=None if objective is None else RewardSettings(objective=objective, debias_length=True),
        max_length=64,
        max_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
    )
    trainer: Any = find_method(method).build(context)
    assert trainer.eval_dataset is None
    assert sum(trainer.left_out.values()) >= 2
    told = [remark for remark in trainer.remarks if "the test split is empty: 2 examples of it left out" in remark]
    assert len(told) == 1
    trainer.train()
    assert trainer.state.global_step == 1
    assert all("eval_loss" not in entry for entry in trainer.state.log_history)
    assert "agreement" not in trainer.measured()


@pytest.mark.slow
def test_a_run_whose_test_split_is_emptied_keeps_its_last_weights(tmp_path: Path) -> None:
    plan = plan_train(make_settings(tmp_path, rows=24, max_steps=2, max_length=64))
    test = Dataset.from_list([{"prompt": user("sleep " * 100), "completion": assistant(GOOD)}])
    told: list[str] = []
    summary = train_plan(replace(plan, examples=replace(plan.examples, test=test)), told.append)
    assert (summary.status, summary.best_step, summary.best_eval_loss) == ("done", None, None)
    assert any("the test split is empty: 1 example of it left out" in line for line in told)
