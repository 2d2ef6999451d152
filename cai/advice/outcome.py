"""What advice is: facts in sentences, and recommendations with what they cost. Imports nothing heavy."""

from dataclasses import asdict, dataclass
from typing import Any

from cai.advice.rules import Recommendation

OFF = "a factor of two"
"""How far the time was off at most in the trainings that docs/choosing.md has."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes that weights, gradients and optimiser take, whether the machine has them, and seconds of training."""

    memory: int
    fits: bool
    seconds: float

    def sentence(self, draws: bool) -> str:
        """Return what a person reads; with `draws` the time of drawing answers comes on top."""
        fits = "" if self.fits else ", more than this machine has: take a smaller model, --quantize, or another machine"
        minutes = self.seconds / 60
        time = f"{minutes / 60:,.1f} hours" if minutes > 90 else f"{max(minutes, 1):,.0f} min"
        size = f"{self.memory / 1e9:,.1f} GB" if self.memory >= 1e9 else f"{self.memory / 1e6:,.0f} MB"
        return (
            f"about {size} for weights, gradients and optimiser{fits}; about {time} of training, by a reckoning that "
            f"was off by up to {OFF} where it was measured{', and the drawing of answers besides' if draws else ''}"
        )


@dataclass(frozen=True, slots=True)
class Advised:
    """A recommendation with the command to type; `cost` is None where nothing is trained, or where that is sampled."""

    recommendation: Recommendation
    command: str
    cost: Cost | None
    adapter: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, first things first; `facts` are sentences on what was found."""

    facts: tuple[str, ...]
    advised: tuple[Advised, ...]
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return asdict(self)
