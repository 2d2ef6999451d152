"""GRPO (arXiv 2402.03300) and RLOO (2402.14740): the policy answers prompts itself, and learns from rewards.

Reinforcement learning with PPO (1707.06347), as Constitutional AI did it, keeps a value model beside the policy. TRL
has dropped that trainer, and with it the value model. What replaces it: each prompt is answered several times
(`--group`), and a response's advantage is its reward less the group's mean, divided by the group's deviation (GRPO), or
less the mean of the others (RLOO, leave one out). The objective that is optimised is PPO's clipped one in both.

The reward is the constitution's judge (`adherence.py`) or a reward model (`scorer.py`). `--beta` holds the policy near
the model it started as: a KL term in GRPO's loss, a penalty on RLOO's reward. A response that the token limit cut gets
the lowest reward. Leaving it out of the loss (DAPO's overlong filtering, 2503.14476, section 3.4) was tried: on the
embedded model a policy that had once stopped ending its turns then learned nothing more, and its reward looked good.

The reference is a copy of the policy as it was loaded, or the policy without its adapter. Left alone, TRL would load
one from the path in the model's configuration, which is another model when an adapter was folded in or when training
went before in memory.
"""

import copy
from collections import Counter
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, Trainer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.models import prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from cai.constitution import load_constitution
from cai.core.errors import InputError, UsageError
from cai.method.templates import Templates
from cai.models import EngineOptions, open_engine
from cai.train.context import Context
from cai.train.finite import StopsAtNan
from cai.train.methods.adherence import AdherenceReward, EngineThread
from cai.train.methods.scorer import RewardModel

TOO_LONG = "prompt leaves no room for an answer"

Reward = AdherenceReward | RewardModel
"""A TRL reward function that is open while training runs."""


def build_grpo(context: Context) -> Trainer:
    """Return the trainer; the judge or reward model is opened when it starts to train and closed when it ends.

    Raises UsageError when no reward is named, or the batch does not hold whole groups.
    """
    configuration = GRPOConfig(**online_arguments(context))
    return JudgedGRPOTrainer(context, choose_reward(context, configuration.device), configuration)


def build_rloo(context: Context) -> Trainer:
    """Return the trainer, as `build_grpo` does."""
    configuration = RLOOConfig(**online_arguments(context))
    return JudgedRLOOTrainer(context, choose_reward(context, configuration.device), configuration)


def choose_reward(context: Context, device: torch.device) -> Reward:
    """Return the reward that the settings name, not yet open; raises UsageError.

    The judge is by default the model that training starts from, as it lies on the disk.
    """
    settings, online = context.settings, context.settings.online
    if (online.constitution is None) == (online.reward_model is None):
        raise UsageError(f"{settings.method} needs a reward: give either --constitution or --reward-model")
    if online.reward_model is not None:
        if online.judge is not None:
            raise UsageError("--judge goes with --constitution; a reward model scores by itself")
        return RewardModel(online.reward_model, device, end_tokens(context))
    constitution = load_constitution(str(online.constitution))
    spec = online.judge or settings.model
    options = EngineOptions(device=str(device))
    judge = EngineThread(lambda: open_engine(spec, options))
    return AdherenceReward(constitution, Templates.load(constitution.language), judge, end_tokens(context))


def end_tokens(context: Context) -> frozenset[int]:
    """Return the token ids that end a response, as TRL has it: the model's, the tokenizer's, and padding."""
    declared = context.model.generation_config.eos_token_id
    ids = declared if isinstance(declared, list) else [declared]
    known = (*ids, context.tokenizer.eos_token_id, context.tokenizer.pad_token_id)
    return frozenset(token for token in known if token is not None)


class _Judged(StopsAtNan):
    """What both trainers share; the first base of each, TRL's trainer being the second.

    `left_out` counts the prompts that leave no room for an answer in the model's context.
    """

    left_out: Counter[str]

    def __init__(self, context: Context, reward: Reward, configuration: Any) -> None:
        beta, reference = configuration.beta, None
        if beta and context.adapter is None:
            reference = copy.deepcopy(context.model)
            configuration.beta = 0.0  # so that TRL loads no reference of its own
        super().__init__(
            model=context.model,
            reward_funcs=[reward],
            args=configuration,
            train_dataset=self._answerable(context, configuration),
            processing_class=context.tokenizer,
            peft_config=context.adapter,
        )
        self._reward = reward
        if reference is not None:
            self.beta = configuration.beta = beta
            self.ref_model = self._prepared(reference)

    def train(self, *positional: Any, **keywords: Any) -> Any:
        """Train with the reward open; what the judge raises ends training."""
        with self._reward:
            return super().train(*positional, **keywords)

    def _save_checkpoint(self, *positional: Any, **keywords: Any) -> None:
        """Write one, but none of steps that nothing was learned in: the same command would take them for done.

        Raises EngineGoneError when the judge has answered nothing so far.
        """
        if isinstance(self._reward, AdherenceReward):
            self._reward.require_answers()
        super()._save_checkpoint(*positional, **keywords)

    def _answerable(self, context: Context, configuration: Any) -> Dataset:
        """Return the prompts that leave room; raises InputError when they do not make one batch."""
        text_config, prompts = context.model.config.get_text_config(), context.examples.train
        room = text_config.max_position_embeddings - configuration.max_completion_length

        def fits(row: dict[str, Any]) -> bool:
            encoded = context.tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)
            return bool(len(encoded["input_ids"]) <= room)

        kept = prompts.filter(fits)
        self.left_out = Counter({TOO_LONG: len(prompts) - len(kept)})
        needed = configuration.generation_batch_size // configuration.num_generations
        if len(kept) < needed:
            raise InputError(
                f"{len(kept)} prompts leave room for {configuration.max_completion_length} tokens of answer, and a "
                f"batch takes {needed} of them: give more prompts, or lower --batch-size or --max-tokens"
            )
        return kept

    def _prepared(self, reference: PreTrainedModel) -> Any:
        """Return the frozen reference as TRL prepares its own: sharded, or on the device."""
        reference = reference.eval().requires_grad_(False)
        disable_dropout_in_model(reference)
        add_fused_lm_head(reference, temperature=self.temperature)
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(reference, self.accelerator)
        if self.is_fsdp_enabled:
            return prepare_fsdp(reference, self.accelerator)
        return self.accelerator.prepare_model(reference, evaluation_mode=True)


class JudgedGRPOTrainer(_Judged, GRPOTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's GRPO, the reference and the reward as the module says."""


class JudgedRLOOTrainer(_Judged, RLOOTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's RLOO, the reference and the reward as the module says."""


def online_arguments(context: Context) -> dict[str, Any]:
    """Return the configuration's arguments; raises UsageError when the batch does not hold whole groups."""
    online, batch = context.settings.online, context.settings.fit.batch_size
    if online.group < 2:
        raise UsageError(f"--group {online.group}: a response is compared with others, so a group has two at least")
    if batch is None or batch % online.group:
        raise UsageError(f"--batch-size {batch} counts responses: give a multiple of --group, which is {online.group}")
    return {
        **context.arguments,
        "num_generations": online.group,
        "max_completion_length": online.max_tokens,
        "temperature": online.temperature,
        "beta": online.kl_penalty,
        "disable_dropout": True,
        "use_vllm": False,
    }
