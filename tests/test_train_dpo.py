"""DPO with soft labels: its laws, its reference, and a preference that is really learned."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import trl
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai.core.errors import InputError
from cai.data.examples.labels import PROBABILITY
from cai.train.adapters.building import adapter_config
from cai.train.methods.dpo import DPOSettings, build_dpo
from cai.train.methods.sft import build_sft
from cai.train.settings import AdapterSettings
from cai.train.trainers.references import ALIKE, TOO_LONG
from tests.train_context import (
    BAD,
    CHECKPOINT,
    GOOD,
    QUESTIONS,
    assistant,
    lesson,
    liking,
    make_context,
    make_model,
    pair,
    user,
)
from tests.training import curve, make_settings, train

Pairs = list[dict[str, Any]]


def perturbed(trainer: Any, seed: int = 5) -> Any:
    """Move the policy away from its reference, so that margins are not nought."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return trainer


def loss_and_gradient(trainer: Any) -> tuple[float, torch.Tensor]:
    """Return the loss of the whole data as one batch, and the policy's gradient."""
    loader = torch.utils.data.DataLoader(
        trainer._remove_unused_columns(trainer.train_dataset),
        batch_size=len(trainer.train_dataset),
        collate_fn=trainer.data_collator,
    )
    model = trainer.model.train()
    model.zero_grad()
    loss = trainer.compute_loss(model, next(iter(loader)))
    loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return float(loss.detach()), torch.cat(gradients)


def soft(out: Path, pairs: Pairs, **more: Any) -> Any:
    return build_dpo(make_context(out, "dpo", "pairs", pairs, **more))


def test_steps_take_their_pairs_from_those_that_fit(tmp_path: Path) -> None:
    pairs = lesson(flipped=False)
    long = [{**row, "prompt": user("why " * 200)} for row in pairs]
    context = make_context(tmp_path, "dpo", "pairs", [*long, *pairs], batch=4)
    chosen = context.settings
    trainer: Any = build_dpo(replace(context, settings=replace(chosen, fit=replace(chosen.fit, max_steps=1))))
    assert len(trainer.train_dataset) == 4
    assert trainer.left_out[TOO_LONG] == len(long)


def test_labels_of_one_give_hard_dpo_s_loss_and_gradient_exactly(tmp_path: Path) -> None:
    pairs = lesson(flipped=False)
    context = make_context(tmp_path, "dpo", "pairs", pairs)
    ours = perturbed(build_dpo(context))
    plain = trl.DPOTrainer(
        model=make_model(),
        args=trl.DPOConfig(**context.arguments, max_length=128, beta=0.1, precompute_ref_log_probs=True),
        train_dataset=Dataset.from_list([{k: v for k, v in row.items() if k != PROBABILITY} for row in pairs]),
        processing_class=context.tokenizer,
    )
    # The same order of pairs: ours are sorted by length.
    order = [[*row["prompt_ids"], *row["chosen_ids"]] for row in plain.train_dataset]
    wanted = [order.index([*row["prompt_ids"], *row["chosen_ids"]]) for row in ours.train_dataset]
    plain.train_dataset = plain.train_dataset.select(wanted)
    for (name, mine), theirs in zip(ours.model.named_parameters(), plain.model.parameters(), strict=True):
        theirs.data.copy_(mine.data)
        assert mine.shape == theirs.shape, name
    for name in ("ref_chosen_logps", "ref_rejected_logps"):
        assert list(ours.train_dataset[name]) == pytest.approx(list(plain.train_dataset[name]), rel=1e-5)
        plain.train_dataset = plain.train_dataset.remove_columns(name).add_column(name, ours.train_dataset[name][:])
    (our_loss, our_gradient), (their_loss, their_gradient) = loss_and_gradient(ours), loss_and_gradient(plain)
    assert our_loss == their_loss
    assert our_loss != pytest.approx(math.log(2), abs=1e-3)
    assert torch.equal(our_gradient, their_gradient)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(probability=st.floats(0, 1))
@pytest.mark.slow
def test_a_pair_turned_round_with_the_other_probability_is_the_same_lesson(tmp_path: Path, probability: float) -> None:
    one = [pair(question, GOOD, BAD, probability) for question in QUESTIONS]
    other = [pair(question, BAD, GOOD, 1 - probability) for question in QUESTIONS]
    (loss, gradient), (same_loss, same_gradient) = (
        loss_and_gradient(perturbed(soft(tmp_path, pairs))) for pairs in (one, other)
    )
    assert loss == pytest.approx(same_loss, rel=1e-4)
    assert torch.allclose(gradient, same_gradient, atol=1e-4 * float(gradient.abs().max()))


