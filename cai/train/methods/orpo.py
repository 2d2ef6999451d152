"""ORPO (arXiv 2403.07691): SFT on the chosen answer and an odds-ratio term against the rejected one, in one stage.

There is no reference. `--beta` is the paper's λ, the weight of the odds-ratio term (equation 6). The odds ratio has no
probability of its own to be soft with: labels are taken as certain, as `cai.train.data.hard_labels` says.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cai.core.errors import ModelError
from cai.train.methods.descriptor import TrainingMethod, large, option, small

if TYPE_CHECKING:
    from transformers import Trainer

    from cai.train.context import Context


@dataclass(frozen=True, slots=True)
class ORPOSettings:
    """ORPO's own."""

    beta: float = option(0.1, "Weight of the odds ratio (the paper's λ).", above=0)


def build_orpo(context: "Context") -> "Trainer":
    """Return the trainer; raises InputError when no pair is left within the maximal length.

    Raises ModelError when TRL has no such trainer any more.
    """
    try:
        from cai.train.trainers.odds_ratio import AnswerORPOTrainer, ORPOConfig
    except ImportError as error:  # it is experimental there, and PPO, BCO and XPO were removed before
        raise ModelError(f"orpo needs the ORPO trainer of TRL 1.16, which this TRL lacks ({error})") from error

    from cai.data.examples.labels import PROBABILITY
    from cai.train.data.hard_labels import directed

    test = context.examples.test
    return AnswerORPOTrainer(
        model=context.model,
        args=ORPOConfig(
            # TRL's collator for pairs wants every column, and says so on each start.
            **{**context.arguments, "remove_unused_columns": False},
            max_length=context.settings.fit.max_length,
            beta=context.own(ORPOSettings).beta,
        ),
        train_dataset=directed(context.examples.train).remove_columns(PROBABILITY),
        eval_dataset=None if test is None else directed(test).remove_columns(PROBABILITY),
        processing_class=context.tokenizer,
        peft_config=context.adapter,
    )


ORPO = TrainingMethod(
    name="orpo",
    summary="Odds-ratio preference optimisation: SFT and preference in one.",
    description="odds-ratio preference optimisation (arXiv 2403.07691)",
    data="pairs",
    small=small(5e-4, "as sft, whose loss it contains"),
    large=large(8e-6, "ORPO, arXiv 2403.07691, section 6"),
    own=ORPOSettings,
    sequences=2,
    soft_labels=False,
    whole_logits=True,
    by_task=True,
    first_loss=True,
    build=build_orpo,
)
