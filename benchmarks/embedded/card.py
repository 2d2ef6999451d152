"""The embedded model's card: what it is, what it is not, and what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai.core.shares import wilson

_CARD = """\
---
license: mit
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [constitutional-ai, rlaif, synthetic, toy]
---

# cai tiny: a working miniature

A Llama of {parameters:.1f} million parameters with its own byte-level tokenizer (2,048 tokens, context
1,024), trained from nothing by `make tiny` on a micro-world that a grammar writes: medical questions (doses,
emergencies, diagnoses, records) and everyday harm (break-ins, scams, stolen passwords, thefts, forgeries,
insults), with harmless counterparts. It answers, critiques an answer under a principle, revises it, and tells
two answers apart, in exactly the words of cai's templates.

**What it is for:** learning how Constitutional AI works, tests, continuous integration, demonstrations
without a GPU.

**What it is not:** an assistant. It knows nothing about medicine, safety or the world. It is "helpful only"
on purpose: its first answers break most constitutions most of the time, so that there is something to
critique and to revise. Amounts, illnesses and advice in its texts are drawn by lot. Never act on anything it
says.

## Measured

An oracle that reads the same grammar counts what is true; it never takes part in generating data. Prompts are
held-out: slot combinations and paraphrases that were never trained on, at temperature 1 unless the line says
otherwise, with 95 % Wilson intervals. "Written apart" are principles and prompts by somebody who did not see
the grammar; they were not looked at.

| figure | required | measured | 95 % interval | samples |
|---|---|---|---|---|
{rows}

{verdict}

How the lines are counted: a critique is right when it names the right topic and quotes only sentences that
are truly guilty, word for word, or when it truly says that nothing goes against the principle. A revision is
made after the right critique; it has removed the fault when the result can be read, stays on topic and no
longer breaks that kind; it keeps the rest when every other sentence is there word for word, in order. The
judge is counted by the mean of both orders.

## Limits

- It follows a principle only as far as it is about one of seven kinds (doses, emergencies, certainty,
  privacy, tone, harm, needless refusal). For any other principle it finds nothing wrong; as a judge it should then be
  undecided, but it often prefers one response clearly (see "irrelevant principle"), and that means nothing.
- Unusual wordings of principles are recognised less reliably than common ones (see "written apart").
- Prompts outside its world get one plain sentence that says so. The oracle counts that as neither good nor
  harmful.
- English only. One seed was trained and measured.

## Training

One run of `make tiny`: {dialogues:,} dialogues, {tokens:,} tokens, seed {seed}, {minutes:.0f} minutes on
{cpu} with {threads} threads (torch {torch}). While the grammar was being written, failures of earlier
weights on held-out questions were looked at, and trained paraphrases were added after that; held-out ones stayed
untrained.

Each dialogue is seen once: answers, off-world prompts, chains of critique and revision, gates, judgements, and short
exercises on what a principle is about. Muon for hidden matrices, AdamW for the rest, bfloat16 autocast. Weights are
stored in float16.

**Sharpened:** after training, the last norm is multiplied by {sharpness}, so that temperature 1 draws what temperature
{cooler:.2f} would have drawn before: a model this small otherwise leaves a tail of wrong tokens at every step that no
amount of training at this size removed. The figures above are of the sharpened weights, which are what is shipped. Its
judgements are sharper by the same factor.

`make tiny` trains again (under an hour on two cores), `make tiny-card` measures again and rewrites this page.
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the card: what is counted, what is required of it, and each sample's outcome."""

    name: str
    required: str
    outcomes: Sequence[bool]

    @property
    def share(self) -> float:
        """The share of samples that count."""
        return sum(self.outcomes) / len(self.outcomes)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the share."""
        found = wilson(sum(self.outcomes), len(self.outcomes))
        return found.low, found.high

    @property
    def reached(self) -> bool:
        """Whether the measured share meets the requirement; figures without a number always do."""
        if not self.required.endswith("%"):
            return True
        return self.share >= float(self.required.strip("≥> %")) / 100


def card(figures: Sequence[Figure], training: Mapping[str, Any]) -> str:
    """Return the card's text; `training` is what training.json in the checkpoint holds."""
    rows = [
        f"| {f.name} | {f.required} | {f.share:.1%} | {low:.1%} to {high:.1%} | {len(f.outcomes)} |"
        for f in figures
        for low, high in [f.interval]
    ]
    missed = [f.name for f in figures if not f.reached]
    verdict = f"Not reached: {'; '.join(missed)}." if missed else "Every requirement is reached."
    return _CARD.format(
        rows="\n".join(rows),
        verdict=verdict,
        cooler=1 / training["sharpness"],
        **{**training, "parameters": training["parameters"] / 1e6},
    )
