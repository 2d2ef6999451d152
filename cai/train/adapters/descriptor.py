"""What an adapter's kind says of itself; the table of all kinds is in `cai.train.adapters`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cai.train.settings import AdapterKind, AdapterSettings

if TYPE_CHECKING:
    from peft import PeftConfig

Size = Literal["rank", "virtual_tokens", "bottleneck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One kind of adapter.

    `description`, with the paper, stands in documentation; `size` is the setting that says how large it is, of
    `default` where that is left open, None for a kind of one size. `faster` times the rate of all weights it is trained
    with, but never above `most`, as `source` says. `folds` tells whether a base can take it into its weights, `virtual`
    whether it is virtual tokens before what the model reads, which leave a head on top as it is, `bends` whether it has
    an activation, `quantizes` whether it is trained on a base in 4 bits, `checkpoints` whether activations may be
    computed again in the backward pass. `build` returns PEFT's configuration, as `configurations.py` says.
    """

    name: AdapterKind
    description: str
    build: "Callable[[str, Mapping[str, Any], Any, Mapping[str, Any]], PeftConfig]"
    faster: float
    most: float
    source: str
    size: Size | None = None
    default: int = 0
    folds: bool = False
    virtual: bool = False
    bends: bool = False
    quantizes: bool = False
    checkpoints: bool = True

    def learning_rate(self, whole: float) -> float:
        """Return the peak learning rate where all weights would be trained with `whole`."""
        return min(whole * self.faster, self.most)

    def size_of(self, settings: AdapterSettings) -> int:
        """Return how large the adapter is, 0 for a kind of one size."""
        return 0 if self.size is None else getattr(settings, self.size) or self.default

    def own(self, settings: AdapterSettings) -> dict[str, Any]:
        """Return the settings that this kind has, by name, the open ones filled in."""
        found: dict[str, Any] = {} if self.size is None else {self.size: self.size_of(settings)}
        return found | ({"activation": settings.activation or "relu"} if self.bends else {})
