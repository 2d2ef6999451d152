"""The rules of advice: a table of descriptors, each with the source that it rests on.

A rule looks at the facts and recommends something, or nothing. The rules' order is the order of advice: what stands
first is what to do first. Thresholds are the field's rules of thumb, or our own measurements where the source says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from shlex import quote
from typing import Literal

from cai.advice.facts import Facts
from cai.core.counts import counted as so_many

FEW = 200
"""Pairs or labels below which training was measured to teach little (docs/real-models.md)."""
MANY = 10_000
"""Pairs from which a reward model and reinforcement learning are worth their trouble."""
MOSTLY = 0.5

Method = Literal["generate", "judge", "sft", "dpo", "kto", "orpo", "reward", "grpo"]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do, why, who says so, and the options of the command; `trains` tells whether it trains on DATA."""

    method: Method
    reason: str
    source: str
    options: str = ""
    trains: bool = True

    @property
    def draws(self) -> bool:
        """Whether answers are drawn while it trains, which costs more than the training itself."""
        return self.method == "grpo"


Rule = Callable[[Facts], Recommendation | None]


def _generate_from_prompts(facts: Facts) -> Recommendation | None:
    if facts.counted.kind != "prompts":
        return None
    return Recommendation(
        "generate",
        "there are prompts, and nothing says which answer is better: let the model answer, revise and judge first",
        "Constitutional AI, arXiv 2212.08073",
        f"--constitution YOURS.yaml --prompts {quote(facts.data)}",
        trains=False,
    )


def _reinforce_prompts(facts: Facts) -> Recommendation | None:
    if facts.counted.kind != "prompts" or not facts.shape.chats:
        return None
    return Recommendation(
        "grpo",
        "with a judge that can be trusted, prompts are enough: it rewards what the model answers while it trains",
        "RLAIF without a reward model, 2309.00267; GRPO, 2402.03300",
        "--constitution YOURS.yaml",
    )


def _more_data(facts: Facts) -> Recommendation | None:
    counted = facts.counted
    if counted.kind not in ("pairs", "labelled", "scored") or counted.examples >= FEW:
        return None
    return Recommendation(
        "generate",
        f"{so_many(counted.examples, 'example')} {'is' if counted.examples == 1 else 'are'} few: in our own "
        "measurement 160 real pairs moved DPO's implicit accuracy from 50 to 66 %, and 200 taught a reward model "
        "nothing that could be proved",
        "docs/real-models.md",
        "--constitution YOURS.yaml --prompts MORE.jsonl",
        trains=False,
    )


def _continue_pretraining(facts: Facts) -> Recommendation | None:
    if not facts.counted.plain_text:
        return None
    return Recommendation(
        "sft",
        "plain text teaches a domain, not how to answer: continue pre-training on it, then go on with conversations",
        "Don't Stop Pretraining, 2004.10964",
    )


def _imitate(facts: Facts) -> Recommendation | None:
    counted = facts.counted
    if counted.kind != "supervised" or counted.plain_text:
        return None
    return Recommendation(
        "sft",
        "good answers are there to be imitated, and nothing says which answers are bad; about a thousand good ones are "
        "enough for a large model, so more is not what counts",
        "InstructGPT, 2203.02155, section 3.5; LIMA, 2305.11206",
    )


def _one_stage(facts: Facts) -> Recommendation | None:
    if facts.counted.kind != "pairs" or facts.shape.chats:
        return None
    return Recommendation(
        "orpo",
        "the model has no chat template, so it is a base model: ORPO learns the chosen answers and the preference in "
        "one stage, where DPO would want a model that answers already",
        "ORPO, 2403.07691; DPO, 2305.18290, section 4",
        "--template chatml",
    )


def _prefer(facts: Facts) -> Recommendation | None:
    counted = facts.counted
    if counted.kind != "pairs" or not facts.shape.chats:
        return None
    size = f"{so_many(counted.examples, 'pair')} {'says' if counted.examples == 1 else 'say'}"
    soft = ", and its loss takes the judge's probabilities as they are" if counted.soft else ""
    return Recommendation(
        "dpo",
        f"{size} which answer is better: DPO learns that without a reward model and without sampling{soft}",
        "DPO, 2305.18290" + ("; soft labels, 2409.06691" if counted.soft else ""),
    )


def _model_rewards(facts: Facts) -> Recommendation | None:
    counted = facts.counted
    enough = counted.kind == "pairs" and counted.examples >= MANY
    if not enough and counted.kind != "scored":
        return None
    why = (
        f"{counted.examples:,} pairs are enough for a reward model (InstructGPT had 33,000 prompts)"
        if enough
        else "scores are what a reward model is fitted to"
    )
    return Recommendation(
        "reward",
        f"{why}; then reinforce with it: cai train grpo --reward-model models/reward",
        "InstructGPT, 2203.02155, sections 3.4 and 3.5; the threshold of 10,000 is practitioners' rule of thumb",
    )


def _judge_more(facts: Facts) -> Recommendation | None:
    counted = facts.counted
    if not facts.is_run or counted.kind != "pairs" or counted.uncertain < MOSTLY:
        return None
    return Recommendation(
        "judge",
        f"{counted.uncertain:.0%} of the labels lie between 40 and 60 %, which hardly decides: judge each pair under "
        "more principles, or with a larger judge",
        "RLAIF, 2309.00267: agreement with people grows with the judge, 62.7 to 78.0 %",
        f"{quote(facts.data)} --judge LARGER --judge-principles 4",
        trains=False,
    )


def _thumbs(facts: Facts) -> Recommendation | None:
    counted = facts.counted
    if counted.kind != "labelled":
        return None
    return Recommendation(
        "kto",
        f"answers are called good ({counted.good:.0%}) or bad one by one, without partners: KTO learns from that, also "
        "where one side is rare",
        "KTO, 2402.01306",
    )


RULES: tuple[Rule, ...] = (
    _more_data,
    _generate_from_prompts,
    _continue_pretraining,
    _imitate,
    _one_stage,
    _prefer,
    _thumbs,
    _model_rewards,
    _reinforce_prompts,
    _judge_more,
)
"""All rules, in the order of their advice; one of somebody's own is a function more."""
