"""What a format may ask for beside the run's own datasets: thumbs, which pairs give, and each prompt once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from cai.data.export.answers import DUPLICATE
from cai.data.export.layouts.descriptor import BOTH_WAYS, Source

Examples = Sequence[Mapping[str, Any]]
"""All that one prompt gave in one dataset."""

LeaveOut: TypeAlias = Callable[[Mapping[str, Any], str, str], None]
"""Hears of an example that is left out: the example, the reason, and the text it is about."""


def _as_they_are(examples: Examples, _leave_out: LeaveOut) -> Iterator[Mapping[str, Any]]:
    yield from examples


def _thumbs(pairs: Examples, leave_out: LeaveOut) -> Iterator[Mapping[str, Any]]:
    """Yield both answers of each pair, the chosen one with the label True.

    An answer that won against one and lost against another is neither good nor bad: it is left out, with its count.
    """
    labels: dict[str, set[bool]] = {}
    for pair in pairs:
        labels.setdefault(pair["chosen"][-1]["content"], set()).add(True)
        labels.setdefault(pair["rejected"][-1]["content"], set()).add(False)
    seen: set[str] = set()
    for pair in pairs:
        for column, label in (("chosen", True), ("rejected", False)):
            text = pair[column][-1]["content"]
            if text in seen:
                leave_out(pair, DUPLICATE, text)
            elif len(labels[text]) > 1:
                leave_out(pair, BOTH_WAYS, text)
            else:
                yield {**pair, "completion": pair[column], "label": label, "chosen": (), "rejected": ()}
            seen.add(text)


def _prompts(examples: Examples, _leave_out: LeaveOut) -> Iterator[Mapping[str, Any]]:
    """Yield the first example of a prompt: its prompt is that of all."""
    yield from examples[:1]


SOURCES: Mapping[Source, Callable[[Examples, LeaveOut], Iterator[Mapping[str, Any]]]] = {
    "sft": _as_they_are,
    "preference": _as_they_are,
    "ranking": _as_they_are,
    "thumbs": _thumbs,
    "prompts": _prompts,
}
