"""GRPO's and RLOO's trainers: the reward is open while they train, and the reference is the policy as it was loaded.

Answers are drawn by cai's own engine from the weights that are trained (`rollouts.py`), each by a seed of its own, so
that a resumed run draws what the undisturbed one would have. Where the engine cannot read them in place (weights that
are sharded over devices, adapters that stand outside the layers, layers that keep a state in place of a cache) TRL
draws as it always does, and that is said.

The reference is a copy, or the policy without its adapter. Left alone, TRL would load one from the path in the model's
configuration, which is another model when an adapter was folded in or when training went before in memory.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel
from trl import GRPOTrainer, RLOOTrainer
from trl.models import prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import RepeatSampler, add_fused_lm_head, disable_dropout_in_model

from cai.core.errors import ModelError
from cai.core.identity import derive_seed
from cai.models.base import Sampling
from cai.train.context import Context
from cai.train.trainers.rewarded import Reward, Rewarded, answerable
from cai.train.trainers.rollouts import Rollouts


def open_rollouts(trainer: Any, max_tokens: int) -> Rollouts | None:
    """Return what draws from a trainer's policy as it is, or None where its weights cannot be read in place."""
    policy: Any = trainer.model
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return None
    if isinstance(policy, PeftModel):
        if policy.active_peft_config.is_prompt_learning:
            return None
        policy = policy.get_base_model()
    try:
        sampling = Sampling(trainer.temperature, max_tokens=max_tokens)
        return Rollouts(policy, trainer.args.device, trainer.eos_token_ids, sampling, trainer.accelerator.autocast)
    except ModelError:
        return None


class _EpochSampler(RepeatSampler):  # type: ignore[misc]  # trl is not followed
    """TRL's order of prompts, drawn from the seed and the epoch alone.

    Left alone, TRL draws every epoch from one generator, so that a process that goes on in a later epoch takes the
    first one's prompts.
    """

    def __init__(self, whole: RepeatSampler) -> None:
        """Repeat what `whole` repeats, as often."""
        counts = (whole.mini_repeat_count, whole.batch_size, whole.repeat_count)
        super().__init__(whole.data_source, *counts, whole.shuffle, whole.seed)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(derive_seed(self.seed, "order", self._epoch))
        yield from super().__iter__()


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
        self._rollouts = open_rollouts(self, configuration.max_completion_length)
        if self._rollouts is None:
            self.remarks = ("TRL draws the answers: the project's engine cannot read these weights in place",)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> _EpochSampler:
        return _EpochSampler(super()._get_train_sampler(train_dataset))

    def _draw(self, rollouts: Rollouts, prompts: Sequence[list[int]]) -> list[list[int]]:
        place = (self.state.global_step, self.args.process_index)
        seeds = [derive_seed(self.args.seed, "rollout", *place, number) for number in range(len(prompts))]
        return rollouts.draw(prompts, seeds)

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
    """TRL's GRPO; reference, reward and answers as the module says."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **more: Any) -> Any:
        """Return the answers as token ids; their log-probabilities are left to the trainer."""
        if self._rollouts is None:
            return super()._generate_single_turn(prompt_ids, *rest, **more)
        return self._draw(self._rollouts, prompt_ids), None


class JudgedRLOOTrainer(_Judged, RLOOTrainer):  # type: ignore[misc]  # trl is not followed
    """TRL's RLOO; reference, reward and answers as the module says."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **more: Any) -> Any:
        """Return the answers as token ids."""
        if self._rollouts is None:
            return super()._generate_single_turn(prompt_ids, *rest, **more)
        return self._draw(self._rollouts, prompt_ids)
