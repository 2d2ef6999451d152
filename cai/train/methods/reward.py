"""Reward models: a language model's body with one number on top, `AutoModelForSequenceClassification` with one label.

| objective | learns from | minimises |
|---|---|---|
| `bradley-terry` | pairs, with soft labels; or every two of ranked answers | -p log s(d) - (1-p) log s(-d) |
| `plackett-luce` | ranked answers, whole lists | the negative log-likelihood of the order |
| `regression` | scores: a table's, or those of a run made with `--select rubric` | the squared error |
| `ordinal` | scores in whole steps (1 to 7) | the negative log-likelihood of the step |

Here s is the logistic function, d the chosen answer's score less the rejected one's, p the probability that the chosen
one is better. The preference model of Constitutional AI (arXiv 2212.08073, section 4.1) learns from the judge's
probabilities as they are, because hard labels make it over-confident. `cai.train.rewards.objectives` is the table of
objectives, `cai.train.trainers.reward_equations` has the equations with their papers.

Where a prompt has several pairs they stay in one batch, as InstructGPT's do (`cai.train.trainers.prompt_batches`).

The model's body is the policy's to be; its head is new, so the seed has to be set before the model is loaded, and
models of several seeds differ in head and order: an ensemble (`cai.train.rewards.ensemble`). An answer is scored whole
or not at all: examples longer than the maximal length are left out.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from cai.core.errors import UsageError
from cai.data.examples.shaping import ExampleKind
from cai.train.methods.descriptor import TrainingMethod, large, option, small
from cai.train.rewards.objectives import OBJECTIVES, Objective, ObjectiveName
from cai.train.settings import DataSettings

if TYPE_CHECKING:
    from transformers import Trainer

    from cai.train.context import Context


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """A reward model's own: what it learns scores by, and what is held against two of their faults."""

    objective: ObjectiveName | None = option(
        None, "What it learns scores by (default: pairs give bradley-terry, tables of scores regression)."
    )
    labels: Literal["soft", "hard"] = option("soft", "The judge's probability of each pair, or certainty.")
    margin: float = option(
        0.0,
        "By how much a certain pair's better answer has to win, an uncertain one's by less; with hard labels.",
        least=0,
    )
    center_rewards: float = option(0.0, "Weight of holding the mean score of a prompt's answers at 0.", least=0)
    debias_length: bool = option(False, "Learn what length alone does not tell about an answer.")


def settle_objective(own: RewardSettings, data: DataSettings) -> tuple[RewardSettings, ExampleKind]:
    """Return the settings with their objective, and the kind of examples that it learns from.

    Raises UsageError for an option that the objective does not have, and as `load_examples` does.
    """
    from cai.train.data.examples import holds_scores

    if own.objective is None:
        own = replace(own, objective="regression" if holds_scores(data) else "bradley-terry")
    objective = chosen_objective(own)
    if own.objective != "bradley-terry" and (own.labels != "soft" or own.margin):
        raise UsageError(f"--objective {own.objective} has no pairs, so neither --labels nor --margin")
    if own.margin and own.labels == "soft":
        raise UsageError(
            "--margin says how certain a label is, as soft labels do themselves: give --labels hard with it"
        )
    if own.center_rewards and not objective.compares:
        raise UsageError(f"--center-rewards: of {own.objective} the data say where scores lie; leave it out")
    return own, objective.data


def chosen_objective(own: RewardSettings) -> Objective:
    """Return the objective's descriptor; it is settled."""
    return OBJECTIVES[str(own.objective)]


def build_reward(context: "Context") -> "Trainer":
    """Return the trainer for the objective; raises InputError when all examples are too long or teach nothing."""
    from trl import RewardConfig

    from cai.train.trainers.answer_scores import RankingTrainer, ScoreTrainer
    from cai.train.trainers.ordinal import OrdinalTrainer

    own = context.own(RewardSettings)
    if own.objective is None:  # a trainer that is built without a plan
        own = replace(own, objective="regression" if context.examples.kind == "scored" else "bradley-terry")
    arguments = {**context.arguments, "max_length": context.settings.fit.max_length}
    if own.objective == "bradley-terry":
        return _on_pairs(context, own, arguments)
    kinds = {"plackett-luce": RankingTrainer, "regression": ScoreTrainer, "ordinal": OrdinalTrainer}
    configuration = RewardConfig(**arguments, label_names=["labels"], remove_unused_columns=False)
    return kinds[str(own.objective)](context, own, configuration)


def _on_pairs(context: "Context", own: RewardSettings, arguments: dict[str, Any]) -> "Trainer":
    from trl import RewardConfig

    from cai.train.data.hard_labels import harden
    from cai.train.trainers.prompt_batches import batch_arguments, mark_elements
    from cai.train.trainers.reward_models import PairCollator, SoftRewardTrainer, with_margins

    train, test = context.examples.train, context.examples.test
    if own.labels == "hard":
        train, test = (None if split is None else harden(with_margins(split, own.margin)) for split in (train, test))
    marked, pairs = mark_elements(train)
    if pairs.largest > 1:
        train, test = marked, None if test is None else mark_elements(test)[0]
        arguments = batch_arguments(arguments, pairs, context.hardware.processes)
    return SoftRewardTrainer(
        debias_length=own.debias_length,
        model=context.model,
        args=RewardConfig(**arguments, center_rewards_coefficient=own.center_rewards or None),
        data_collator=PairCollator(pad_token_id=context.tokenizer.pad_token_id),
        train_dataset=train,
        eval_dataset=test,
        processing_class=context.tokenizer,
        peft_config=context.adapter,
    )


REWARD = TrainingMethod(
    name="reward",
    summary="A reward model from pairs, ranked answers, or scores.",
    description="a reward model (arXiv 2204.05862)",
    data="pairs",
    small=small(2e-4, "as dpo"),
    large=large(1e-5, "InstructGPT, arXiv 2203.02155, appendix C: 9e-6"),
    own=RewardSettings,
    sequences=2,
    head="score",
    settle=settle_objective,
    by_task=True,
    build=build_reward,
)
