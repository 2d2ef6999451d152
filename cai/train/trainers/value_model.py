"""PPO's value model, and the policy beside it as one module, which a trainer wraps, steps and watches as one.

The value model is a model of its own with one number on top of every token: a shared body would let the value loss
spoil the policy early on (2009.01325, section 3.4). It starts as the reward model where one rewards and reads the
policy's tokens (the same section; 2203.02155, appendix C.4), else as the policy with a head of zeros, that is with no
opinion. With an adapter it gets an adapter of the same kind, on the policy's own frozen weights where it starts as the
policy: those are held once. Where it starts as the reward model, it is on a frozen copy of that.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import TaskType, get_peft_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cai.models.reward_model import load_reward_model, reads_the_same
from cai.train.context import Context
from cai.train.rewards.ensemble import Scale

_CHUNK = 4096  # tokens whose logits over the whole vocabulary are held at once


class ValueModel(nn.Module):
    """A transformer without a language head, and one number a token: `body` and `head`."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        """Return the value of the state behind every token, shape (rows, tokens)."""
        states = self.body(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state
        values: Tensor = self.head(states.to(self.head.weight.dtype)).squeeze(-1).float()
        return values

    def rescale(self, mean: float, deviation: float) -> None:
        """Count values in deviations from the mean from now on."""
        with torch.no_grad():
            self.head.weight.div_(deviation)
            self.head.bias.sub_(mean).div_(deviation)


class PolicyAndValue(nn.Module):
    """Both models that PPO trains; see `forward`."""

    def __init__(self, policy: Any, value: ValueModel) -> None:
        super().__init__()
        self.policy = policy
        self.value = value

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        width: int,
        temperature: float,
        text_ids: Tensor | None = None,
        text_mask: Tensor | None = None,
        text_learned: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return what both say of the last `width` tokens of each row, each of shape (rows, width).

        `log_probs` and `entropies` are the policy's at the temperature, in nats; `values` are those of the states in
        which the tokens were drawn. With `text_ids`, whose tokens `text_mask` shows, `text_losses` are the negative
        log-likelihoods of those after the first that `text_learned` shows, summed over all: a scalar.
        """
        positions = (attention_mask.cumsum(-1) - 1).clamp_min(0)
        told, entropies = log_probs(self.policy, input_ids, attention_mask, width, temperature)
        found = {"log_probs": told, "entropies": entropies}
        found["values"] = self.value(input_ids, attention_mask, positions)[:, -width - 1 : -1]
        if text_ids is not None and text_mask is not None and text_learned is not None:
            told = log_probs(self.policy, text_ids, text_mask, text_ids.shape[1] - 1, 1.0)[0]
            found["text_losses"] = -(told * text_learned[:, 1:]).sum()
        return found

    def gradient_checkpointing_enable(self, *arguments: Any, **keywords: Any) -> None:
        """Let both bodies compute their layers' activations again in the backward pass, as transformers asks."""
        models: tuple[Any, Any] = (self.policy, self.value.body)
        for model in models:
            model.gradient_checkpointing_enable(*arguments, **keywords)
            if not next(model.parameters()).requires_grad:  # an adapter's base is frozen: gradients begin behind it
                model.enable_input_require_grads()


def log_probs(
    policy: Any, input_ids: Tensor, attention_mask: Tensor, width: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and entropies, in nats, of each row's last `width` tokens, shape (rows, width).

    The logits over the whole vocabulary are turned into them in pieces, and again in the backward pass.
    """
    positions = (attention_mask.cumsum(-1) - 1).clamp_min(0)
    logits = policy(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=positions,
        use_cache=False,
        logits_to_keep=width + 1,
    ).logits[:, :-1]
    targets = input_ids[:, -width:]
    rows, aims = torch.split(logits.flatten(0, 1), _CHUNK), torch.split(targets.flatten(), _CHUNK)
    pieces = [
        checkpoint(_told, row, aim, temperature, use_reentrant=False, preserve_rng_state=False)
        for row, aim in zip(rows, aims, strict=True)
    ]
    told, entropies = (torch.cat(parts).view(targets.shape) for parts in zip(*pieces, strict=True))
    return told, entropies


def _told(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return log-probability of the targets, and entropy, shape (tokens,), of logits (tokens, vocabulary)."""
    chances = torch.log_softmax(logits.float() / temperature, -1)
    return chances.gather(-1, targets[:, None]).squeeze(-1), -(chances.exp() * chances).sum(-1)


def open_value_model(context: Context, policy: Any, reward_models: Sequence[Path]) -> tuple[ValueModel, Path | None]:
    """Return the value model, and the reward model that it begins as, if it does; of several the first.

    Its values are then that model's scores, and in deviations by its scale where it is one of several, as rewards are.
    `policy` has its adapter already, if there is one.
    """
    adapter, base = context.adapter, policy if context.adapter is None else policy.get_base_model()
    began = next(iter(reward_models), None)
    if began is not None and not reads_the_same(began, context.tokenizer):
        began = None
    scorer: Any = None if began is None else load_reward_model(began).to(base.dtype)
    body = _body(context, policy, base) if scorer is None else scorer.base_model
    head = nn.Linear(base.config.get_text_config().hidden_size if scorer is None else scorer.score.in_features, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    if scorer is not None:
        head.load_state_dict(scorer.score.state_dict(), strict=False)  # it may be without a bias
    body.requires_grad_(adapter is None)
    if adapter is not None:
        own = copy.deepcopy(adapter)
        own.task_type = TaskType.FEATURE_EXTRACTION
        body = get_peft_model(body, own)
    value = ValueModel(body, head.float())
    if began is not None and len(reward_models) > 1:
        scale = Scale.read(began)
        value.rescale(scale.mean, scale.deviation)
    return value, began


def _body(context: Context, policy: Any, base: Any) -> Any:
    """Return a copy of the policy without its head; with an adapter, on the same frozen weights."""
    if context.adapter is None:
        return copy.deepcopy(base.base_model)
    frozen = {id(weight): weight for weight in policy.parameters() if not weight.requires_grad}
    return copy.deepcopy(policy, frozen).unload().base_model  # what is in deepcopy's memo is not copied
