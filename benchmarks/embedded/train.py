"""Trains the embedded model from nothing: `python -m benchmarks.embedded.train --seed 0` (what `make tiny` runs).

Everything is drawn from the seed: corpus, tokenizer, initial weights, order of batches. The checkpoint appears in
`cai/tiny/checkpoint` at once and whole. Hidden matrices are trained with Muon, everything else with AdamW; both
learning rates fall linearly to 2 % of their start. The saved weights are sharpened (see SHARPNESS). Needs a C++
compiler, for torch.compile.
"""

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.embedded import dialogue
from benchmarks.embedded.tokenizer import CONTEXT, END, PAD, ROLES, train_tokenizer
from cai.method.templates import Templates
from cai.models import TINY

CHECKPOINT = TINY
DIALOGUES = 200_000
TOKENIZER_DIALOGUES = 12_000
BATCH_TOKENS = 4_096
MUON_RATE, ADAM_RATE, LAST_RATE, WARM_UP = 5e-3, 3e-3, 0.02, 100
WEIGHT_DECAY = 0.2
SHARPNESS = 1.2
"""What logits are multiplied by once training is over: temperature 1 then draws as 1 / SHARPNESS did before."""


@dataclass(frozen=True, slots=True)
class Example:
    """One dialogue in tokens, and how much each of them weighs as something to predict."""

    tokens: np.ndarray  # uint16, shape (length,)
    weights: np.ndarray  # float16, shape (length,)


def new_model(vocabulary: int, pad: int, end: int) -> LlamaForCausalLM:
    """Return the model with fresh weights, drawn from torch's global generator."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        revision_form="continued",  # the one that the dialogues are written in; see cai/models/checkpoint/resolve.py
    )
    return LlamaForCausalLM(config)


def examples(writer: dialogue.Writer, tokenizer: PreTrainedTokenizerFast, count: int) -> list[Example]:
    """Return `count` dialogues in tokens; those beyond the context are left out."""
    backend = tokenizer.backend_tokenizer
    end = tokenizer.convert_tokens_to_ids(END)
    roles = {role: tokenizer.convert_tokens_to_ids(token) for role, token in ROLES.items()}
    found = []
    for _ in range(count):
        tokens: list[int] = []
        weights: list[float] = []
        for turn in writer.draw():
            body = backend.encode(turn.text, add_special_tokens=False).ids
            # The role token is given, never predicted; the end token weighs like its turn, at most like plain speech.
            tokens += [roles[turn.role], *body, end]
            weights += [0.0, *[turn.weight] * len(body), min(turn.weight, dialogue.SAID)]
        if len(tokens) <= CONTEXT:
            found.append(Example(np.array(tokens, np.uint16), np.array(weights, np.float16)))
    return found


def batches(rng: random.Random, corpus: list[Example], pad: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield every example once, by similar length: tokens and weights, shape (batch, length), padded right."""
    order = list(range(len(corpus)))
    rng.shuffle(order)
    groups: list[list[int]] = []
    for start in range(0, len(order), 4096):
        group: list[int] = []
        for place in sorted(order[start : start + 4096], key=lambda index: len(corpus[index].tokens)):
            if group and len(corpus[place].tokens) * (len(group) + 1) > BATCH_TOKENS:
                groups.append(group)
                group = []
            group.append(place)
        groups.append(group)
    # Lengths are mixed again within a stretch, so that short dialogues do not all come before long ones.
    for start in range(0, len(groups), 100):
        stretch = groups[start : start + 100]
        rng.shuffle(stretch)
        for group in stretch:
            length = max(len(corpus[index].tokens) for index in group)
            tokens = torch.full((len(group), length), pad, dtype=torch.long)
            weights = torch.zeros((len(group), length))
            for row, index in enumerate(group):
                size = len(corpus[index].tokens)
                tokens[row, :size] = torch.from_numpy(corpus[index].tokens.astype(np.int64))
                weights[row, :size] = torch.from_numpy(corpus[index].weights.astype(np.float32))
            yield tokens, weights


Body = Callable[[torch.Tensor], torch.Tensor]


