"""Batches without padding: what is learned is what separate rows teach, a model that mixes them is left alone."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.utils.data import DataLoader
from trl import SFTConfig
from trl.trainer.utils import add_fused_lm_head

from cai.core.errors import UsageError
from cai.train.methods import find_method
from cai.train.padding_free import attention, batches
from cai.train.padding_free.attention import NAME, Bounds, has_flash
from cai.train.padding_free.batches import compute_without_padding
from cai.train.trainers.lengths import BucketedSFTTrainer
from tests.train_context import (
    BAD,
    GOOD,
    QUESTIONS,
    assistant,
    make_context,
    make_model,
    one_thread,
    pair,
    user,
)
from tests.training import make_settings, train

pytestmark = pytest.mark.usefixtures("one_thread")
__all__ = ["one_thread"]

ROWS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17]]
CONFIGS = {
    "llama": transformers.LlamaConfig,
    "qwen3": transformers.Qwen3Config,
    "gpt-neox": transformers.GPTNeoXConfig,
}


def small(kind: str) -> Any:
    torch.manual_seed(1)
    config = CONFIGS[kind](
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        initializer_range=0.3,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def padded(*, left: bool = False) -> dict[str, Tensor]:
    width = max(map(len, ROWS))
    ids, mask = torch.zeros(len(ROWS), width, dtype=torch.long), torch.zeros(len(ROWS), width, dtype=torch.long)
    for number, row in enumerate(ROWS):
        place = slice(width - len(row), width) if left else slice(len(row))
        ids[number, place], mask[number, place] = torch.tensor(row), 1
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize(("kind", "left"), [("llama", False), ("llama", True), ("qwen3", False), ("gpt-neox", False)])
def test_a_padded_batch_comes_out_as_its_rows_alone(kind: str, left: bool) -> None:
    model = small(kind)
    alone = [model(input_ids=torch.tensor([row])).logits[0] for row in ROWS]
    widths: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda _m, inputs, _o: widths.append(inputs[0].shape[-1]))
    assert compute_without_padding(model, 16)
    del widths[:]
    batch = padded(left=left)
    logits = model(**batch).logits
    assert widths == [sum(map(len, ROWS))]  # no padding went through the layers
    for row, mask, wanted in zip(logits, batch["attention_mask"].bool(), alone, strict=True):
        assert torch.allclose(row[mask], wanted, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_row_s_gradient_is_its_own(checkpointing: bool) -> None:
    plain = small("llama").train()
    model = copy.deepcopy(plain)
    assert compute_without_padding(model, 16)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    batch = padded()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    model(**batch, labels=labels).loss.backward()
    tokens = sum(len(row) - 1 for row in ROWS)
    for row in ROWS:
        alone = torch.tensor([row])
        (plain(input_ids=alone, labels=alone).loss * (len(row) - 1) / tokens).backward()
    for found, wanted in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(found.grad, wanted.grad, atol=1e-6)


def test_the_fused_head_is_asked_for_labelled_tokens_alone() -> None:
    plain = small("llama")
    model = copy.deepcopy(plain)
    kinds = ("log_probs", "entropy", "is_top1")
    for one in (plain, model):
        add_fused_lm_head(one, outputs=kinds)
    assert compute_without_padding(model, 16)
    batch = padded()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[0, :4] = -100  # a prompt
    found, wanted = (one(**batch, labels=labels, fused_lm_head=True) for one in (model, plain))
    for kind in (*kinds, "label_mask"):
        assert torch.allclose(getattr(found, kind).float(), getattr(wanted, kind).float(), atol=1e-5), kind
    assert torch.allclose(found.loss, wanted.loss, atol=1e-5)
    none = model(**batch, labels=torch.full_like(labels, -100), fused_lm_head=True)
    assert not none.log_probs.any()


PAIRS = [pair(question, GOOD * (1 + number), BAD, 0.8) for number, question in enumerate(QUESTIONS)]
LABELLED = [
    {"prompt": user(question), "completion": assistant(GOOD * (1 + number)), "label": number % 2 == 0}
    for number, question in enumerate(QUESTIONS)
]
DATA: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "sft": ("supervised", [{k: row[k] for k in ("prompt", "completion")} for row in LABELLED]),
    "dpo": ("pairs", PAIRS),
    "orpo": ("pairs", PAIRS),
    "kto": ("labelled", LABELLED),
    "reward": ("pairs", PAIRS),
}


def taught(method: str, out: Path, *, without: bool) -> tuple[float, Tensor]:
    """Return the loss and the gradient of a method's whole data, as one batch."""
    kind, rows = DATA[method]
    model = make_model(labels=1 if find_method(method).head == "score" else None)
    model.config.pad_token_id = 0
    if without:
        assert compute_without_padding(model, 128)
    trainer: Any = find_method(method).build(make_context(out, method, kind, rows, model=model))
    loader = trainer.get_train_dataloader()
    loss = trainer.compute_loss(model.train(), dict(next(iter(loader))))
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("method", list(DATA))
def test_every_method_learns_the_same(method: str, tmp_path: Path) -> None:
    (loss, gradient), (plain_loss, plain_gradient) = (
        taught(method, tmp_path / str(without), without=without) for without in (True, False)
    )
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    assert plain_gradient.abs().max() > 1e-4
    assert torch.allclose(gradient, plain_gradient, atol=1e-6, rtol=1e-3)


