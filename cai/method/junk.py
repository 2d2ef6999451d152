"""Junk: texts that stand where an answer should, and are none. Found on the surface, without a model.

A weak model that is to revise its answer often writes about the task instead of doing it (the Constitutional AI paper's
exemplars are there for this, arXiv 2212.08073, section 3.1). `find_junk` names what a text is, and each `find_…` where
in the text that shows (None: nowhere); none changes it. What they know are words of English and Korean, and repetition
and copying in any language. They do not see whether an answer is good, right, safe or even sensible. Revisions that
are junk are asked for again; the filters of `cai.data.quality` look at what is left. How often they err is in
docs/quality.md.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cai.core.records import Message
from cai.core.words import RUN, Text, read_text

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
    r"(?:(?:the|this|that|your|its|our|an?)\s+|my\s+(?=(?:last|previous|original|first|initial|earlier|revised)\b))"
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
    r"(?:here(?:['\u2019]s| is| are|\b)|(?:below|this|the following) (?:is|are)\b)\s+(?:\w+\s+){0,4}?"
    r"(?:re-?writ\w+|revis\w+|rephras\w+|improved|updated|corrected|new|better|edited"
    r"|(?<!to )(?:response|version|answer|reply))\b"
    r"|^\W*(?:(?:the|my|your|a)\s+)?(?:revised|rewritten|new|better|improved|updated|corrected|final|original)?\s*"
    r"(?:response|answer|version|rewrite|revision|reply)\W{0,3}:"
    r"|^\W*re-?writ(?:e|ten)\b\W{0,3}:"
    r"|\bI(?:['\u2019]ve| have|['\u2019]ll| will|['\u2019]d| can| could)?\s+"
    r"(?:(?:just|also|now|try to|make sure to)\s+)?"
    r"(?:re-?writ\w+|rewrote|revis\w+|rephras\w+|edited|chang\w+)\s+(?:my|the|your|this|it)\b"
    r"|\b(?:revised|rewritten|rephrased) (?:response|version|answer|text|sentence|reply)\b"
    r"|(?:^|[.!?:]\s+|\n)here(?:['\u2019]s| is) an? (?:\w+[ -]){0,5}(?:version|rewrite|rewording)"
    r"(?: of (?:(?:your|my) \w+|the (?:answer|response|message|text|reply|sentence)))?(?: (?:with|that) [^.\n]{0,60})?:"
    r"|\b(?:I(?:['\u2019](?:ll|d|ve)| can| could| will| would| have)|let me)\s+(?:\w+ ){1,5}an? "
    r"(?:\w+,? ){0,3}(?:version of (?:your|my|the|this)|(?:revised|modified|rewritten|rephrased|reworded) \w+)\b"
    r"|^\W*(?:물론입니다|네|알겠습니다)?\W*(?:다음은|아래는)?\s*(?:수정|고쳐 쓴|새로운|개선)\S*\s*(?:된\s*)?답변",
    re.IGNORECASE,
)
_PRINCIPLES = re.compile(
    r"\b(?:the|this|that|a|your|our)\s+(?:\w+\s+)?principles?\b(?!\s+of\b)|원칙(?:은|이|을|에|의)\b", re.IGNORECASE
)
_SPEAKS = re.compile(r"^\s*(?:\**)(?:user|human|assistant|사용자|어시스턴트)(?:\**)\s*:", re.IGNORECASE | re.MULTILINE)
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_SCRIPTED = re.compile(
    r"\b(?:writ\w*|show|give|create|make|generate|compose|draft|script|continue|role-?play|simulate)\b.{0,80}"
    r"\b(?:dialog(?:ue)?s?|conversations?|scripts?|chats?|transcripts?|interviews?|screenplays?|exchanges?)\b"
    r"|(?:대화|대본|인터뷰)\S*\s.{0,20}(?:써|쓰|작성|만들|보여)",
    re.IGNORECASE | re.DOTALL,
)
_DOTLESS = ("\u0131", "\u017f")
"""Letters that are an i and an s to a pattern that looks at no case, and not to `str.lower`."""
_SIGNS_OF_CRITIQUES = (
    *("response", "reply", "revision", "critique", "rewrite", "principle", "assistant", "chatbot", "the ai", "user"),
    *("답변", "사용자", "어긋", "위배", *_DOTLESS),
)
_SIGNS_OF_ANNOUNCEMENTS = (
    *("writ", "rewrote", "revis", "phras", "reword", "improved", "updated", "corrected", "modified", "new", "better"),
    *("edited", "chang", "response", "version", "answer", "reply", "답변", *_DOTLESS),
)
"""What a text has in it, in small letters, where the pattern of that name finds anything: looking for these costs a
twentieth of it."""

Span = tuple[int, int]
"""Where something begins in a text and where it ends, in characters."""

_COPIED = 0.5
"""Share of a text's runs that another text has, from which it is copied."""
ECHOED = 0.8
"""Share of an answer's runs that the prompt has, from which it echoes it: good answers take up its words."""
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
    read = Text(text)
    last = asked.messages[-1]["content"] if asked.messages else ""
    found = {
        CRITIQUE: find_critique(read),
        ANNOUNCEMENT: find_announcement(read),
        PRINCIPLE: find_principle(read, read_text(asked.principle)),
        COPIED_CRITIQUE: find_copy(read, Text(asked.critique)),
        COPIED_PROMPT: find_copy(read, Text(last), ECHOED),
        SPEAKERS: find_speakers(read, last),
        LOOP: find_loop(read),
    }
    kinds = [kind for kind, span in found.items() if span is not None]
    return (*kinds, CUT) if truncated else tuple(kinds)


