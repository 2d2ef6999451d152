"""SFT: the loss is on the assistant's words alone, and it teaches them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.core.errors import InputError, UsageError
from cai.train.methods import METHODS
from cai.train.methods.descriptor import TrainingMethod
from cai.train.methods.dpo import DPO
from cai.train.methods.online import GRPO
from cai.train.methods.sft import SFT, build_sft
from cai.train.plan import plan_train
from cai.train.trainers.lengths import TOO_LONG, LengthSampler
from tests.train_context import CHECKPOINT, GOOD, QUESTIONS, assistant, make_context, user
from tests.training import make_settings

END = "<|end|>"


def learned(rows: list[dict[str, Any]], out: Path) -> list[str]:
    """Return the text that the loss falls on, example by example."""
    context = make_context(out, "sft", "supervised", rows)
    trainer = build_sft(context)
    batch = next(iter(trainer.get_train_dataloader()))
    return sorted(
        context.tokenizer.decode(ids[labels != -100])
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True)
    )


def test_of_a_prompt_and_its_completion_the_completion_is_learned(tmp_path: Path) -> None:
    rows = [{"prompt": user(question), "completion": assistant(f"{GOOD} {question}")} for question in QUESTIONS]
    assert learned(rows, tmp_path) == sorted(f"{GOOD} {question}{END}" for question in QUESTIONS)


def test_of_a_conversation_every_turn_of_the_assistant_s_is_learned(tmp_path: Path) -> None:
    rows = [
        {"messages": [*user(question), *assistant("First."), *user("And then?"), *assistant(GOOD)]}
        for question in QUESTIONS
    ]
    assert learned(rows, tmp_path) == [f"First.{END}{GOOD}{END}"] * len(QUESTIONS)


def test_of_plain_text_every_token_is_learned(tmp_path: Path) -> None:
    assert learned([{"text": question} for question in QUESTIONS], tmp_path) == sorted(
        f"{question}{END}" for question in QUESTIONS
    )


def test_only_what_is_learned_has_a_gradient(tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    rows = [{"prompt": user(question), "completion": assistant(GOOD)} for question in QUESTIONS]
    trainer = build_sft(make_context(tmp_path, "sft", "supervised", rows, model=model))
    batch = dict(next(iter(trainer.get_train_dataloader())))
    seen: list[torch.Tensor] = []
    model.model.norm.register_full_backward_hook(lambda _module, _inputs, outputs: seen.append(outputs[0]))
    trainer.compute_loss(model.train(), batch).backward()
    # A position's last hidden state has a gradient exactly where the next token is learned.
    taught = seen[0].abs().sum(-1)[:, :-1] > 0
    assert torch.equal(taught, batch["labels"][:, 1:] != -100)


def test_the_embedded_model_learns_an_answer(tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    rows = [{"prompt": user(question), "completion": assistant("No pills on a Sunday.")} for question in QUESTIONS * 2]
    context = make_context(tmp_path, "sft", "supervised", rows, model=model, learning_rate=1e-3, max_steps=8)
    trainer = build_sft(context)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] / 4


def test_an_example_whose_answer_is_cut_off_is_counted_and_none_left_is_an_error(tmp_path: Path) -> None:
    long = {"prompt": user("word " * 60), "completion": assistant(GOOD)}
    short = {"prompt": user("Hm?"), "completion": assistant(GOOD)}
    trainer = build_sft(make_context(tmp_path, "sft", "supervised", [long, short], max_length=32))
    assert trainer.left_out == {TOO_LONG: 1}
    with pytest.raises(InputError, match="--max-length"):
        build_sft(make_context(tmp_path, "sft", "supervised", [long], max_length=32))


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=300),
    batch=st.integers(1, 20),
    epoch=st.integers(0, 3),
)
def test_every_example_comes_once_an_epoch_in_an_order_of_seed_and_epoch_alone(
    lengths: list[int], batch: int, epoch: int
) -> None:
    def order(seed: int) -> list[int]:
        sampler = LengthSampler(lengths, batch, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert sorted(order(1)) == list(range(len(lengths)))
    assert order(1) == order(1)


def test_batches_hold_examples_of_like_lengths() -> None:
    lengths = [1 + (index * 37) % 400 for index in range(400)]
    sampler = LengthSampler(lengths, 8, 0)
    first, second = list(sampler), list(sampler)
    assert first == second
    sampler.set_epoch(1)
    assert list(sampler) != first
    spread = [
        max(lengths[i] for i in first[at : at + 8]) - min(lengths[i] for i in first[at : at + 8])
        for at in range(0, 400, 8)
    ]
    assert max(spread) < 20


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_larger_models_learn_more_slowly_and_adapters_faster(method: TrainingMethod) -> None:
    rates = [method.learning_rate(int(size), "none") for size in (1e5, 2.6e6, 1.35e8, 1e9, 8e9)]
    assert rates == sorted(rates, reverse=True)
    assert rates[3] == rates[4]
    assert method.learning_rate(8_000_000_000, "lora") == pytest.approx(10 * rates[4])


def test_the_table_of_rates_has_the_measured_and_the_published_ends() -> None:
    assert [SFT.learning_rate(size, "none") for size in (2_600_000, 8_000_000_000)] == [5e-4, 2e-5]
    assert [DPO.learning_rate(size, "none") for size in (2_600_000, 8_000_000_000)] == [2e-4, 5e-7]
    assert SFT.batch_size(2_600_000, group=1, processes=1) == 16
    assert GRPO.batch_size(2_600_000, group=6, processes=4) % 12 == 0


def test_a_template_for_plain_text_is_refused(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    (tmp_path / "plain.txt").write_text("Rest helps.\n\nTea helps.\n")
    data = replace(settings.data, data=(DataSource.parse(str(tmp_path / "plain.txt")),))
    with pytest.raises(UsageError, match="--template chatml is for conversations, and these are plain texts"):
        plan_train(replace(settings, data=data, template="chatml"))
