"""DPO (arXiv 2305.18290) whose labels may be soft, pair by pair.

With probability p that the chosen answer is better, and Δ the difference of the two log-ratios to the reference,

    L = -p·log sigmoid(β·Δ) - (1-p)·log sigmoid(-β·Δ)

which is conservative DPO (Mitchell, "A note on DPO with noisy preferences", 2023) with a p of each pair's own: the
soft-label form that GDPO (arXiv 2409.06691) sets out from. A pair with p below one half is turned round, which leaves L
as it is, so that the chosen answer is the likelier one: `--sft-term` adds its loss. How TRL is brought to it, and what
the reference is, is told in `cai.train.trainers.references`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cai.core.errors import UsageError
from cai.train.methods.descriptor import TrainingMethod, large, option, small

if TYPE_CHECKING:
    from transformers import Trainer

    from cai.train.context import Context


@dataclass(frozen=True, slots=True)
class DPOSettings:
    """DPO's own: β, what labels say, and the weight of an SFT term."""

    beta: float = option(0.1, "How strongly the policy is held to the reference (β).", above=0)
    labels: Literal["soft", "hard"] = option("soft", "The judge's probability of each pair, or certainty.")
    sft_term: float = option(0.0, "Weight of the better answer's own loss, the likelier one's by the label.", least=0)


def build_dpo(context: "Context") -> "Trainer":
    """Return the trainer, the reference's log-probabilities computed; raises InputError when no pair is left."""
    from trl import DPOConfig

    from cai.data.examples.labels import PROBABILITY
    from cai.train.data.hard_labels import directed, harden
    from cai.train.tasks.planning import is_ordered
    from cai.train.trainers.reference_cache import hash_model
    from cai.train.trainers.references import ProbabilityCollator, SoftDPOTrainer, reference_model

    own, fit = context.own(DPOSettings), context.settings.fit
    train, test = context.examples.train, context.examples.test
    if own.labels == "hard":
        train, test = harden(train), None if test is None else harden(test)
    elif PROBABILITY not in train.column_names:
        raise UsageError("--labels soft needs a column chosen_probability; use --labels hard")
    else:  # the loss is the same either way, but an SFT term is the chosen answer's
        train, test = directed(train), None if test is None else directed(test)
    with_sft = own.sft_term > 0
    configuration = DPOConfig(
        **context.arguments,
        max_length=fit.max_length,
        beta=own.beta,
        loss_type=["sigmoid", "sft"] if with_sft else ["sigmoid"],
        loss_weights=[1.0, own.sft_term] if with_sft else None,
        precompute_ref_log_probs=True,
    )
    return SoftDPOTrainer(
        model=context.model,
        ref_model=reference_model(context),
        weights=hash_model(context.model),
        args=configuration,
        data_collator=ProbabilityCollator(pad_token_id=context.tokenizer.pad_token_id, max_length=fit.max_length),
        train_dataset=train,
        most=None if is_ordered(context.settings.tasks) else _enough(fit.max_steps, fit.batch_size),
        eval_dataset=test,
        processing_class=context.tokenizer,
        peft_config=context.adapter,
    )


def _enough(max_steps: int | None, batch: int | None) -> int | None:
    """Return how many pairs the steps can look at, None for all: each costs a pass of the reference."""
    return None if max_steps is None or batch is None else max_steps * batch


DPO = TrainingMethod(
    name="dpo",
    summary="Direct preference optimisation on pairs, soft labels included.",
    description="direct preference optimisation (arXiv 2305.18290)",
    data="pairs",
    small=small(2e-4, "measured on the embedded model: 1e-4 to 3e-4; 2e-3 collapses"),
    large=large(5e-7, "HF alignment-handbook; the paper has 1e-6"),
    own=DPOSettings,
    sequences=2,
    by_task=True,
    build=build_dpo,
)
