"""Filters that hold texts against each other: an answer against its prompt, the two answers of a pair."""

import re

from cai.data.quality.descriptor import QualityFilter, Spans
from cai.data.quality.items import CHOSEN, REJECTED, ReadItem

BENIGN = "benign"
"""The tag of a prompt that should be helped with, as evaluations have it."""

_SCRIPTS = {
    "Latin": re.compile(r"[A-Za-z\u00c0-\u024f]+"),
    "Korean": re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]+"),
    "Chinese or Japanese": re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]+"),
    "Cyrillic": re.compile(r"[\u0400-\u04ff]+"),
    "Arabic": re.compile(r"[\u0600-\u06ff]+"),
    "Devanagari": re.compile(r"[\u0900-\u097f]+"),
    "Thai": re.compile(r"[\u0e00-\u0e7f]+"),
}
_OTHER = re.compile(r"[\u0370-\u1fff\u3040-\u9fff\uac00-\ud7a3]")
"""A letter that is not Latin."""
_READ = 2000
"""Characters of a text whose letters are counted."""
_FEWEST = {"Korean": 6, "Chinese or Japanese": 6}
"""Letters below which nothing is said, of scripts in which one is a syllable or a word."""
_FEWEST_LETTERS = 15
"""The same of all others."""
_MOST = 0.7
"""Share of a text's letters from which it is in their script."""
_ASKED_FOR = re.compile(
    r"translat|\b(?:in|into|to) (?:english|korean|chinese|japanese|russian|arabic|hindi|thai|hangul)\b"
    r"|번역|영어|한국어|중국어|일본어|러시아어|영문|한글|英語|韓国語|翻",
    re.IGNORECASE,
)


def script_of(text: str) -> str | None:
    """Return the script that most letters of a text are in, None where they are few or mixed."""
    counts = {name: sum(map(len, letters.findall(text[:_READ]))) for name, letters in _SCRIPTS.items()}
    name = max(counts, key=lambda one: counts[one])
    return name if counts[name] >= max(_FEWEST.get(name, _FEWEST_LETTERS), _MOST * sum(counts.values())) else None


def _language(read: ReadItem, name: str) -> Spans:
    answer, question = read.texts[name].text, read.question.text
    if answer.isascii() and question.isascii():
        return ()
    if not _OTHER.search(answer) and not _OTHER.search(question):
        return ()
    asked, given = script_of(question), script_of(answer)
    if asked is None or given is None or asked == given or _ASKED_FOR.search(question):
        return ()
    return ((0, len(answer)),)


def _refusal(read: ReadItem, name: str) -> Spans:
    if BENIGN not in read.item.tags:
        return ()
    from cai.method.refusals import refuses  # noqa: PLC0415  (its patterns take as long as those of all filters)

    text = read.texts[name].text
    return ((0, len(text)),) if refuses(text) else ()


AGAINST_PROMPT = (
    QualityFilter("language", "answer", "it is in another script than the prompt's", _language, default="report"),
    QualityFilter("refusal", "answer", "it refuses although the prompt is tagged benign", _refusal, default="report"),
)


def _begin_alike(read: ReadItem) -> bool:
    """Tell whether both answers begin with the same letter: most do not, and are no more than looked at."""
    answers = read.item.answers
    return answers[CHOSEN].lstrip()[:1].casefold() == answers[REJECTED].lstrip()[:1].casefold()


def _texts(read: ReadItem) -> tuple[str, str]:
    return tuple(" ".join(read.item.answers[name].split()).casefold() for name in (CHOSEN, REJECTED))  # type: ignore[return-value]


def _white_space(read: ReadItem, name: str) -> Spans:
    if not _begin_alike(read):
        return ()
    chosen, rejected = _texts(read)
    return ((0, len(read.item.answers[name])),) if chosen == rejected else ()


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
