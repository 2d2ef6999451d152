"""What every trainer is built from: the model, its tokenizer, the examples, and the numbers that were settled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cai.train.data.examples import Examples
from cai.train.hardware import Hardware
from cai.train.settings import TrainSettings

if TYPE_CHECKING:
    from peft import PeftConfig

Own = TypeVar("Own")


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a method's `build` function needs to return a TRL trainer, which `fit` then runs.

    The trainer is a `cai.train.trainers.base.BaseTrainer`. Its attribute `left_out`, a Counter, says how many examples
    it could not use, by reason.

    `settings.fit` has its open numbers filled in (epochs, learning rate, batch size, maximal length, packing), and
    `own` returns what the method itself has to be told.
    `arguments` are the keyword arguments that all TRL configurations share (output_dir, seed, batch sizes, learning
    rate, precision, logging, saving, evaluation); a method adds its own and passes all to its configuration class.
    `hardware` says how the machine is used, which `arguments` already reflect.
    `pretraining` are the supervised examples that PPO's policy is held up on, None without them.
    `adapter` is the PEFT configuration to hand to the trainer as `peft_config`, or None for full fine-tuning.
    """

    settings: TrainSettings
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapter: "PeftConfig | None"
    examples: Examples
    arguments: Mapping[str, Any]
    hardware: Hardware
    pretraining: Examples | None = None

    def own(self, kind: type[Own]) -> Own:
        """Return the method's own settings, which are of this kind."""
        own = self.settings.own
        assert isinstance(own, kind), f"{self.settings.method} has {type(own).__name__}"  # noqa: S101
        return own
