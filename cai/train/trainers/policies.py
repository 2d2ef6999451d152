"""GRPO's and RLOO's trainers: the reward is open while they train, and the reference is the policy as it was loaded.

The reference is a copy, or the policy without its adapter. Left alone, TRL would load one from the path in the model's
configuration, which is another model when an adapter was folded in or when training went before in memory.
"""

import copy
from typing import Any

from transformers import PreTrainedModel
from trl import GRPOTrainer, RLOOTrainer
from trl.models import prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from cai.train.context import Context
from cai.train.trainers.rewarded import Reward, Rewarded, answerable


class _Judged(Rewarded):
    """What both trainers share; the first base of each, TRL's trainer being the second."""

    def __init__(self, context: Context, reward: Reward, configuration: Any) -> None:
        beta, reference = configuration.beta, None
        groups = configuration.generation_batch_size // configuration.num_generations
        prompts, self.left_out = answerable(context, configuration.max_completion_length, groups)
        if beta and context.adapter is None:
            reference = copy.deepcopy(context.model)
            configuration.beta = 0.0  # so that TRL loads no reference of its own
        super().__init__(
            model=context.model,
            reward_funcs=[reward],
            args=configuration,
            train_dataset=prompts,
            processing_class=context.tokenizer,
            peft_config=context.adapter,
        )
        self._reward = reward
        if reference is not None:
            self.beta = configuration.beta = beta
            self.ref_model = self._prepared(reference)

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
