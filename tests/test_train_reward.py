"""Reward models: soft Bradley-Terry on pairs, regression on scores, and what is saved loads and scores."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig
from trl import RewardConfig, RewardTrainer

from cai.core.errors import CaiError, InputError, ModelError
from cai.models.reward_model import RewardModel
from cai.train.methods.reward import RewardSettings, build_reward
from cai.train.rewards.scorer import ScoreReward
from cai.train.trainers.reward_models import TOO_LONG
from tests.train_context import (  # noqa: F401
    BAD,
    GOOD,
    QUESTIONS,
    assistant,
    lesson,
    make_context,
    make_model,
    one_thread,
    pair,
    user,
)

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
ENDS = frozenset({1})


def scored(*, flipped: bool = False) -> list[dict[str, Any]]:
    return [
        {
            "prompt": user(question),
            "completion": assistant(answer),
            "score": 3.0 if (answer == GOOD) != flipped else 1.0,
        }
        for question in QUESTIONS * 2
        for answer in (GOOD, BAD)
    ]


def gradients(trainer: Any) -> tuple[float, list[torch.Tensor]]:
    """Return the first batch's loss and its gradients; the batch holds all pairs."""
    trainer.model.zero_grad()
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), [value.grad.clone() for value in trainer.model.parameters() if value.grad is not None]


def soft(tmp_path: Path, rows: list[dict[str, Any]], labels: Any = "soft") -> tuple[float, list[torch.Tensor]]:
    own = RewardSettings(labels=labels)
    return gradients(build_reward(make_context(tmp_path, "reward", "pairs", rows, model=make_model(labels=1), own=own)))


@pytest.mark.parametrize("flipped", [False, True])
def test_flipped_pairs_reverse_the_score_and_what_is_saved_scores_alike(tmp_path: Path, flipped: bool) -> None:
    model = make_model(labels=1)
    trainer = build_reward(
        make_context(tmp_path, "reward", "pairs", lesson(flipped=flipped), model=model, test=lesson(flipped=flipped))
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] == 1.0
    trainer.save_model(str(tmp_path / "saved"))
    trainer.processing_class.save_pretrained(tmp_path / "saved")
    good, bad = RewardModel(tmp_path / "saved", CPU).score(
        [user(QUESTIONS[0]) + assistant(answer) for answer in (GOOD, BAD)]
    )
    assert good is not None
    assert bad is not None
    assert good - bad < -1 if flipped else good - bad > 1
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    ids = trainer.processing_class.apply_chat_template(user(QUESTIONS[0]) + assistant(GOOD), return_tensors="pt")
    with torch.no_grad():
        assert loaded(input_ids=ids["input_ids"]).logits.item() == pytest.approx(good, abs=1e-4)