def packed_loss(out: Path, *, packing: bool) -> tuple[int, Tensor]:
    """Return how many rows TRL made of the examples, and the gradient of all of them."""
    model = make_model()
    if packing:
        assert compute_without_padding(model, 128)
    context = make_context(out, "sft", *DATA["sft"], model=model)
    configuration = SFTConfig(**context.arguments, max_length=128, packing=packing)
    trainer = BucketedSFTTrainer(
        model=model, args=configuration, train_dataset=context.examples.train, processing_class=context.tokenizer
    )
    batch = dict(next(iter(DataLoader(trainer.train_dataset, batch_size=8, collate_fn=trainer.data_collator))))
    trainer.compute_loss(model.train(), batch).backward()
    return len(trainer.train_dataset), torch.cat([p.grad.flatten() for p in model.parameters()])


def test_packed_examples_teach_what_separate_rows_do(tmp_path: Path) -> None:
    (packed, gradient), (separate, wanted) = (
        packed_loss(tmp_path / str(packing), packing=packing) for packing in (True, False)
    )
    assert packed < separate == len(QUESTIONS)
    assert torch.allclose(gradient, wanted, atol=1e-6, rtol=1e-3)


def one_sequence(lengths: list[int], device: torch.device) -> Bounds:
    """What bounds would be, were a row's sequences not kept apart."""
    return Bounds((sum(lengths),), torch.tensor([0, sum(lengths)], device=device, dtype=torch.int32))


def rolled(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What a convolution does: each token sees the one before it, whosever that is."""
    return lambda states: forward(states + states.roll(1, dims=1))


@pytest.mark.parametrize("why", ["attention", "layer", "window"])
def test_a_model_that_would_mix_sequences_is_left_as_it_was(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("llama")
    if why == "attention":
        monkeypatch.setattr(attention.Bounds, "of", one_sequence)
    elif why == "layer":
        layer = model.model.layers[0].mlp
        layer.forward = rolled(layer.forward)
    else:
        model.config.sliding_window = 8
    wanted = model(**padded()).logits
    assert not compute_without_padding(model, 16)
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(model(**padded()).logits, wanted)


def test_packing_is_refused_where_sequences_would_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_keeps_apart", lambda _body: False)
    with pytest.raises(UsageError, match="would let packed examples read one another"):
        train(make_settings(tmp_path, packing=True, max_steps=1, rows=16))


@pytest.mark.slow
def test_a_run_is_packed_and_what_it_leaves_is_a_usual_model(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, packing=True, max_steps=2, rows=32)
    summary = train(settings)
    assert summary.status == "done"
    assert NAME not in (settings.out / "config.json").read_text()
    assert transformers.AutoModelForCausalLM.from_pretrained(settings.out).config._attn_implementation == "sdpa"


def test_generation_is_what_it_was() -> None:
    plain = small("llama")
    model = copy.deepcopy(plain)
    assert compute_without_padding(model, 16)
    found, wanted = (
        one.generate(**padded(left=True), max_new_tokens=4, do_sample=False, pad_token_id=0) for one in (model, plain)
    )
    assert torch.equal(found, wanted)


def test_without_its_kernel_padding_behind_is_left_to_causality(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("llama")
    wanted = model(**padded()).logits
    assert compute_without_padding(model, 16)
    monkeypatch.setattr(batches, "_has_kernel", lambda _body, _device: False)
    masks: list[Any] = []
    model.model.layers[0].register_forward_pre_hook(
        lambda _m, _p, named: masks.append(named["attention_mask"]), with_kwargs=True
    )
    batch = padded()
    found = model(**batch).logits
    model(**padded(left=True))
    assert masks[0] is None
    assert masks[1] is not None
    assert torch.allclose(found[batch["attention_mask"].bool()], wanted[batch["attention_mask"].bool()], atol=1e-5)


def test_a_cpu_has_no_flash_kernel() -> None:
    assert not has_flash(torch.device("cpu"), torch.bfloat16, 64)


def by_each(query: Tensor, key: Tensor, value: Tensor, *, bounds: Bounds) -> Tensor:
    """What the kernel is to return, of states whose tokens come first."""
    heads_first = (state.transpose(0, 1)[None] for state in (query, key, value))
    return attention._each(*heads_first, bounds=bounds)[0].transpose(0, 1)


def refusing(*_states: Tensor, bounds: Bounds) -> Tensor:
    raise RuntimeError(f"no kernel for {len(bounds.lengths)} sequences")


def mixing(query: Tensor, key: Tensor, value: Tensor, *, bounds: Bounds) -> Tensor:
    return by_each(query, key, value, bounds=one_sequence(list(bounds.lengths), query.device))


@pytest.mark.parametrize(("kernel", "works"), [(by_each, True), (refusing, False), (mixing, False)])
def test_the_flash_kernel_is_tried_wherever_it_is_first_asked_for(
    kernel: Callable[..., Tensor], works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_flash", kernel)
    tried = [torch.device("cpu"), torch.bfloat16, 8]
    for where in (torch.enable_grad(), torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        with where:
            assert attention._flash_works(*tried) == works  # type: ignore[arg-type]


def test_a_layer_asks_the_kernel_with_repeated_heads_and_gets_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("llama")  # two heads of keys for four of queries
    alone = [model(input_ids=torch.tensor([row])).logits[0] for row in ROWS]
    assert compute_without_padding(model, 16)
    asked: list[tuple[int, ...]] = []

    def kernel(query: Tensor, key: Tensor, value: Tensor, *, bounds: Bounds, scaling: float) -> Tensor:
        asked.append(tuple(key.shape))
        assert scaling == pytest.approx(8**-0.5)
        return by_each(query, key, value, bounds=bounds)

    monkeypatch.setattr(attention, "has_flash", lambda *_: True)
    monkeypatch.setattr(attention, "_flash", kernel)
    batch = padded()
    logits = model(**batch).logits
    assert asked == [(sum(map(len, ROWS)), 4, 8)] * 2
    for row, mask, wanted in zip(logits, batch["attention_mask"].bool(), alone, strict=True):
        assert torch.allclose(row[mask], wanted, atol=1e-5)
