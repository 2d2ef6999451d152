"""Pairs of one prompt stay in one batch: of a reward model's every step, however the data were mixed."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.train.methods.reward import build_reward
from cai.train.trainers.prompt_batches import PairsPerPrompt, batch_arguments, mark_elements
from tests.train_context import assistant, make_context, make_model, one_thread, pair, user  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")
ANSWERS = ("Please ask a doctor.", "Rest, and drink water.", "Take whatever is there.", "No.")


def ranked(questions: int, answers: int) -> list[dict[str, Any]]:
    """Return all pairs of several answers to each of several questions, the questions in turn."""
    return [
        pair(f"Question {number}: is it safe?", better, worse, 0.9)
        for better, worse in combinations(ANSWERS[:answers], 2)
        for number in range(questions)
    ]


def prompts_of(trainer: Any, batch: dict[str, Any]) -> list[str]:
    texts = trainer.processing_class.batch_decode(batch["input_ids"])
    return [text.partition("Question")[2].partition(":")[0] for text in texts[: len(texts) // 2]]


def test_every_batch_holds_all_pairs_of_its_prompts_and_every_epoch_every_pair(tmp_path: Path) -> None:
    rows = ranked(7, 4)
    trainer = build_reward(make_context(tmp_path, "reward", "pairs", rows, model=make_model(labels=1), batch=12))
    arguments = trainer.args
    assert (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps) == (2, 1)
    batches = list(trainer.get_train_dataloader())
    assert len(batches) == 4
    told = [prompts_of(trainer, batch) for batch in batches]
    assert [len(prompts) for prompts in told] == [12, 12, 12, 6]
    owners = [{*prompts} for prompts in told]
    assert sum(map(len, owners)) == len(set().union(*owners)) == 7, "no prompt is in two batches"
    for batch in batches:
        assert len(batch["chosen_probability"]) == len(batch["input_ids"]) // 2


@pytest.mark.slow
def test_a_batch_of_elements_has_the_loss_of_its_pairs(tmp_path: Path) -> None:
    rows = ranked(2, 3)
    context = make_context(tmp_path, "reward", "pairs", rows, model=make_model(labels=1), test=rows, batch=6)
    trainer = build_reward(context)
    together = trainer.evaluate()["eval_loss"]
    alone = []
    for row in rows:
        one = build_reward(make_context(tmp_path, "reward", "pairs", [row], model=make_model(labels=1)))
        batch = next(iter(one.get_train_dataloader()))
        with torch.no_grad():
            alone.append(one.compute_loss(one.model.eval(), batch).item())
    assert together == pytest.approx(sum(alone) / len(alone), abs=1e-5)
    trainer.train()
    assert trainer.state.global_step == 8


def test_a_pair_a_prompt_is_batched_as_ever(tmp_path: Path) -> None:
    rows = ranked(5, 2)
    context = make_context(tmp_path, "reward", "pairs", rows, model=make_model(labels=1), batch=4)
    trainer = build_reward(context)
    assert trainer.args.per_device_train_batch_size == 4
    assert "element" not in trainer.train_dataset.column_names
    assert isinstance(trainer.train_dataset[0]["chosen_ids"][0], int)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_elements_are_prompts_and_a_repeated_pair_is_another_element(rows: list[tuple[int, int]]) -> None:
    pairs = [
        {"prompt": user(f"q{prompt}"), "chosen": assistant(f"a{answer}"), "rejected": assistant("b")}
        for prompt, answer in rows
    ]
    marked, found = mark_elements(Dataset.from_list(pairs))
    elements: dict[int, list[tuple[int, int]]] = {}
    for element, row in zip(marked["element"], rows, strict=True):
        elements.setdefault(element, []).append(row)
    for held in elements.values():
        assert len({prompt for prompt, _ in held}) == 1
        assert len(set(held)) == len(held)
    most = max(rows.count(row) for row in rows)
    assert len(elements) <= len({prompt for prompt, _ in rows}) * most
    assert (found.largest, found.mean) == (max(map(len, elements.values())), len(rows) / len(elements))


@pytest.mark.parametrize(
    ("micro", "accumulation", "mean", "sizes"),
    [(8, 4, 6.0, (1, 5)), (32, 1, 6.0, (5, 1)), (4, 8, 6.0, (1, 5)), (16, 2, 1.0, (16, 2)), (1, 1, 15.0, (1, 1))],
)
def test_a_step_has_about_as_many_pairs_as_were_asked_for(
    micro: int, accumulation: int, mean: float, sizes: tuple[int, int]
) -> None:
    shared = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": accumulation, "seed": 1}
    found = batch_arguments(shared, PairsPerPrompt(mean, round(mean)), 1)
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == sizes
    assert found["per_device_eval_batch_size"] == sizes[0]
    assert found["seed"] == 1