def test_the_loss_is_the_mixture_of_both_directions(tmp_path: Path) -> None:
    losses = [
        loss_and_gradient(perturbed(soft(tmp_path, [pair(question, GOOD, BAD, p) for question in QUESTIONS])))[0]
        for p in (1.0, 0.0, 0.7)
    ]
    assert losses[2] == pytest.approx(0.7 * losses[0] + 0.3 * losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_an_even_label_pushes_nothing_at_first(tmp_path: Path) -> None:
    loss, gradient = loss_and_gradient(soft(tmp_path, lesson(flipped=False, probability=0.5)))
    assert loss == pytest.approx(math.log(2), abs=1e-5)
    _, full = loss_and_gradient(soft(tmp_path, lesson(flipped=False)))
    assert float(gradient.abs().max()) < 1e-4 * float(full.abs().max())


def test_hard_labels_ignore_the_probability(tmp_path: Path) -> None:
    hard = DPOSettings(labels="hard")
    doubtful = perturbed(soft(tmp_path, lesson(flipped=False, probability=0.6), own=hard))
    certain = perturbed(soft(tmp_path, lesson(flipped=False)))
    assert loss_and_gradient(doubtful)[0] == loss_and_gradient(certain)[0]


def test_after_sft_in_memory_the_reference_is_the_sft_policy(tmp_path: Path) -> None:
    # The model still names the checkpoint on disk as where it comes from: TRL would reload that as the reference.
    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    rows = [{"prompt": user(question), "completion": assistant(GOOD)} for question in QUESTIONS]
    build_sft(make_context(tmp_path, "sft", "supervised", rows, model=model, max_steps=3, learning_rate=1e-3)).train()
    trainer = soft(tmp_path, lesson(flipped=False), model=model, max_steps=1)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_flipped_labels_reverse_what_the_embedded_model_learns(tmp_path: Path, adapter: Any) -> None:
    learned = {}
    for flipped in (False, True):
        model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
        context = make_context(
            tmp_path / str(flipped),
            "dpo",
            "pairs",
            lesson(flipped=flipped, probability=0.9),
            model=model,
            adapter=adapter_config(AdapterSettings(adapter=adapter), "language", model),
            batch=4,
            gradient_accumulation_steps=2,
            learning_rate=2e-3 if adapter == "lora" else 5e-5,
            max_steps=6,
        )
        before = liking(context, model)
        trainer = build_dpo(context)
        trainer.train()
        learned[flipped] = liking(context, trainer.model) - before
        assert trainer.state.log_history[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert learned[False] > 1 > -1 > learned[True]


@pytest.mark.slow
def test_a_certain_label_is_learned_further_than_a_doubtful_one(tmp_path: Path) -> None:
    margins = []
    for probability in (0.6, 1.0):
        pairs = lesson(flipped=False, probability=probability)
        trainer = soft(tmp_path, pairs, max_steps=25, learning_rate=3e-3)
        trainer.train()
        margins.append(trainer.state.log_history[-2]["rewards/margins"])
    # The optimum of the loss at p = 0.6 is a margin of log(0.6 / 0.4).
    assert margins[0] < 1.5 < margins[1]


def test_the_chosen_answer_s_own_loss_is_added(tmp_path: Path) -> None:
    pairs = lesson(flipped=False)
    plain, _ = loss_and_gradient(soft(tmp_path, pairs))
    with_term, _ = loss_and_gradient(soft(tmp_path, pairs, own=DPOSettings(sft_term=2.0)))
    # A random model over 2,048 words is about log 2048 nats away from every word.
    assert with_term - plain == pytest.approx(2 * math.log(2048), rel=0.1)


def test_the_better_answer_s_own_loss_is_added_whichever_side_it_is_on(tmp_path: Path) -> None:
    turned = [pair(question, BAD, GOOD, 0.2) for question in QUESTIONS]
    straight = [pair(question, GOOD, BAD, 0.8) for question in QUESTIONS]
    own = DPOSettings(sft_term=0.5)
    told = []
    for name, pairs in (("turned", turned), ("straight", straight)):
        context = make_context(tmp_path / name, "dpo", "pairs", pairs, test=pairs, own=own)
        trainer = build_dpo(context)
        told.append((*loss_and_gradient(perturbed(trainer)), trainer.eval_dataset["chosen_ids"][0]))
    assert told[0][0] == pytest.approx(told[1][0], abs=1e-6)
    torch.testing.assert_close(told[0][1], told[1][1], atol=1e-6, rtol=1e-4)
    assert told[0][2] == told[1][2]


def test_pairs_that_are_alike_within_the_maximal_length_are_counted_and_left_out(tmp_path: Path) -> None:
    same = "The same long beginning of two answers that go on and on in one way, "
    pairs = [
        pair("Hm?", GOOD, BAD),
        pair("Hm?", same * 3 + "good", same * 3 + "bad"),
        pair("word " * 80, GOOD, BAD),
    ]
    trainer = soft(tmp_path, pairs, max_length=32)
    assert trainer.left_out == {ALIKE: 1, TOO_LONG: 1}
    assert len(trainer.train_dataset) == 1
    with pytest.raises(InputError, match="no example is left"):
        soft(tmp_path, pairs[1:2], max_length=32)


@pytest.mark.slow
def test_a_whole_run_logs_margins_and_adds_up_what_was_left_out(tmp_path: Path) -> None:
    summary = train(make_settings(tmp_path, "dpo", rows=40, max_steps=10), lambda _: None)
    assert summary.left_out == {}
    out = tmp_path / "out"
    assert curve(out)[0][1] == pytest.approx(math.log(2), abs=1e-4)
    assert curve(out, "rewards/margins")[-1][1] > 0.1
    assert curve(out, "eval_rewards/accuracies")[-1][1] == 1
