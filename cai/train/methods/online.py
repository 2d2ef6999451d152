"""GRPO (arXiv 2402.03300) and RLOO (2402.14740): the policy answers prompts itself, and learns from rewards.

Reinforcement learning with PPO (1707.06347), as Constitutional AI did it, keeps a value model beside the policy. TRL
has dropped that trainer, and with it the value model. What replaces it: each prompt is answered several times
(`--group`), and a response's advantage is its reward less the group's mean, divided by the group's deviation (GRPO), or
less the mean of the others (RLOO, leave one out). The objective that is optimised is PPO's clipped one in both.

The reward is the constitution's judge (`cai.train.rewards.adherence`), a reward model (`cai.train.rewards.scorer`) or
an ensemble of several (`cai.train.rewards.ensemble`).
`--kl-penalty` holds the policy near the model it started as: a KL term in GRPO's loss, a penalty on RLOO's reward. A
response that is empty, or that the token limit cut, gets the lowest reward. Leaving it out of the loss (DAPO's overlong
filtering, 2503.14476, section 3.4) was tried: on the embedded model a policy that had once stopped ending its turns
then learned nothing more, and its reward looked good.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cai.core.errors import UsageError
from cai.models.checkpoint.resolve import Checkpoint
from cai.models.checkpoint.reward import reward_model_name
from cai.models.jury import members_of
from cai.models.spec import ModelSpec
from cai.train.methods.descriptor import TrainingMethod, large, option, small
from cai.train.rewards.ensemble import EnsembleName

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

    from cai.train.context import Context
    from cai.train.trainers.rewarded import Reward


@dataclass(frozen=True, slots=True)
class OnlineSettings:
    """GRPO's and RLOO's own: who rewards (a constitution's judge, or a reward model), and how responses are drawn."""

    constitution: str | None = option(None, "Whose judge rewards; a YAML file or a shipped one's name.")
    judge: ModelSpec | None = option(
        None, "The model that judges, or several with commas (default: the model as it was before training)."
    )
    reward_model: tuple[Path, ...] = option(
        (), "From `cai train reward`; repeated, for several are an ensemble that is careful where they disagree."
    )
    ensemble: EnsembleName = option(
        "penalty", "Of several reward models: their mean less --disagreement deviations, or the lowest score."
    )
    disagreement: float = option(1.0, "Deviations of several reward models that their mean is lowered by.", least=0)
    reward: Literal["adherence", "rubric"] = option(
        "adherence",
        "What the judge rewards: principles kept, or points of the constitution's and the prompts' criteria.",
    )
    group: int = option(8, "Responses a prompt.", least=1)
    temperature: float = option(1.0, "Of the responses that are drawn.", above=0)
    max_tokens: int = option(256, "Tokens a response.", least=1)
    kl_penalty: float = option(0.04, "How strongly the policy is held to the reference (TRL's beta).", least=0)


def build_grpo(context: "Context") -> "Trainer":
    """Return the trainer; the judge or reward model is opened when it starts to train and closed when it ends.

    Raises UsageError when no reward is named, or the batch does not hold whole groups.
    """
    from trl import GRPOConfig

    from cai.train.trainers.policies import JudgedGRPOTrainer

    configuration = GRPOConfig(**online_arguments(context))
    return JudgedGRPOTrainer(context, choose_reward(context, configuration.device), configuration)


def build_rloo(context: "Context") -> "Trainer":
    """Return the trainer, as `build_grpo` does."""
    from trl import RLOOConfig

    from cai.train.trainers.policies import JudgedRLOOTrainer

    configuration = RLOOConfig(**online_arguments(context))
    return JudgedRLOOTrainer(context, choose_reward(context, configuration.device), configuration)


def name_reward(own: OnlineSettings, model: ModelSpec) -> dict[str, str]:
    """Return what names who rewards, under the options' names: by content, for a path may come to hold something else.

    `model` judges where nobody else is named. Raises CaiError where the constitution, or a judge's files, cannot be.
    """
    from cai.constitution import load_constitution

    named: dict[str, str] = {}
    if own.reward_model:
        named["reward-model"] = ", ".join(map(reward_model_name, own.reward_model))
    if own.constitution is not None:
        named["constitution"] = load_constitution(own.constitution).label
        named["judge"] = " and ".join(map(_judge_name, members_of(own.judge or model)))
    return named


def _judge_name(spec: ModelSpec) -> str:
    """Return a judge as its engine will be called, but for the precision; a server's model as it was typed."""
    return str(spec) if spec.files is None else Checkpoint.resolve(spec.files).provenance(spec.kind)


def choose_reward(context: "Context", device: "torch.device") -> "Reward":
    """Return the reward that the settings name, not yet open; raises UsageError.

    The judge is by default the model that training starts from, as it lies on the disk.
    """
    from cai.constitution import load_constitution
    from cai.method.templates import Templates
    from cai.models import EngineOptions, open_engine
    from cai.train.rewards.adherence import AdherenceReward, EngineThread
    from cai.train.rewards.scorer import ScoreReward

    settings, own = context.settings, context.own(OnlineSettings)
    if (own.constitution is None) == (not own.reward_model):
        raise UsageError(f"{settings.method} needs a reward: give either --constitution or --reward-model")
    if len(own.reward_model) < 2 and (own.ensemble, own.disagreement) != ("penalty", 1.0):
        raise UsageError("--ensemble and --disagreement go with several --reward-model: give two or more")
    if own.ensemble == "worst" and own.disagreement != 1.0:
        raise UsageError(
            f"--disagreement {own.disagreement:g} lowers the mean of --ensemble penalty, and worst takes no mean: "
            "leave one of the two out"
        )
    if own.reward_model:
        if own.reward != "adherence":
            raise UsageError(f"--reward {own.reward} goes with --constitution; a reward model scores by itself")
        if own.judge is not None:
            raise UsageError("--judge goes with --constitution; a reward model scores by itself")
        return ScoreReward(own.reward_model, device, end_tokens(context), own.ensemble, own.disagreement)
    constitution = load_constitution(str(own.constitution))
    spec = own.judge or settings.model
    options = EngineOptions(device=str(device))
    judge = EngineThread(lambda: open_engine(spec, options))
    if own.reward == "rubric" and not constitution.rubric and not _have_criteria(context):
        raise UsageError(
            "--reward rubric needs criteria: give the constitution a `rubric`, or the prompts a column of that name"
        )
    templates = Templates.load(constitution.language)
    return AdherenceReward(constitution, templates, judge, end_tokens(context), own.reward)


def _have_criteria(context: "Context") -> bool:
    prompts = context.examples.train
    return "rubric" in prompts.column_names and any(prompts["rubric"])


def end_tokens(context: "Context") -> frozenset[int]:
    """Return the token ids that end a response, as TRL has it: the model's, the tokenizer's, and padding."""
    declared = context.model.generation_config.eos_token_id
    ids = declared if isinstance(declared, list) else [declared]
    known = (*ids, context.tokenizer.eos_token_id, context.tokenizer.pad_token_id)
    return frozenset(token for token in known if token is not None)


def online_arguments(context: "Context") -> dict[str, Any]:
    """Return the configuration's arguments; raises UsageError when the batch does not hold whole groups."""
    own, batch = context.own(OnlineSettings), context.settings.fit.batch_size
    if batch is None or batch % own.group:
        raise UsageError(f"--batch-size {batch} counts responses: give a multiple of --group, which is {own.group}")
    return {
        **context.arguments,
        "num_generations": own.group,
        "max_completion_length": own.max_tokens,
        "temperature": own.temperature,
        "beta": own.kl_penalty,
        "disable_dropout": True,
        "use_vllm": False,
    }


GRPO = TrainingMethod(
    name="grpo",
    summary="PPO's clipped objective with a group baseline, rewarded by a judge or a model.",
    description="group-relative policy optimisation (arXiv 2402.03300)",
    data="prompts",
    small=small(2e-4, "as dpo"),
    large=large(1e-6, "GRPO, arXiv 2402.03300, section 4.1"),
    own=OnlineSettings,
    build=build_grpo,
)

RLOO = TrainingMethod(
    name="rloo",
    summary="REINFORCE with a leave-one-out baseline, rewarded by a judge or a model.",
    description="REINFORCE leave-one-out (arXiv 2402.14740)",
    data="prompts",
    small=small(2e-4, "as dpo"),
    large=large(1e-6, "as grpo"),
    own=OnlineSettings,
    build=build_rloo,
)
