"""Junk: texts that stand where an answer should, and are none. Found on the surface, without a model.

A weak model that is to revise its answer often writes about the task instead of doing it (the Constitutional AI paper's
exemplars are there for this, arXiv 2212.08073, section 3.1). `find_junk` names what a text is; it never changes one.
What it knows are words of English and Korean, and repetition and copying in any language. It does not see whether an
answer is good, right, safe or even sensible. How often it errs is in docs/revision.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cai.core.records import Message

CRITIQUE = "critique"
"""It speaks of the response as a critique does."""
ANNOUNCEMENT = "announcement"
"""It announces an answer, or says that it was rewritten, beside or instead of giving it."""
PRINCIPLE = "principle"
"""It recites the principle, or speaks of it."""
COPIED_CRITIQUE = "copied critique"
COPIED_PROMPT = "copied prompt"
SPEAKERS = "speakers"
"""It is written with the names of speakers, as a script is, or goes on with the user's next turn."""
LOOP = "loop"
"""It says the same over and over."""
CUT = "cut"
"""The token limit ended it."""

KINDS = (CRITIQUE, ANNOUNCEMENT, PRINCIPLE, COPIED_CRITIQUE, COPIED_PROMPT, SPEAKERS, LOOP, CUT)

_RESPONSE = (
    r"(?:the|this|that|my|your|its|our|an?)\s+"
    r"(?:(?:assistant|user|model|ai|chatbot)(?:['\u2019]s)?\s+)?"
    r"(?:(?:last|previous|original|first|new|revised|rewritten|above|initial|earlier|given|improved|better)\s+)*"
    r"(?:response|reply|revision|critique|rewrite)"
)
_SPOKEN_OF = (
    r"\s+(?:\w+ly\s+)?(?:is|was|does|did|do|has|had|goes|go|went|should|could|can|would|will|may|might|must|needs?|fails?|"
    r"lacks?|misses|keeps?|breaks?|violates?|follows?|adheres?|contains?|includes?|provides?|gives?|offers?|helps?|"
    r"suggests?|implies|focuses|mentions?|addresses|acknowledges|encourages|appears?|seems?|reveals?|states?|says|"
    r"uses|also|not|doesn|isn|didn|shouldn|respects?|maintains?|remains?|presents?|avoids?|declines?|refuses?|starts?|"
    r"ends?|begins?|tells?|shows?|demonstrates|criticizes|emphasizes|highlights|describes|explains|answers?|makes?)\b"
)
_CRITIQUES = re.compile(
    rf"\b{_RESPONSE}{_SPOKEN_OF}"
    rf"|\b(?:in|of|to|with|about|for|from) {_RESPONSE}\b(?! to (?:an?|the)\b)"
    r"|\bthe (?:assistant|chatbot|ai)(?:['\u2019]s)? (?:\w+ly )?"
    r"(?:is|was|does|should|could|has|answer|response|responds?|goes|fails?|provides?)\b"
    r"|\bthe user(?:['\u2019]s)? (?:\w+ly )?"
    r"(?:is|was|does|asks?|asked|wants?|may|might|can|could|should|has|to|question|request|needs?|will|who)\b"
    r"|\b(?:goes?|going|went) against the\b.{0,40}\bprinciple"
    r"|답변(?:은|이|에|에는|에서|을|의)\b|사용자(?:는|가|의|에게|를)\b|(?:어긋|위배)(?:납|나|됩|된|되)",
    re.IGNORECASE,
)
_ANNOUNCES = re.compile(
    r"^\W*(?:(?:sure|certainly|of course|absolutely|okay|ok|great)\b\W{1,3})?"
    r"(?:here|below|this|the following)(?:['\u2019]s| is| are|\b)\s+(?:\w+\s+){0,4}?"
    r"(?:re-?writ\w+|revis\w+|rephras\w+|improved|updated|corrected|new|better|edited|response|version|answer|reply)\b"
    r"|^\W*(?:(?:the|my|your|a)\s+)?(?:revised|rewritten|new|better|improved|updated|corrected|final|original)?\s*"
    r"(?:response|answer|version|rewrite|revision|reply)\W{0,3}:"
    r"|^\W*re-?writ(?:e|ten)\b\W{0,3}:"
    r"|\bI(?:['\u2019]ve| have|['\u2019]ll| will|['\u2019]d| can| could)?\s+"
    r"(?:re-?writ\w+|rewrote|revis\w+|rephras\w+|edited|chang\w+)\s+(?:my|the|your|this|it)\b"
    r"|\b(?:revised|rewritten|rephrased) (?:response|version|answer|text|sentence|reply)\b"
    r"|^\W*(?:물론입니다|네|알겠습니다)?\W*(?:다음은|아래는)?\s*(?:수정|고쳐 쓴|새로운|개선)\S*\s*(?:된\s*)?답변",
    re.IGNORECASE,
)
_PRINCIPLES = re.compile(
    r"\b(?:the|this|that|a|your|our)\s+(?:\w+\s+)?principles?\b(?!\s+of\b)|원칙(?:은|이|을|에|의)\b", re.IGNORECASE
)
_SPEAKS = re.compile(r"^\s*(?:\**)(?:user|human|assistant|사용자|어시스턴트)(?:\**)\s*:", re.IGNORECASE | re.MULTILINE)
_WORD = re.compile(r"\w+")

_RUN = 4
"""Words in a row by which texts are compared."""
_COPIED = 0.5
"""Share of a text's runs that another text has, from which it is copied."""
_RECITED = 0.4
"""Share of a principle's runs that a text has, from which it recites it."""
_REPEATED = 0.3
"""Share of a text's runs that it had before, from which it goes in a loop."""
_SHORT = 6
"""Words below which a text is called no copy: it has too few runs to take shares of."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a text was to answer, as far as it is known: `find_junk` looks for copies of it."""

    messages: Sequence[Message] = ()
    principle: str = ""
    critique: str = ""


def find_junk(text: str, asked: Asked = Asked(), *, truncated: bool = False) -> tuple[str, ...]:
    """Return the kinds of junk that a text is, in the order of KINDS; none for a clean one."""
    words = _words(text)
    runs = _runs(words)
    last = asked.messages[-1]["content"] if asked.messages else ""
    found = {
        CRITIQUE: bool(_CRITIQUES.search(text)),
        ANNOUNCEMENT: bool(_ANNOUNCES.search(text)),
        PRINCIPLE: bool(_PRINCIPLES.search(text)) or _holds(runs, asked.principle),
        COPIED_CRITIQUE: _is_copy(words, asked.critique),
        COPIED_PROMPT: _is_copy(words, last),
        SPEAKERS: bool(_SPEAKS.search(text)),
        LOOP: _loops(runs),
        CUT: truncated,
    }
    return tuple(kind for kind in KINDS if found[kind])


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1)]


def _is_copy(words: list[str], other: str) -> bool:
    """Return whether most of a text stands in the other; of a short one nothing is said."""
    if len(words) < _SHORT:
        return False
    runs, known = _runs(words), set(_runs(_words(other)))
    return sum(run in known for run in runs) >= _COPIED * len(runs)


def _holds(runs: Sequence[tuple[str, ...]], principle: str) -> bool:
    wanted = set(_runs(_words(principle)))
    return bool(wanted) and len(wanted.intersection(runs)) >= _RECITED * len(wanted)


def _loops(runs: Sequence[tuple[str, ...]]) -> bool:
    return len(runs) > 2 * _SHORT and len(runs) - len(set(runs)) >= _REPEATED * len(runs)
