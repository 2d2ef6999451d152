"""Reward models: a language model's body with one number on top, `AutoModelForSequenceClassification` with one label.

| examples | loss |
|---|---|
| `pairs` | Bradley-Terry with soft labels: -p log s(d) - (1-p) log s(-d) |
| `scored` | regression: the squared error of the score, in the data's own unit |

Here s is the logistic function, d the chosen answer's score less the rejected one's, p the probability that the chosen
one is better. The preference model of Constitutional AI (arXiv 2212.08073, section 4.1) learns from the judge's
probabilities as they are, because hard labels make it over-confident.

Where a prompt has several pairs they stay in one batch, as InstructGPT's do (`cai.train.trainers.prompt_batches`).

The model's body is the policy's to be; its head is new, so the seed has to be set before the model is loaded. An answer
is scored whole or not at all: examples longer than the maximal length are left out.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cai.train.methods.descriptor import TrainingMethod, large, option, small

if TYPE_CHECKING:
    from transformers import Trainer

    from cai.train.context import Context


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """A reward model's own."""

    labels: Literal["soft", "hard"] = option("soft", "The judge's probability of each pair, or certainty.")


def build_reward(context: "Context") -> "Trainer":
    """Return the trainer for the examples' kind; raises InputError when all of them are too long."""
    from trl import RewardConfig

    from cai.train.data.hard_labels import harden
    from cai.train.trainers.prompt_batches import batch_arguments, mark_elements
    from cai.train.trainers.reward_models import PairCollator, ScoreTrainer, SoftRewardTrainer

    arguments = {**context.arguments, "max_length": context.settings.fit.max_length}
    if context.examples.kind == "scored":
        return ScoreTrainer(context, RewardConfig(**arguments, label_names=["labels"]))
    train, test = context.examples.train, context.examples.test
    if context.own(RewardSettings).labels == "hard":
        train, test = harden(train), None if test is None else harden(test)
    marked, pairs = mark_elements(train)
    if pairs.largest > 1:
        train, test = marked, None if test is None else mark_elements(test)[0]
        arguments = batch_arguments(arguments, pairs, context.hardware.processes)
    return SoftRewardTrainer(
        model=context.model,
        args=RewardConfig(**arguments),
        data_collator=PairCollator(pad_token_id=context.tokenizer.pad_token_id),
        train_dataset=train,
        eval_dataset=test,
        processing_class=context.tokenizer,
        peft_config=context.adapter,
    )


REWARD = TrainingMethod(
    name="reward",
    summary="A reward model from pairs (Bradley-Terry) or scores (regression).",
    description="a Bradley-Terry reward model (arXiv 2204.05862)",
    data="pairs",
    small=small(2e-4, "as dpo"),
    large=large(1e-5, "InstructGPT, arXiv 2203.02155, appendix C: 9e-6"),
    own=RewardSettings,
    sequences=2,
    head="score",
    takes_scores=True,
    build=build_reward,
)
