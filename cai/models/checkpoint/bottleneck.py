"""Bottleneck adapters as a kind of PEFT's, which has none of its own: importing this module makes PEFT know them.

Behind a layer's output h there is h + U·f(D·h + d) + u, with D of shape (width, hidden), U of (hidden, width) and an
activation f (Houlsby et al. 2019, arXiv 1902.00751, section 2.1). Houlsby has one behind the attention's output and one
behind the feed-forward's, each before the residual is added; Pfeiffer has the second alone (AdapterFusion, arXiv
2005.00247, section 3 and appendix A). The layer norms stay as they are. U begins at zero, so that the model begins as
its base, to the bit: DPO's policy has to begin as its reference. D is drawn as in Houlsby et al., section 3.6.

PEFT finds a kind by its name in tables, in which a kind of one's own is entered; `register_peft_method` takes only the
names that PEFT has itself. What is saved loads by `peft.PeftModel.from_pretrained`, once this module is imported.
"""

from dataclasses import dataclass, field
from typing import Any

from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PeftConfig
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn
from transformers.activations import ACT2FN

from cai.models.checkpoint.files import BOTTLENECK

_DEVIATION = 1e-2
"""Of D's entries, which are cut off at two of them."""


@dataclass
class BottleneckConfig(PeftConfig):
    """Which layers have an adapter behind them, how wide it is inside, and what bends it there."""

    width: int = 16
    activation: str = "relu"
    target_modules: list[str] | str | None = field(default=None)
    exclude_modules: list[str] | str | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]  # peft's
        self.peft_type = BOTTLENECK


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A layer with what is added to its output; several adapters by name, those that are active one behind the other.

    The activation is one for all of a layer's adapters.
    """

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.activation = ACT2FN[config.activation]
        self.merged_adapters = []
        self._active_adapter = adapter_name
        self.add(adapter_name, config)

    def add(self, name: str, config: BottleneckConfig) -> None:
        """Add an adapter that changes nothing yet."""
        base: Any = self.get_base_layer()
        hidden = base.nf if hasattr(base, "nf") else base.out_features  # GPT-2's own linear layer calls it nf
        down, up = nn.Linear(hidden, config.width), nn.Linear(config.width, hidden)
        nn.init.trunc_normal_(down.weight, std=_DEVIATION, a=-2 * _DEVIATION, b=2 * _DEVIATION)
        for zero in (down.bias, up.weight, up.bias):
            nn.init.zeros_(zero)
        self.bottleneck_down[name], self.bottleneck_up[name] = down, up
        self._move_adapter_to_device_of_base_layer(name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, *positional: Any, **keywords: Any) -> Tensor:
        """Return the layer's output, shape (…, hidden), with what the active adapters add to it."""
        states: Tensor = self.base_layer(*positional, **keywords)
        if self.disable_adapters:
            return states
        for name in self.active_adapters:
            if name in self.bottleneck_down:
                down: Any = self.bottleneck_down[name]
                up: Any = self.bottleneck_up[name]
                inner = self.activation(down(states.to(down.bias.dtype)))
                states = states + up(inner).to(states.dtype)
        return states


class BottleneckModel(BaseTuner):
    """A model with bottleneck adapters behind the layers that the configuration names."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012  (peft's; a configuration of ours names its layers)

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,  # noqa: ARG002  (peft's signature)
        parameter_name: str | None = None,  # noqa: ARG002
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.add(adapter_name, peft_config)
            return
        layer = BottleneckLayer(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> None:
        raise ValueError("a bottleneck adapter is not linear, and no weight of the base can take it in")


_TABLES: tuple[tuple[dict[Any, Any], object], ...] = (
    (PEFT_TYPE_TO_CONFIG_MAPPING, BottleneckConfig),
    (PEFT_TYPE_TO_TUNER_MAPPING, BottleneckModel),
    (PEFT_TYPE_TO_PREFIX_MAPPING, BottleneckModel.prefix),
)
for _table, _entry in _TABLES:
    _table[BOTTLENECK] = _entry
