"""PPO's trainer, on transformers' own: one step draws responses, rewards them, and learns from them several times.

A step of the trainer is a whole iteration of PPO (1707.06347, algorithm 1): the updates before a step's last one are
made here, the last one by transformers, which then logs and writes checkpoints. So a checkpoint never lies between
responses and what is learned from them, and a run that goes on draws what the undisturbed one would have drawn: a
response depends on the weights, its prompt and its seed, and a seed on the run's, the step and the response's place.

`cai.train.trainers.ppo_equations` has the equations, `rollouts` draws, `value_model` has both models.
"""

import contextlib
import copy
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Trainer, TrainingArguments
from trl.trainer.utils import disable_dropout_in_model

from cai.core.errors import UsageError
from cai.core.identity import derive_seed
from cai.models.base import Sampling
from cai.train.context import Context
from cai.train.methods.online import end_tokens
from cai.train.methods.ppo import PPOSettings, value_rate
from cai.train.trainers.ppo_batches import Experience, Piece, joined, length_batches, response_mask, text_tensors
from cai.train.trainers.ppo_equations import (
    KLCoefficient,
    RewardScale,
    approximate_kl,
    clipped,
    explained_variance,
    generalized_advantages,
    moments,
    policy_losses,
    token_rewards,
    value_losses,
    whiten,
)
from cai.train.trainers.rewarded import Reward, Rewarded, answerable
from cai.train.trainers.rollouts import Rollouts
from cai.train.trainers.value_model import PolicyAndValue, log_probs, open_value_model

TRAINED, STATE = "trained.safetensors", "ppo.json"
"""Of a checkpoint: the weights that are trained, the policy's and the value model's; both running quantities."""


