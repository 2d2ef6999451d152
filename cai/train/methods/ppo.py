"""PPO as language models were first trained with it: policy, reference, reward, and a value model beside the policy.

A step draws responses from the policy (`--batch-size` of them, `--group` a prompt) and rewards each at its end, as for
`grpo`. Every token pays for how much likelier the policy makes it than the reference does (`--kl-penalty`, which
`--kl-target` steers). The value model says what is to be expected from each token on; generalised advantage estimation
makes of both what a token was better for than that. Then policy and value model learn from the same responses several
times (`--rollout-epochs`, in `--minibatches`), each held near where the step began by clipping. The equations, each
with its paper, are in `cai.train.trainers.ppo_equations`.

So did "Learning to summarize from human feedback" (arXiv 2009.01325), InstructGPT (2203.02155) and Constitutional AI
(2212.08073). InstructGPT's mix with pre-training (PPO-ptx) is `--pretraining-data`: every token of a text is learned,
and of conversations what the assistant says, as by `sft`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.train.adapters import ADAPTERS
from cai.train.methods.descriptor import TrainingMethod, large, option, small
from cai.train.methods.online import OnlineSettings, choose_reward
from cai.train.methods.reward import REWARD

if TYPE_CHECKING:
    from transformers import Trainer

    from cai.train.context import Context


@dataclass(frozen=True, slots=True)
class PPOSettings(OnlineSettings):
    """What PPO has beside GRPO's and RLOO's: discount, λ, clipping, both coefficients, and the value model's rate."""

    discount: float = option(1.0, "Gamma: what a token's reward is worth one token earlier.", above=0)
    gae_lambda: float = option(0.95, "Lambda: 1 takes whole returns as advantages, 0 looks one token ahead.", least=0)
    clip: float = option(0.2, "Epsilon: how far a token's probability ratio is rewarded for moving.", above=0)
    value_clip: float = option(0.2, "How far a value may gain by moving in one step.", above=0)
    rollout_epochs: int = option(4, "Times that a step's responses are learned from.", least=1)
    minibatches: int = option(1, "Updates in each of those times.", least=1)
    kl_target: float | None = option(
        None, "Nats a response that --kl-penalty is steered to (default: it stays as it is).", above=0
    )
    reward_clip: float = option(
        5.0, "Rewards count in deviations from their mean, cut off at so many; 0 takes them as they are.", least=0
    )
    value_learning_rate: float | None = option(None, "The value model's, at its peak (default: as reward).", above=0)
    pretraining_data: DataSource | None = option(
        None, "Texts or answers whose likelihood is held up meanwhile (PPO-ptx)."
    )
    pretraining_weight: float = option(1.0, "Of their loss beside the policy's.", above=0)


def build_ppo(context: "Context") -> "Trainer":
    """Return the trainer; the judge or reward model is opened when it starts to train and closed when it ends.

    Raises UsageError when no reward is named, or the numbers do not fit together.
    """
    from transformers import TrainingArguments

    from cai.train.trainers.ppo import PPOTrainer
    from cai.train.trainers.ppo_batches import pretraining_pieces

    own, arguments = context.own(PPOSettings), dict(context.arguments)
    _check(context, own)
    arguments |= {
        "per_device_train_batch_size": _share(context, own) // own.group,  # prompts: a step draws all its responses
        "gradient_accumulation_steps": 1,
        "remove_unused_columns": False,
        "dataloader_drop_last": True,
    }
    configuration = TrainingArguments(**arguments)
    reward = choose_reward(context, configuration.device)
    texts, nothing = pretraining_pieces(context)
    trainer = PPOTrainer(context, reward, configuration, texts)
    trainer.left_out.update(nothing)
    return trainer


def value_rate(context: "Context") -> float:
    """Return the value model's peak learning rate: the one given, else what `reward` trains such a model with."""
    given = context.own(PPOSettings).value_learning_rate
    parameters = sum(weight.numel() for weight in context.model.parameters())
    return given or REWARD.learning_rate(parameters, context.settings.adapter.adapter)


def _share(context: "Context", own: PPOSettings) -> int:
    """Return the responses that one process draws in a step."""
    batch, processes = context.settings.fit.batch_size, context.hardware.processes
    if batch is None or batch % (own.group * processes):
        raise UsageError(
            f"--batch-size {batch} counts responses: give a multiple of --group, which is {own.group}"
            f"{f', times the {processes} processes' if processes > 1 else ''}"
        )
    return batch // processes


def _check(context: "Context", own: PPOSettings) -> None:
    share, adapter = _share(context, own), context.settings.adapter.adapter
    for name, value in (("discount", own.discount), ("gae-lambda", own.gae_lambda)):
        if value > 1:
            raise UsageError(f"--{name} {value:g} is more than 1: what is later would count for more")
    if share % own.minibatches:
        raise UsageError(f"--minibatches {own.minibatches} do not share {share} responses evenly")
    if own.pretraining_weight != 1 and own.pretraining_data is None:
        raise UsageError("--pretraining-weight goes with --pretraining-data")
    if own.kl_target is not None and not own.kl_penalty:
        raise UsageError("--kl-target steers --kl-penalty, which has to begin above 0")
    if adapter != "none" and ADAPTERS[adapter].virtual:
        raise UsageError(f"ppo trains a value model with the same adapter, which {adapter} is none for: use lora")


PPO = TrainingMethod(
    name="ppo",
    summary="PPO with a value model, rewarded by a judge or a model.",
    description="proximal policy optimisation (arXiv 1707.06347) as in InstructGPT (2203.02155)",
    data="prompts",
    small=small(2e-4, "as dpo"),
    large=large(1e-6, "as grpo"),
    own=PPOSettings,
    sequences=2,  # the policy reads a response, and the value model does
    whole_logits=True,
    value_model=True,
    build=build_ppo,
)
