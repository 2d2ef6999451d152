"""Filters of pairs whose two answers hardly differ, and of what decided them."""

from cai.data.quality.descriptor import QualityFilter, Spans
from cai.data.quality.items import CHOSEN, REJECTED, ReadItem


def _begin_alike(read: ReadItem) -> bool:
    """Tell whether both answers begin with the same letter: most do not, and are no more than looked at."""
    answers = read.item.answers
    return answers[CHOSEN].lstrip()[:1].casefold() == answers[REJECTED].lstrip()[:1].casefold()


def _texts(read: ReadItem) -> tuple[str, str]:
    return tuple(" ".join(read.item.answers[name].split()) for name in (CHOSEN, REJECTED))  # type: ignore[return-value]


def _white_space(read: ReadItem, name: str) -> Spans:
    if not _begin_alike(read):
        return ()
    chosen, rejected = _texts(read)
    return ((0, len(read.item.answers[name])),) if chosen.casefold() == rejected.casefold() else ()


def _beginning(read: ReadItem, name: str) -> Spans:
    if not _begin_alike(read):
        return ()
    chosen, rejected = _texts(read)
    if chosen == rejected or not (chosen.startswith(rejected) or rejected.startswith(chosen)):
        return ()
    end = len(read.item.answers[name])
    return ((min(end, len(read.item.answers[REJECTED])), end),)


def _kept_principle(read: ReadItem, name: str) -> Spans:
    return ((0, len(read.item.answers[name])),) if read.item.kept else ()


PAIRS = (
    QualityFilter(
        "white-space", "pair", "its answers differ in white space or case alone", _white_space, default="drop"
    ),
    QualityFilter(
        "beginning", "pair", "one of its answers is the beginning of the other", _beginning, default="report"
    ),
    QualityFilter(
        "kept-principle",
        "pair",
        "it was decided under a principle that both answers had been found to keep",
        _kept_principle,
        default="report",
        strict="report",
    ),
)