class ProximalTrainer(Trainer):  # type: ignore[misc]  # transformers is not followed
    """The algorithm; `PPOTrainer` adds what every trainer of cai does."""

    model: PolicyAndValue
    optimizer: Any
    remarks: tuple[str, ...] = ()

    def __init__(
        self, context: Context, reward: Reward, configuration: TrainingArguments, texts: Sequence[Piece]
    ) -> None:
        own = context.own(PPOSettings)
        share = configuration.per_device_train_batch_size * configuration.world_size
        prompts, self.left_out = answerable(context, own.max_tokens, share)
        self._own, self._reward, self._texts, self._ends = own, reward, texts, end_tokens(context)
        self._padding = context.tokenizer.pad_token_id
        self._micro = context.hardware.micro_batch
        self._value_rate = value_rate(context)
        self._kl = KLCoefficient(own.kl_penalty, own.kl_target)
        self._scale = RewardScale.start(own.reward_clip)
        self._notes: defaultdict[str, list[float]] = defaultdict(list)
        reference = copy.deepcopy(context.model) if own.kl_penalty and context.adapter is None else None
        adapter = copy.deepcopy(context.adapter)  # PEFT fills the policy's layers in
        policy: Any = context.model if adapter is None else get_peft_model(context.model, adapter)
        value, began = open_value_model(context, policy, own.reward_model)
        self._scores_like_rewards = began is not None
        told = "the policy, with a head of zeros" if began is None else f"the reward model {began}"
        self.remarks = (f"the value model begins as {told}",)
        for model in (policy, value, *([] if reference is None else [reference.eval().requires_grad_(False)])):
            disable_dropout_in_model(model)
        super().__init__(
            model=PolicyAndValue(policy, value),
            args=configuration,
            train_dataset=prompts,
            data_collator=list,
            processing_class=context.tokenizer,
        )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UsageError(
                "ppo trains two models side by side, which FSDP and DeepSpeed cannot shard here: start it on one device"
                " or on several that each hold all of it"
            )
        self._reference: Any = reference and self.accelerator.prepare_model(reference, evaluation_mode=True)
        drawn = policy if context.adapter is None else policy.get_base_model()
        sampling = Sampling(own.temperature, max_tokens=own.max_tokens)
        self._rollouts = Rollouts(drawn, self.args.device, self._ends, sampling, self.accelerator.autocast)

    def create_optimizer(self, model: Any = None) -> Any:  # noqa: ARG002
        """Return one optimiser for both models, each with its own peak rate."""
        if self.optimizer is None:
            kind, keywords = self.get_optimizer_cls_and_kwargs(self.args)
            parts = ((self.model.policy, self.args.learning_rate), (self.model.value, self._value_rate))
            groups = [{"params": list(_trained(part).values()), "lr": rate} for part, rate in parts]
            self.optimizer = kind(groups, **keywords)
        return self.optimizer

    def training_step(self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: Any = None) -> Tensor:  # noqa: ARG002
        """Draw, reward and learn; the gradients of the last update are left to be applied. Return the mean loss."""
        model.train()
        experience = self._experience(inputs)
        own, rows = self._own, len(experience.responses)
        updates = [
            order
            for epoch in range(own.rollout_epochs)
            for order in np.array_split(self._random("updates", epoch).permutation(rows), own.minibatches)
        ]
        losses = []
        for number, order in enumerate(updates, start=1):
            losses.append(self._learn(model, experience, order.tolist(), number))
            if number < len(updates):
                self._get_grad_norm(model, self._clip_grad_norm(model))
                self.optimizer.step()
                model.zero_grad()
        return torch.stack(losses).mean()

    def _experience(self, rows: Sequence[dict[str, Any]]) -> Experience:
        """Return responses to a batch of prompts, rewarded, with what is known of their tokens."""
        rows = [row for row in rows for _ in range(self._own.group)]
        encoded = self.processing_class.apply_chat_template(
            [row["prompt"] for row in rows], add_generation_prompt=True, return_dict=True
        )
        prompts: list[list[int]] = encoded["input_ids"]
        seeds = [self._seed("rollout", number) for number in range(len(rows))]
        responses = self._rollouts.draw(prompts, seeds)
        raw = self._scores_like_rewards and bool(self._own.reward_clip) and not self._scale.spread()[1]
        scores, known = self._scores(rows, responses)
        mean, deviation = self._scale.spread()
        if raw and deviation:
            # Values in the reward model's own unit would be off by its mean, and the ends of good responses would look
            # bad until that is learned away: 2009.01325 and 2203.02155 centre the reward model itself.
            self.model.value.rescale(mean, deviation)
        whole = response_mask(responses, self.args.device)
        mask = whole & known[:, None]
        log_ratios, old, values = self._look(prompts, responses, whole)
        rewards = token_rewards(self._scale.scaled(scores), log_ratios, mask, self._kl.value)
        advantages, returns = generalized_advantages(rewards, values, mask, self._own.discount, self._own.gae_lambda)
        self._tell(prompts, responses, mask, log_ratios)
        self._note("explained_variance", explained_variance(values, returns, mask))
        advantages = whiten(advantages, mask, self._over_processes(moments(advantages, mask)))
        return Experience(prompts, responses, mask, old, values, advantages, returns)

    def _scores(self, rows: Sequence[dict[str, Any]], responses: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Return each response's reward and whether there is one, both (responses,), and count it in the scale."""
        texts = self.processing_class.batch_decode(responses, skip_special_tokens=True)
        found = self._reward(
            prompts=[row["prompt"] for row in rows],
            completions=[[{"role": "assistant", "content": text}] for text in texts],
            completion_ids=responses,
            log_metric=self._note,
            **{name: [row[name] for row in rows] for name in rows[0] if name != "prompt"},
        )
        device = self.args.device
        known = torch.tensor([score is not None for score in found], device=device)
        scores = torch.tensor([score or 0.0 for score in found], dtype=torch.float32, device=device)
        sums = self._over_processes(moments(scores, known))
        self._scale.take(sums)
        if sums[0]:
            self._note("reward", float(sums[1] / sums[0]))
            self._note(f"rewards/{self._reward.__name__}/mean", float(sums[1] / sums[0]))
        self._note("unrewarded", float((~known).float().mean()))
        return scores, known

    @torch.no_grad()
    def _look(
        self, prompts: list[list[int]], responses: list[list[int]], mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-ratios to the reference, log-probabilities and values of all tokens before anything is learned."""
        found = [torch.zeros(mask.shape, device=mask.device) for _ in range(4)]
        lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
        for rows in length_batches(range(len(prompts)), lengths, self._micro):
            ids, attention, width = self._joined(prompts, responses, rows)
            with self.accelerator.autocast():
                told = self.model(ids, attention, width, self._own.temperature)
                reference = self._reference_log_probs(ids, attention, width)
            ratios = torch.zeros_like(told["log_probs"]) if reference is None else told["log_probs"] - reference
            told_of = (ratios, told["log_probs"], told["values"], told["entropies"])
            for kept, part in zip(found, told_of, strict=True):
                kept[rows, :width] = part.float() * mask[rows, :width]
        log_ratios, old, values, entropies = found
        self._note("entropy", float(entropies.sum() / mask.sum()))
        return log_ratios, old, values

    def _reference_log_probs(self, ids: Tensor, attention: Tensor, width: int) -> Tensor | None:
        if not self._own.kl_penalty:
            return None
        if self._reference is not None:
            return log_probs(self._reference, ids, attention, width, self._own.temperature)[0]
        with self.model.policy.disable_adapter():
            return log_probs(self.model.policy, ids, attention, width, self._own.temperature)[0]

    def _learn(self, model: Any, experience: Experience, rows: Sequence[int], update: int) -> Tensor:
        """Compute the gradients of one update from these of the responses, and return its loss."""
        own, prompts, responses = self._own, experience.prompts, experience.responses
        tokens = experience.mask[rows].sum().clamp_min(1)
        texts = self._draw_texts(len(rows), update)
        text_tokens = sum(text.tokens for text in texts)
        sums: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.args.device))
        lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
        parts = length_batches(rows, lengths, self._micro)
        for number, part in enumerate(parts, start=1):
            some, texts = texts[: len(part)], texts[len(part) :]
            ids, attention, width = self._joined(prompts, responses, part)
            mask, old, values, advantages, returns = (
                kept[part, :width]
                for kept in (
                    experience.mask,
                    experience.log_probs,
                    experience.values,
                    experience.advantages,
                    experience.returns,
                )
            )
            pieces = text_tensors(some, self._padding, self.args.device)
            # Other processes may have more parts or fewer: gradients are averaged over all once an update, at its last.
            with self.accelerator.no_sync(model) if number < len(parts) else contextlib.nullcontext():
                told = model(ids, attention, width, own.temperature, **pieces)
            new = told["log_probs"]
            losses = {
                "policy_loss": (policy_losses(new, old, advantages, own.clip) * mask).sum() / tokens,
                "value_loss": (value_losses(told["values"], values, returns, own.value_clip) * mask).sum() / tokens,
            }
            loss = losses["policy_loss"] + losses["value_loss"]
            if some:
                losses["pretraining_loss"] = told["text_losses"] / text_tokens
                loss = loss + own.pretraining_weight * losses["pretraining_loss"]
            self.accelerator.backward(loss)
            with torch.no_grad():
                losses["loss"] = loss
                losses["clip_fraction"] = (clipped(new, old, own.clip) & mask).sum() / tokens
                losses["approximate_kl"] = (approximate_kl(new, old) * mask).sum() / tokens
                for name, value in losses.items():
                    sums[name] += value.detach()
        whole = sums.pop("loss")
        for name, value in sums.items():
            self._note(name, float(value))
        return whole

    def _joined(self, prompts: list[list[int]], responses: list[list[int]], rows: Sequence[int]) -> Any:
        """Return `joined` of some of the responses."""
        some = ([prompts[row] for row in rows], [responses[row] for row in rows])
        return joined(*some, self._padding, self.args.device)

    def _draw_texts(self, count: int, update: int) -> list[Piece]:
        """Return as many pieces of the pre-training data as there are responses in an update, or none."""
        if not self._texts:
            return []
        places = self._random("pretraining", update).integers(len(self._texts), size=count)
        return [self._texts[place] for place in places]

    def _clip_grad_norm(self, model: Any) -> Tensor:  # noqa: ARG002  (both parts of it are clipped)
        """Clip either model's gradients by its own norm, or large errors of values would slow the policy down."""
        limit = self.args.max_grad_norm
        norms = [
            self.accelerator.clip_grad_norm_(part.parameters(), limit) for part in (self.model.policy, self.model.value)
        ]
        whole: Tensor = torch.stack(norms).norm()
        return whole

    def _tell(self, prompts: list[list[int]], responses: list[list[int]], mask: Tensor, log_ratios: Tensor) -> None:
        """Note what the step's responses are like, and steer the KL coefficient by them."""
        counts = (
            len(responses),
            sum(map(len, responses)),
            sum(map(len, prompts)),
            sum(response[-1] not in self._ends for response in responses),
            int(mask.any(1).sum()),
            float((log_ratios * mask).sum()),
        )
        drawn, tokens, before, cut, rewarded, ratios = self._over_processes(torch.tensor(counts).double()).tolist()
        self.state.num_input_tokens_seen += int(tokens + before)
        self._note("completions/mean_length", tokens / drawn)
        self._note("completions/clipped_ratio", cut / drawn)
        if self._own.kl_penalty and rewarded:
            self._note("kl", ratios / rewarded)
            self._note("kl_coefficient", self._kl.value)
            self._kl.update(ratios / rewarded)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of what was noted since the last line, and the tokens of all steps so far."""
        means = {name: float(np.mean(values)) for name, values in self._notes.items()}
        if means:
            means["num_tokens"] = self.state.num_input_tokens_seen
        self._notes.clear()
        super().log({**logs, **means}, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the policy alone, as a model; into a checkpoint what is trained of both models, and what runs along."""
        if not self.args.should_save or output_dir is None:
            return
        place = Path(output_dir)
        if not _internal_call:
            self.model.policy.save_pretrained(place)
            self.processing_class.save_pretrained(place)
            return
        place.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().contiguous() for name, weight in _trained(self.model).items()}
        save_file(weights, place / TRAINED)
        running = {"kl_coefficient": self._kl.value, "reward_sums": self._scale.sums.tolist()}
        (place / STATE).write_text(json.dumps(running))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
        place = Path(resume_from_checkpoint)
        kept = load_file(place / TRAINED)
        with torch.no_grad():
            for name, weight in _trained(self.model).items():
                weight.copy_(kept[name])
        running = json.loads((place / STATE).read_text())
        self._kl.value = running["kl_coefficient"]
        self._scale.sums = torch.tensor(running["reward_sums"], dtype=torch.float64)

    def _note(self, name: str, value: float) -> None:
        self._notes[name].append(value)

    def _over_processes(self, sums: Tensor) -> Tensor:
        """Return sums added up over all processes, on the CPU."""
        if self.accelerator.num_processes == 1:
            return sums.cpu()
        gathered: Tensor = self.accelerator.gather(sums.to(self.args.device)[None])
        return gathered.sum(0).cpu()

    def _seed(self, what: str, number: int) -> int:
        """Return the seed of something that this process draws in this step."""
        return derive_seed(self.args.seed, what, self.state.global_step, self.args.process_index, number)

    def _random(self, what: str, number: int) -> np.random.Generator:
        return np.random.default_rng(self._seed(what, number))


class PPOTrainer(Rewarded, ProximalTrainer):
    """PPO, the reward and the checks as for every method that draws responses."""


def _trained(model: Any) -> dict[str, Any]:
    """Return the parameters that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
