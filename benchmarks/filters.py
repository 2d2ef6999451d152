"""`python -m benchmarks.filters`: how far quality filters can be trusted, on labelled texts.

benchmarks/labelled.jsonl has revisions, rewrites, continuations and answers by SmolLM2-135M-Instruct at temperatures of
0.4 to 1 (Apache-2.0), and answers of HH-RLHF's harmless-base test set (Anthropic, MIT; `hh-0029 chosen` names the line
and the side). `is` are the filters that ought to find the text, as one reader has it, who began with what the filters
said, struck false finds and added misses: recall is optimistic. `shown` names the constitution whose exemplars the
model had before it. benchmarks/personal.jsonl has all of HH-RLHF's texts in which numbers or addresses stand, sentences
around data that Faker invented, and traps; its labels are what was put in. benchmarks/listed.jsonl has all answers of
HH-RLHF's 1,400 harmless-base test pairs (MIT) that refuse by their words, and others in which words of a refusal stand,
each as if its prompt were tagged benign, as one reader has it; and answers of our own in the language of their prompt,
or in another. Where a translation was asked for, another language is right. Precision is of what a filter finds, recall
of what it ought to; both with Wilson's interval.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from cai.constitution import load_constitution
from cai.core.records import Message
from cai.core.shares import wilson
from cai.data.quality import DEFAULT_QUALITY, FILTERS, Item, LedgerEntry, QualityPass, shown_by
from cai.data.quality.personal import PERSONAL

FOLDER = Path(__file__).parent
LABELS: Mapping[str, tuple[str, ...]] = {
    "labelled.jsonl": (
        *("critique", "announcement", "copied-critique", "copied-exemplar", "copied-prompt", "loop", "speakers"),
        "template-tokens",
    ),
    "personal.jsonl": tuple(one.name for one in PERSONAL),
    "listed.jsonl": ("refusal", "language"),
}
"""The filters that the texts of each file are labelled for."""


EVERYTHING = replace(DEFAULT_QUALITY, actions=dict.fromkeys(FILTERS, "report"))


def found_in(
    text: str, prompt: str, critique: str = "", shown: str | None = None, tags: Sequence[str] = ()
) -> set[str]:
    """Return the filters that find something in an answer."""
    critiques = {"completion": critique} if critique else {}
    messages = (Message(role="user", content=prompt),)
    item = Item("labelled", messages, {"completion": text}, tags=tuple(tags), critiques=critiques)
    if shown is not None:
        item = replace(item, shown=shown_by(load_constitution(shown)))
    entries: list[LedgerEntry] = []
    QualityPass(EVERYTHING, "sft", entries.append).check(item)
    return {entry.filter for entry in entries}


def count(file: str) -> dict[str, Counter[str]]:
    """Return for each filter of a file how often it was right, wrong, and missed what it ought to find."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in LABELS[file]}
    for row in map(orjson.loads, (FOLDER / file).read_bytes().splitlines()):
        found = found_in(
            row["text"], row.get("prompt", "?"), row.get("critique", ""), row.get("shown"), row.get("tags", ())
        )
        for name, counted in counts.items():
            counted["right"] += name in found and name in row["is"]
            counted["wrong"] += name in found and name not in row["is"]
            counted["missed"] += name not in found and name in row["is"]
    return counts


def told_share(right: int, total: int) -> str:
    """Return a share with its interval and its denominator."""
    if not total:
        return "none"
    share = wilson(right, total)
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of {total}"


@click.command()
def main() -> None:
    """Print precision and recall of each filter that was labelled."""
    table = Table("filter", "by default", "precision", "recall", box=None)
    for file in LABELS:
        for name, counted in count(file).items():
            right = counted["right"]
            shares = told_share(right, right + counted["wrong"]), told_share(right, right + counted["missed"])
            table.add_row(name, FILTERS[name].default, *shares)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
