"""KTO (arXiv 2402.01306): learning from single answers that are good or bad, without pairs.

Prospect theory's asymmetry is in two weights. The paper asks (equation 8) that the weight of all good answers together
be 1 to 4/3 of that of all bad ones; we take 1: the rarer side is weighted up to the other's size.

TRL estimates the KL term from neighbours in a batch, so the examples are seen in the order they are in, and a
micro-batch holds two at least. What the reference is, is told in `cai.train.trainers.references`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cai.core.errors import InputError, UsageError
from cai.train.methods.descriptor import TrainingMethod, large, option, small

if TYPE_CHECKING:
    from transformers import Trainer

    from cai.train.context import Context


@dataclass(frozen=True, slots=True)
class KTOSettings:
    """KTO's own."""

    beta: float = option(0.1, "How strongly the policy is held to the reference (β).", above=0)


def build_kto(context: "Context") -> "Trainer":
    """Return the trainer, the reference's log-probabilities computed.

    Raises InputError when good or bad answers are missing, UsageError when a micro-batch would hold a single example.
    """
    from trl import KTOConfig

    from cai.train.trainers.reference_cache import hash_model
    from cai.train.trainers.references import LoadedReferenceKTOTrainer, reference_model

    if context.arguments["per_device_train_batch_size"] < 2:
        raise UsageError("kto compares the answers of a batch, and one fits at a time: give a smaller --max-length")
    desirable, undesirable = balanced_weights(context.examples.train["label"])
    configuration = KTOConfig(
        **{**context.arguments, "train_sampling_strategy": "sequential"},
        max_length=context.settings.fit.max_length,
        beta=context.own(KTOSettings).beta,
        desirable_weight=desirable,
        undesirable_weight=undesirable,
        precompute_ref_log_probs=True,
    )
    return LoadedReferenceKTOTrainer(
        model=context.model,
        ref_model=reference_model(context),
        weights=hash_model(context.model),
        args=configuration,
        train_dataset=context.examples.train,
        eval_dataset=context.examples.test,
        processing_class=context.tokenizer,
        peft_config=context.adapter,
    )


def balanced_weights(labels: Any) -> tuple[float, float]:
    """Return the weights of good and bad answers, 1 for the side that has more; raises InputError when one has none.

    Law: good answers times their weight are bad answers times theirs.
    """
    good = sum(map(bool, labels))
    bad = len(labels) - good
    if not good or not bad:
        raise InputError(f"kto learns from good and bad answers, and the data has {good} good and {bad} bad ones")
    most = max(good, bad)
    return most / good, most / bad


KTO = TrainingMethod(
    name="kto",
    summary="Kahneman-Tversky optimisation on responses that are good or bad.",
    description="Kahneman-Tversky optimisation (arXiv 2402.01306)",
    data="labelled",
    small=small(2e-4, "as dpo"),
    large=large(5e-7, "KTO, arXiv 2402.01306, section 4"),
    own=KTOSettings,
    sequences=2,
    whole_logits=True,
    build=build_kto,
)