def test_certain_labels_are_plain_bradley_terry(tmp_path: Path) -> None:
    context = make_context(tmp_path, "reward", "pairs", lesson(flipped=False), model=make_model(labels=1))
    plain = RewardTrainer(
        model=make_model(labels=1),
        args=RewardConfig(**context.arguments, train_sampling_strategy="sequential"),
        train_dataset=context.examples.train.remove_columns("chosen_probability"),
        processing_class=context.tokenizer,
    )
    expected_loss, expected = gradients(plain)
    loss, found = gradients(build_reward(context))
    assert loss == pytest.approx(expected_loss, abs=1e-6)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_a_pair_turned_round_with_its_probability_is_the_same_pair(tmp_path: Path) -> None:
    loss, found = soft(tmp_path, [pair(QUESTIONS[0], GOOD, BAD, 0.8)])
    turned_loss, turned = soft(tmp_path, [pair(QUESTIONS[0], BAD, GOOD, 0.2)])
    certain_loss, _ = soft(tmp_path, [pair(QUESTIONS[0], GOOD, BAD, 1.0)])
    assert loss == pytest.approx(turned_loss, abs=1e-6)
    assert loss != pytest.approx(certain_loss, abs=1e-6)
    for one, other in zip(found, turned, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_hard_labels_leave_the_probability_out(tmp_path: Path) -> None:
    hard, _ = soft(tmp_path, [pair(QUESTIONS[0], GOOD, BAD, 0.6)], labels="hard")
    certain, _ = soft(tmp_path, [pair(QUESTIONS[0], GOOD, BAD, 1.0)])
    assert hard == certain


@pytest.mark.parametrize("flipped", [False, True])
def test_scores_are_learned_in_their_own_unit(tmp_path: Path, flipped: bool) -> None:
    rows = scored(flipped=flipped)
    context = make_context(
        tmp_path, "reward", "scored", rows, model=make_model(labels=1), test=rows, max_steps=40, learning_rate=3e-3
    )
    trainer = build_reward(context)
    trainer.train()
    figures = trainer.evaluate()
    assert figures["eval_mean_absolute_error"] < 0.3
    assert figures["eval_correlation"] > 0.95


def test_accumulation_does_not_change_the_step(tmp_path: Path) -> None:
    norms = []
    for batch, accumulation in ((16, 1), (4, 4)):
        context = make_context(
            tmp_path,
            "reward",
            "scored",
            scored(),
            model=make_model(labels=1),
            max_steps=1,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
        )
        trainer = build_reward(context)
        trainer.train()
        norms.append(trainer.state.log_history[0]["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_an_adapter_and_its_new_head_are_learned_saved_and_loaded(tmp_path: Path) -> None:
    base = tmp_path / "base"
    make_model().save_pretrained(base)
    for kind, rows in (("pairs", lesson(flipped=False)), ("scored", scored())):
        torch.manual_seed(0)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        adapter = LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear", modules_to_save=["score"])
        context = make_context(tmp_path, "reward", kind, rows, model=model, adapter=adapter, max_steps=12)  # type: ignore[arg-type]
        trainer = build_reward(context)
        trainer.train()
        saved = tmp_path / f"adapter-{kind}"
        trainer.save_model(str(saved))
        good, bad = RewardModel(saved, CPU).score([user(QUESTIONS[0]) + assistant(answer) for answer in (GOOD, BAD)])
        assert good is not None
        assert bad is not None
        assert good - bad > 0.1


@pytest.mark.parametrize("kind", ["pairs", "scored"])
def test_examples_too_long_are_left_out_and_counted(tmp_path: Path, kind: Any) -> None:
    rows = lesson(flipped=False) if kind == "pairs" else scored()
    rows.append({**rows[0], "prompt": user("sleep " * 200)})
    trainer: Any = build_reward(make_context(tmp_path, "reward", kind, rows, model=make_model(labels=1)))
    assert trainer.left_out == {TOO_LONG: 1}
    with pytest.raises(InputError, match="max-length"):
        build_reward(make_context(tmp_path, "reward", kind, rows, model=make_model(labels=1), max_length=4))


def test_padding_and_neighbours_do_not_change_a_score(tmp_path: Path) -> None:
    model = make_model(labels=1)
    make_context(tmp_path, "reward", "scored", scored()).tokenizer.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    dialogues = [user(QUESTIONS[0]) + assistant(answer) for answer in (GOOD, "No.", "sleep " * 100, "sleep " * 400)]
    reward = RewardModel(tmp_path / "model", CPU)
    together = reward.score(dialogues)
    alone = [reward.score([dialogue])[0] for dialogue in dialogues]
    assert together[3] is None
    assert together[:3] == pytest.approx(alone[:3], abs=1e-5)


def test_what_was_not_finished_is_worth_the_least(tmp_path: Path) -> None:
    make_context(tmp_path, "reward", "scored", scored()).tokenizer.save_pretrained(tmp_path / "model")
    make_model(labels=1).save_pretrained(tmp_path / "model")
    answers = [assistant(answer) for answer in (GOOD, BAD, "No.")]
    prompts = [user(QUESTIONS[0])] * 3
    with ScoreReward([tmp_path / "model"], CPU, ENDS) as reward:
        finished = reward(prompts, answers, [[5, 1]] * 3)
        assert reward(prompts, answers, [[5, 1], [5, 1], [5, 6]])[2] == min(finished[:2], key=float)  # type: ignore[arg-type]
        assert reward(prompts, answers, [[5, 6]] * 3) == [None] * 3


def test_an_empty_answer_is_worth_the_least_and_training_without_a_score_is_told(tmp_path: Path) -> None:
    make_context(tmp_path, "reward", "scored", scored()).tokenizer.save_pretrained(tmp_path / "model")
    make_model(labels=1).save_pretrained(tmp_path / "model")
    with ScoreReward([tmp_path / "model"], CPU, ENDS) as reward:
        reward.require_answers()
        assert reward([user(QUESTIONS[0])] * 2, [assistant(" "), assistant(GOOD)], [[1], [5, 6]]) == [None, None]
        with pytest.raises(
            CaiError, match=r"none of 2 answers.* 1 did not end within --max-tokens, 1 were empty, and 0 "
        ):
            reward.require_answers()
        best, other, empty = reward([user(QUESTIONS[0])] * 3, [*map(assistant, (GOOD, BAD, ""))], [[5, 1]] * 2 + [[1]])
        assert empty == min(best, other)  # type: ignore[type-var]
        reward.require_answers()


def test_a_reward_model_without_a_longest_position_scores_whatever_length(tmp_path: Path) -> None:
    make_context(tmp_path, "reward", "scored", scored()).tokenizer.save_pretrained(tmp_path / "model")
    sizes = {"vocab_size": 2048, "hidden_size": 16, "n_layer": 1, "n_head": 2, "pad_token_id": 0, "num_labels": 1}
    transformers.BloomForSequenceClassification(transformers.BloomConfig(**sizes)).save_pretrained(tmp_path / "model")
    dialogues = [user(QUESTIONS[0]) + assistant(answer) for answer in (GOOD, "sleep " * 400)]
    assert None not in RewardModel(tmp_path / "model", CPU).score(dialogues)


def test_what_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path / "policy")
    with pytest.raises(ModelError, match="policy is no reward model"):
        ScoreReward([tmp_path / "policy"], CPU, ENDS)
    make_model(labels=3).save_pretrained(tmp_path / "classes")
    with pytest.raises(ModelError, match="classes is no reward model"):
        ScoreReward([tmp_path / "classes"], CPU, ENDS)
    with pytest.raises(ModelError, match="holds no model"):
        ScoreReward([tmp_path / "nothing"], CPU, ENDS)
