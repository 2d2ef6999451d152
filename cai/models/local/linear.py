"""Linear layers on a CPU: through oneDNN, their weights laid out for it once.

PyTorch multiplies single-precision matrices with MKL, which keeps to AVX2 on processors that are not Intel's and packs
the weights anew at each call. oneDNN uses AVX-512 wherever there is any: twice as fast for many rows, and more for the
few of a decoding step on wide layers; results are the same up to rounding. The weights are replaced, not doubled, but
for a head that shares them with the embedding. The operators are those that PyTorch's own compiler puts in place of
linear layers. Other processors and precisions, and layers that derive from PyTorch's, are left alone.
"""

import torch
from torch import Tensor, nn

_STRIDE = 32  # rows: oneDNN compiles a program for every number of them, which takes as long as a narrow layer itself


class _Packed(nn.Module):
    """A linear layer whose `weight`, (outputs, inputs), is in oneDNN's own order."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach()))

    def forward(self, states: Tensor) -> Tensor:
        """Return the layer's outputs, shape (…, outputs), for states of the shape (…, inputs)."""
        rows = states.flatten(0, -2)
        count = len(rows)
        if count > _STRIDE:
            rows = nn.functional.pad(rows, (0, 0, 0, -count % _STRIDE))
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return outputs[:count].view(*states.shape[:-1], outputs.shape[-1])


def pack_linears(model: nn.Module) -> None:
    """Replace the model's linear layers in single precision, where that makes them faster; `model` is on a CPU."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return
    # A list with the layers themselves would keep all their old weights until the last one is replaced.
    for parent in [module for module in model.modules() if type(module) is not nn.Linear]:
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and layer.weight.dtype == torch.float32:
                setattr(parent, name, _Packed(layer))
