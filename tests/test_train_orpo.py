"""ORPO learns the chosen answer and its odds against the rejected one, from the assistant's words alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cai.core.errors import InputError
from cai.train.methods.orpo import ORPOSettings, build_orpo
from cai.train.trainers.odds_ratio import TOO_LONG
from tests.train_context import BAD, GOOD, QUESTIONS, lesson, liking, make_context, one_thread, pair  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("flipped", [False, True])
def test_flipped_pairs_reverse_what_is_learned(tmp_path: Path, flipped: bool) -> None:
    context = make_context(tmp_path, "orpo", "pairs", lesson(flipped=flipped))
    before = liking(context, context.model)
    build_orpo(context).train()
    change = liking(context, context.model) - before
    assert change < -5 if flipped else change > 5


def test_a_pair_that_is_likelier_the_other_way_is_turned_round(tmp_path: Path) -> None:
    rows = [pair(QUESTIONS[0], GOOD, BAD, 0.1), pair(QUESTIONS[1], GOOD, BAD, 0.9)]
    trainer: Any = build_orpo(make_context(tmp_path, "orpo", "pairs", rows, test=rows))
    for dataset in (trainer.train_dataset, trainer.eval_dataset):
        chosen = [trainer.processing_class.decode(row["chosen_input_ids"]) for row in dataset]
        assert BAD in chosen[0]
        assert GOOD in chosen[1]


def test_lambda_weighs_the_odds_ratio(tmp_path: Path) -> None:
    context = make_context(tmp_path, "orpo", "pairs", lesson(flipped=False), own=ORPOSettings(beta=0.7), max_steps=1)
    trainer = build_orpo(context)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["loss"] == pytest.approx(first["nll_loss"] - 0.7 * first["log_odds_ratio"], abs=1e-3)


def test_the_users_words_are_not_learned(tmp_path: Path) -> None:
    rows = [pair("unique question", GOOD, BAD), pair("another one that is longer", BAD, GOOD)]
    trainer: Any = build_orpo(make_context(tmp_path, "orpo", "pairs", rows))
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.concatenated_forward(trainer.model, batch)[4]
    labels, ids = batch["chosen_labels"], batch["chosen_input_ids"]
    logits = trainer.model(input_ids=ids, attention_mask=batch["chosen_attention_mask"]).logits
    by_hand = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(loss, by_hand)
    for row, tokens in zip(labels, ids, strict=True):
        learned = trainer.processing_class.decode(tokens[row != -100])
        assert learned in (f"{GOOD}<|end|>", f"{BAD}<|end|>")


def test_pairs_that_leave_no_room_are_counted(tmp_path: Path) -> None:
    rows = [*lesson(flipped=False), pair("sleep " * 200, GOOD, BAD)]
    trainer: Any = build_orpo(make_context(tmp_path, "orpo", "pairs", rows))
    assert trainer.left_out == {TOO_LONG: 1}
    with pytest.raises(InputError, match="every prompt fills --max-length"):
        build_orpo(make_context(tmp_path, "orpo", "pairs", rows, max_length=4))
