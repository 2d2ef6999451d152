"""Linear layers in oneDNN's order give what PyTorch's own give, in the shapes that reading and decoding have."""

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from cai.models.local import kernels
from cai.models.local.kernels import pack_linears, share_heads
from tests.small_model import small_model

_FAST = torch.backends.cpu.get_cpu_capability() == "AVX512"
_packed = pytest.mark.skipif(not _FAST, reason="this processor has no AVX-512, so layers are left alone")


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(input_ids=ids).logits
    return logits


def _linears(model: nn.Module) -> list[nn.Linear]:
    return [layer for layer in model.modules() if type(layer) is nn.Linear]


@pytest.mark.parametrize("kind", [transformers.LlamaConfig, transformers.Qwen2Config])  # the latter has biases
@pytest.mark.parametrize("tied", [False, True])
def test_logits_stay_what_they_were_up_to_rounding(kind: Any, tied: bool) -> None:
    model = small_model(kind, 60, tie_word_embeddings=tied)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if name.endswith("bias"):
                values.normal_()
    plain = copy.deepcopy(model)
    pack_linears(model)
    assert bool(_linears(model)) != _FAST
    for rows, columns in ((1, 1), (1, 7), (3, 1), (3, 11), (64, 1), (5, 40)):
        ids = torch.randint(60, (rows, columns), generator=torch.Generator().manual_seed(rows + columns))
        expected = _logits(plain, ids)
        assert torch.allclose(_logits(model, ids), expected, atol=1e-4 * float(expected.std()))


@_packed
def test_weights_are_replaced_and_not_kept_beside() -> None:
    model = small_model(transformers.LlamaConfig, 60, tie_word_embeddings=False)
    shapes = {name: layer.weight.shape for name, layer in model.named_modules() if type(layer) is nn.Linear}
    before = [weakref.ref(layer.weight) for layer in _linears(model)]
    pack_linears(model)
    gc.collect()
    assert before
    assert all(weight() is None for weight in before)
    for name, shape in shapes.items():
        weight = model.get_submodule(name).weight  # models look at its precision, and at where it is
        assert (weight.shape, weight.dtype, weight.device.type) == (shape, torch.float32, "cpu")


@_packed
def test_a_layer_of_another_kind_or_precision_is_left_alone() -> None:
    class Own(nn.Linear):
        """A layer that does something else with its weights."""

    model = nn.Sequential(Own(4, 4), nn.Linear(4, 4), nn.Linear(4, 4).to(torch.bfloat16))
    pack_linears(model)
    assert type(model[0]) is Own
    assert type(model[1]) is not nn.Linear
    assert type(model[2]) is nn.Linear


@_packed
@pytest.mark.parametrize("moved", [AttributeError("no such operator"), TypeError("another signature"), None])
def test_where_the_private_operators_moved_layers_are_left_alone(
    moved: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Moved(nn.Module):
        def __init__(self, _layer: nn.Linear) -> None:
            super().__init__()
            if moved is not None:
                raise moved

        def forward(self, states: Tensor) -> Tensor:
            return torch.zeros(len(states), 8)

    model = nn.Sequential(nn.Linear(4, 4))
    monkeypatch.setattr(kernels, "_Packed", Moved)
    pack_linears(model)
    assert type(model[0]) is nn.Linear


def test_nothing_is_drawn_from_torchs_random_numbers() -> None:
    before = torch.get_rng_state()
    pack_linears(nn.Sequential())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_does_not_tell_its_attention_keeps_it() -> None:
    class Untold(nn.Module):
        config = object()

    share_heads(Untold())  # and nothing is set on it
