"""What all trainers share whose policy answers prompts itself: the reward is open while they train."""

from collections import Counter
from typing import Any

from datasets import Dataset

from cai.core.counts import counted
from cai.core.errors import InputError
from cai.train.context import Context
from cai.train.rewards.adherence import AdherenceReward
from cai.train.rewards.scorer import ScoreReward
from cai.train.trainers.base import BaseTrainer

TOO_LONG = "prompt leaves no room for an answer"

Reward = AdherenceReward | ScoreReward
"""A TRL reward function that is open while training runs."""


class Rewarded(BaseTrainer):
    """The first base of such a trainer, the algorithm being the second; who builds it sets `_reward`.

    `left_out` counts the prompts that leave no room for an answer in the model's context.
    """

    _reward: Reward

    def train(self, *positional: Any, **keywords: Any) -> Any:
        """Train with the reward open; what the judge raises ends training."""
        with self._reward:
            return super().train(*positional, **keywords)

    def _save_checkpoint(self, *positional: Any, **keywords: Any) -> None:
        """Write one, but none of steps that nothing was learned in: the same command would take them for done.

        Raises CaiError when nothing was rewarded so far.
        """
        self._reward.require_answers()
        super()._save_checkpoint(*positional, **keywords)


def answerable(context: Context, max_tokens: int, needed: int) -> tuple[Dataset, Counter[str]]:
    """Return the prompts that leave room for `max_tokens` of answer, and how many do not, by reason.

    Raises InputError when they do not make one batch of `needed` prompts.
    """
    prompts = context.examples.train
    length = getattr(context.model.config.get_text_config(), "max_position_embeddings", None)
    virtual = getattr(context.adapter, "num_virtual_tokens", None) or 0  # they take places of their own
    room = None if length is None else length - virtual - max_tokens

    def fits(row: dict[str, Any]) -> bool:
        encoded = context.tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)
        return room is None or len(encoded["input_ids"]) <= room

    kept = prompts if room is None else prompts.filter(fits)
    if len(kept) < needed:
        leave = f"{counted(len(kept), 'prompt')} {'leaves' if len(kept) == 1 else 'leave'}"
        raise InputError(
            f"{leave} room for {max_tokens} tokens of answer, and a batch takes {needed} of them: give more prompts, "
            "or lower --batch-size or --max-tokens"
        )
    return kept, Counter({TOO_LONG: len(prompts) - len(kept)})