def body(model: LlamaForCausalLM) -> Body:
    """Return the compiled function from tokens to last hidden states.

    Plain attention, because on a CPU the fused one is slow backwards; compiled, the whole step is nearly twice as fast.
    """
    model.set_attn_implementation("eager")

    def run(tokens: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = model.model(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden

    compiled: Body = torch.compile(run, dynamic=True)
    return compiled


def weighted_loss(model: LlamaForCausalLM, run: Body, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of the next tokens, each by its weight, per token of a full batch (a scalar).

    Batches hold dialogues of one length, so often of one sort; dividing by each batch's own weights would make what is
    only read count as much there as what is said elsewhere.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = run(tokens[:, :-1])
        wanted = weights[:, 1:] > 0
        logits = model.lm_head(hidden[wanted])
    losses = torch.nn.functional.cross_entropy(logits.float(), tokens[:, 1:][wanted], reduction="none")
    scale = weights[:, 1:][wanted]
    return (losses * scale).sum() / BATCH_TOKENS


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Return Muon for the hidden matrices and AdamW for embeddings and norms."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(hidden, lr=MUON_RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(step: int, steps: int) -> float:
    """Return the share of the full learning rate at this step."""
    return min(1.0, (step + 1) / WARM_UP) * (1 - (1 - LAST_RATE) * step / steps)


def fit(model: LlamaForCausalLM, corpus: list[Example], pad: int, rng: random.Random) -> None:
    """Train the model on the corpus once, saying how it goes on stderr."""
    steps = sum(1 for _ in batches(random.Random(rng.random()), corpus, pad))
    both, run = optimizers(model), body(model)
    starts = [optimizer.param_groups[0]["lr"] for optimizer in both]
    model.train()
    began, seen, mean = time.monotonic(), 0, 0.0
    for step, (tokens, weights) in enumerate(batches(rng, corpus, pad)):
        share = rate(min(step, steps), steps)
        for optimizer, start in zip(both, starts, strict=True):
            optimizer.param_groups[0]["lr"] = start * share
        loss = weighted_loss(model, run, tokens, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += int((tokens != pad).sum())
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            minutes = (time.monotonic() - began) / 60
            sys.stderr.write(f"step {step}/{steps}  loss {mean:.3f}  {seen / 1e6:.2f} M tokens  {minutes:.1f} min\n")
            sys.stderr.flush()
    model.eval()


def save(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path, training: dict[str, object]
) -> None:
    """Write the checkpoint beside `directory` and put it in its place; `training` is kept for the model card."""
    fresh = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.set_attn_implementation("sdpa")
    half = LlamaForCausalLM(model.config)
    half.load_state_dict(model.state_dict())
    half = half.to(torch.float16)
    with torch.no_grad():
        half.model.norm.weight.mul_(SHARPNESS)
    end, pad = tokenizer.convert_tokens_to_ids(END), tokenizer.convert_tokens_to_ids(PAD)
    half.generation_config = GenerationConfig(
        eos_token_id=end, pad_token_id=pad, do_sample=True, temperature=1.0, max_new_tokens=256
    )
    half.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    (fresh / "training.json").write_text(json.dumps(training, indent=2) + "\n", encoding="utf-8")
    if directory.exists():
        if (directory / "README.md").exists():
            shutil.copy(directory / "README.md", fresh / "README.md")
        old = directory.with_name(f"{directory.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        directory.rename(old)
        fresh.rename(directory)
        shutil.rmtree(old)
    else:
        fresh.rename(directory)


def train(seed: int, count: int, directory: Path) -> None:
    """Train on `count` dialogues and write the checkpoint to `directory`."""
    began = time.monotonic()
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory before writing it, and filling it first costs a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    templates = Templates.load("en")
    sample = dialogue.Writer(random.Random(f"{seed} tokenizer"), templates)
    tokenizer = train_tokenizer(turn.text for _ in range(TOKENIZER_DIALOGUES) for turn in sample.draw())
    pad, end = tokenizer.convert_tokens_to_ids(PAD), tokenizer.convert_tokens_to_ids(END)
    corpus = examples(dialogue.Writer(random.Random(f"{seed} corpus"), templates), tokenizer, count)
    model = new_model(len(tokenizer), pad, end)
    fit(model, corpus, pad, random.Random(f"{seed} order"))
    training: dict[str, object] = {
        "seed": seed,
        "dialogues": len(corpus),
        "tokens": int(sum(len(example.tokens) for example in corpus)),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "sharpness": SHARPNESS,
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
        "torch": torch.__version__,
    }
    save(model, tokenizer, directory, training)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return f"{os.cpu_count()} cores of {names[0] if names else 'a CPU'}"


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dialogues", type=int, default=DIALOGUES)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    options = parser.parse_args()
    train(options.seed, options.dialogues, options.out)


if __name__ == "__main__":
    main()