def find_critique(text: Text) -> Span | None:
    """Find where a text speaks of the response as a critique does."""
    return _span(_CRITIQUES.search(text.text)) if _has_any(text.text, _SIGNS_OF_CRITIQUES) else None


def find_announcement(text: Text) -> Span | None:
    """Find where a text announces an answer, or says that it was rewritten."""
    return _span(_ANNOUNCES.search(text.text)) if _has_any(text.text, _SIGNS_OF_ANNOUNCEMENTS) else None


def find_principle(text: Text, principle: Text) -> Span | None:
    """Find where a text speaks of a principle, or the whole text where it recites the one given."""
    return find_recital(text, principle) or _span(_PRINCIPLES.search(text.text))


def find_recital(text: Text, *principles: Text) -> Span | None:
    """Find the whole text where it has much of some principle's own words."""
    for principle in principles:
        # Who recites two fifths of a text has a fifth of its words, even where it says some of them twice.
        if len(principle.vocabulary & text.vocabulary) < _RECITED / 2 * len(principle.vocabulary):
            continue
        wanted = principle.distinct_runs
        if wanted and len(wanted & text.distinct_runs) >= _RECITED * len(wanted):
            return 0, len(text.text)
    return None


def find_copy(text: Text, other: Text, share: float = _COPIED) -> Span | None:
    """Find the whole text where such a share of it stands in the other; of a short one nothing is said."""
    words = len(text.words)
    count = words - RUN + 1
    # Each word that is new makes at least one run that is.
    if words < _SHORT or len(text.vocabulary - other.vocabulary) > (1 - share) * count:
        return None
    copied = sum(map(other.distinct_runs.__contains__, text.runs)) >= share * count
    return (0, len(text.text)) if copied else None


def find_speakers(text: Text, question: str) -> Span | None:
    """Find the name of a speaker, as a script has it; nothing where a script was asked for."""
    found = [one.span() for one in _SPEAKS.finditer(text.text)]
    if not found or _SCRIPTED.search(question):
        return None
    quoted = [one.span() for one in _CODE.finditer(text.text)]
    return next((one for one in found if not any(start <= one[0] < end for start, end in quoted)), None)


def find_loop(text: Text) -> Span | None:
    """Find the whole text where much of it was said before."""
    count = len(text.words) - RUN + 1
    # Each of the first words that is new begins a run that is.
    if count <= 2 * _SHORT or len(text.vocabulary) - RUN + 1 > (1 - _REPEATED) * count:
        return None
    return (0, len(text.text)) if count - len(text.distinct_runs) >= _REPEATED * count else None


def _has_any(text: str, signs: Iterable[str]) -> bool:
    small = text.lower()
    for sign in signs:  # noqa: SIM110  (a generator costs as much as all of the looking)
        if sign in small:
            return True
    return False


def _span(found: re.Match[str] | None) -> Span | None:
    return None if found is None else found.span()
