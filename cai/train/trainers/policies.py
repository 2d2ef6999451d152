"""GRPO's and RLOO's trainers: the reward is open while they train, and the reference is the policy as it was loaded.

The reference is a copy, or the policy without its adapter. Left alone, TRL would load one from the path in the model's
configuration, which is another model when an adapter was folded in or when training went before in memory.
"""

import copy
from collections import Counter
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel
from trl import GRPOTrainer, RLOOTrainer
from trl.models import prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from cai.core.counts import counted
from cai.core.errors import InputError
from cai.train.context import Context
from cai.train.rewards.adherence import AdherenceReward
from cai.train.rewards.scorer import ScoreReward
from cai.train.trainers.base import BaseTrainer

TOO_LONG = "prompt leaves no room for an answer"

Reward = AdherenceReward | ScoreReward
"""A TRL reward function that is open while training runs."""


class _Judged(BaseTrainer):
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
            leave = f"{counted(len(kept), 'prompt')} {'leaves' if len(kept) == 1 else 'leave'}"
            raise InputError(
                f"{leave} room for {configuration.max_completion_length} tokens of answer, and a batch takes {needed} "
                "of them: give more prompts, or lower --batch-size or --max-tokens"
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
