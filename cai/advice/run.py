"""`advise`: recommendations, each with its reason, source, command, and what it costs on this machine.

Memory is what `cai.train.hardware` reckons, time comes from a measured multiplication. Training takes about 6
operations a parameter and token, 4 where an adapter is trained and the base stays (arXiv 2001.08361, section 2.1: 2
forward and 4 backward, of which half are the weights' gradients), and 2 more, once, where a reference model reads the
same. How many the machine makes a second is measured with a matrix product; training is taken to reach `REACHED` of
that, which was fitted to short trainings (docs/choosing.md has them).
"""

import time
from shlex import quote

import torch

from cai.advice.outcome import Advice, Advised, Cost
from cai.advice.plan import AdvisePlan
from cai.advice.rules import RULES, Recommendation
from cai.core.counts import counted as so_many
from cai.train.hardware import state_bytes
from cai.train.machine import Machine
from cai.train.methods import find_method
from cai.train.model import ModelShape

REACHED = 0.2
"""Share of a matrix product's speed that training reaches."""

_REFERRING = ("dpo", "kto")
"""Methods in which a reference model reads every answer once."""

_USABLE = 0.85
_SIDE = 1024
_SECONDS = 0.2


def advise(plan: AdvisePlan) -> Advice:
    """Return what the rules say of the facts."""
    found = [recommendation for rule in RULES if (recommendation := rule(plan.facts)) is not None]
    speed = measure_speed(plan.facts.machine.kind) if any(each.trains for each in found) else 0.0
    return Advice(tuple(_facts(plan)), tuple(_advised(plan, each, speed) for each in found), plan.remarks)


def _advised(plan: AdvisePlan, recommendation: Recommendation, speed: float) -> Advised:
    method, facts = recommendation.method, plan.facts
    if not recommendation.trains:
        model = [] if method == "judge" else ["--model", quote(facts.model)]
        return Advised(recommendation, " ".join(["cai", method, recommendation.options, *model]), None, "none")
    whole, adapted = (_cost(plan, method, shape, speed) for shape in (plan.whole, plan.adapted))
    cost, adapter = (whole, "none") if whole.fits else (adapted, "lora")
    words = ["cai train", method, "--data", quote(facts.data), "--model", quote(facts.model), recommendation.options]
    for option, value in (("--split", plan.settings.split), ("--shape", plan.settings.shape)):
        words += [] if value is None else [option, value]
    words += [] if adapter == "none" else ["--adapter", adapter]
    command = " ".join(word for word in (*words, f"--out models/{method}") if word)
    return Advised(recommendation, command, cost, adapter)


def _cost(plan: AdvisePlan, name: str, shape: ModelShape, speed: float) -> Cost:
    """Return what a method costs; of methods that draw responses the time of drawing is not in it."""
    method, counted = find_method(name), plan.facts.counted
    # Each answer of a pair is read behind the prompt.
    characters = counted.characters + (method.sequences - 1) * counted.asked
    tokens = counted.examples * characters * plan.facts.shape.tokens_per_character
    return cost_of(plan.facts.machine, shape, tokens, speed, epochs=method.epochs, reference=name in _REFERRING)


def _facts(plan: AdvisePlan) -> list[str]:
    counted, shape, machine = plan.facts.counted, plan.facts.shape, plan.facts.machine
    left_out = sum(counted.left_out.values())
    told = [
        f"{so_many(counted.examples, 'example')} ({'text' if counted.plain_text else counted.kind}) of "
        f"{so_many(counted.prompts, 'prompt')}, {counted.characters:,.0f} characters on average"
        + (f"; {so_many(left_out, 'row')} give{'s' if left_out == 1 else ''} none" if left_out else ""),
        f"{shape.name}: {shape.parameters / 1e6:,.0f} M parameters, "
        + ("a chat model" if shape.chats else "without a chat template: a base model"),
        f"{machine.name}, {machine.memory / 1e9:,.1f} GB for training",
    ]
    if counted.soft:
        told.append(f"soft labels, {counted.uncertain:.0%} of them between 40 and 60 %")
    return told


def cost_of(
    machine: Machine, shape: ModelShape, tokens: float, speed: float, *, epochs: float = 1.0, reference: bool = False
) -> Cost:
    """Return what training on so many tokens an epoch costs; `speed` are the operations a second that were measured.

    `reference`: a reference model reads them once, too.
    """
    memory = state_bytes(shape.held, shape.trained, "float32", quantized=False)
    each = (4 if shape.adapter_parameters else 6) * epochs + (2 if reference else 0)
    operations = each * shape.held * tokens
    return Cost(int(memory), memory <= machine.memory * _USABLE, operations / (speed * REACHED))


def measure_speed(kind: str) -> float:
    """Return the floating-point operations a second of a device, in the precision that it trains in by default."""
    dtype = torch.bfloat16 if kind == "cuda" else torch.float32
    one = torch.ones(_SIDE, _SIDE, dtype=dtype, device=kind)
    one @ one
    began, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < _SECONDS or not count:
        (one @ one)[0, 0].item()  # waits until the device is done
        count += 1
    return count * 2 * _SIDE**3 / seconds
