"""What a training method says of itself, and what follows from it: rates and batches that nobody named.

Between the two ends of the models' sizes the learning rate falls as a power of the parameter count. An adapter takes a
multiple of the rate of full fine-tuning, as `cai.train.adapters` says of each kind.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cai.data.examples.shaping import ExampleKind
from cai.train.adapters import ADAPTERS
from cai.train.settings import AdapterKind, DataSettings

if TYPE_CHECKING:
    from transformers import Trainer

    from cai.train.context import Context

SMALL, LARGE = 2.6e6, 1e9
"""Parameters at the two ends: the embedded model, and the smallest of those that papers train."""
_LARGE_BATCH_FROM = 100e6
_GROUPS = 8

Value = TypeVar("Value")


def option(default: Value, words: str, *, least: float | None = None, above: float | None = None) -> Value:
    """Return a field of a method's own settings: `cai train METHOD` offers it under its name, with these words.

    Numbers are `least` or more, or `above` a number. The field's type says the rest: float, int, bool, str, Path,
    ModelSpec, DataSource or a Literal of words, each perhaps None; or a tuple of such, given several times.
    """
    limits = {"help": words, "least": least, "above": above}
    made: Value = field(default=default, metadata=limits)
    return made


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The own settings of a method that has none."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is chosen for models of one size: the peak learning rate, who says so, and examples an optimiser step."""

    learning_rate: float
    source: str
    batch_size: int


def small(learning_rate: float, source: str, batch_size: int = 16) -> Defaults:
    """Return the defaults of the small end."""
    return Defaults(learning_rate, source, batch_size)


def large(learning_rate: float, source: str, batch_size: int = 64) -> Defaults:
    """Return the defaults of the large end."""
    return Defaults(learning_rate, source, batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMethod:
    """One way to train.

    `summary` is its line in `cai train --help`; `description`, with the paper, stands on model cards. `data` is the
    kind of examples; a method that can learn from several has `settle`, which is given its own settings and the data's,
    and returns the former with what was left open filled in, and the kind. `own` is the dataclass of the method's own
    options, whose fields are made by `option`. `sequences` is how many sequences an example puts through the model (2
    for a pair), `whole_logits` whether a batch's logits over the whole vocabulary are held, `head` what stands on top
    of the model, `packs` whether examples may share a sequence, `value_model` whether one is trained beside it. With
    `by_task` the trainer is a `cai.train.trainers.tasked.TaskedTrainer`, which tells the tasks of `--data` apart; with
    `first_loss` an example's loss before training says how hard it is. Without
    `soft_labels` pairs are taken as certain, and ties left out. `build` returns the trainer; what it gets, and what the
    trainer must have, says `cai.train.context.Context`.
    """

    name: str
    summary: str
    description: str
    data: ExampleKind
    small: Defaults
    large: Defaults
    build: "Callable[[Context], Trainer]"
    own: type[Any] = NoSettings
    epochs: float = 1.0
    sequences: int = 1
    whole_logits: bool = False
    head: Literal["language", "score"] = "language"
    packs: bool = False
    value_model: bool = False
    settle: "Callable[[Any, DataSettings], tuple[Any, ExampleKind]] | None" = None
    soft_labels: bool = True
    by_task: bool = False
    first_loss: bool = False

    @property
    def draws_responses(self) -> bool:
        """Whether the policy writes the responses that it learns from."""
        return self.data == "prompts"

    @property
    def learns_answers(self) -> bool:
        """Whether it makes a policy from answers that the data holds, so that it can learn their reasoning, too."""
        return self.head == "language" and not self.draws_responses

    @property
    def learns_preferences(self) -> bool:
        """Whether it makes a policy from feedback, as a loop's second stage does."""
        return self.head == "language" and self.data != "supervised"

    def learning_rate(self, parameters: int, adapter: AdapterKind) -> float:
        """Return the peak learning rate for a base of so many parameters, to two digits."""
        low, high = self.small.learning_rate, self.large.learning_rate
        share = math.log(min(max(parameters, SMALL), LARGE) / SMALL) / math.log(LARGE / SMALL)
        rate = low * (high / low) ** share
        if adapter != "none":
            rate = ADAPTERS[adapter].learning_rate(rate)
        return float(f"{rate:.1e}")

    def batch_size(self, parameters: int, group: int, processes: int) -> int:
        """Return examples an optimiser step, of responses whole groups (`group` is 1 where none are drawn).

        Rounded up to what the processes can share.
        """
        wanted, unit = (self.small if parameters < _LARGE_BATCH_FROM else self.large).batch_size, processes
        if self.draws_responses:
            unit = math.lcm(processes, group)
            wanted = max(wanted, _GROUPS * group)
        return -(-wanted // unit) * unit

    def take_own(self, values: Mapping[str, Any]) -> Any:
        """Return the method's own settings from whatever of them is among the values; the rest has its default."""
        return self.own(**{each.name: values[each.name] for each in fields(self.own) if each.name in values})
