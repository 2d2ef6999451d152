"""What a model thought apart from what it says, told by the tags around its thoughts.

| models | tags |
|---|---|
| Qwen, DeepSeek, GLM, Nemotron, Phi and most others | `<think>` … `</think>`; Hunyuan and ERNIE tag the text, too |
| Magistral | `[THINK]` … `[/THINK]` |
| prompted ones, EXAONE Deep | `<thinking>` … `</thinking>`, `<thought>` … `</thought>` |
| Seed-OSS, Kimi-VL, Solar | `<seed:think>`, `◁think▷`, `<|think:start|>` … |
| Apertus, Pangu | `<|inner_prefix|>` … `<|inner_suffix|>`, `[unused16]` … `[unused17]` |
| gpt-oss (harmony) | `<|channel|>analysis<|message|>` … `<|end|><|start|>assistant<|channel|>final<|message|>` |
| Muse | ` to=self<|message|>` … `<|eom|><|start|>assistant to=user<|message|>` |
| Gemma 4 | `<|channel>thought` … `<channel|>` |
| Command A | `<|START_THINKING|>` … `<|END_THINKING|>`, and the text in `<|START_RESPONSE|>` … `<|END_RESPONSE|>` |
| Granite 3.2 | `Here is my thought process:` … `Here is my response:` |

A tag counts where a model's turn can have one and nowhere else, so that a text about tags stays as it is:

- An opening tag counts at the very start of the turn, and again behind a thought. Inside a thought, tags nest.
- A closing tag alone counts where the prompt opened the thought, and on the turn's first line. Where nobody knows what
  the prompt did, it counts when nothing opened it and it stands alone on its line.
- A thought that is not closed is all that there is: the text is empty.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Split(NamedTuple):
    """A turn's thought and its text; `closed` is false where a thought was begun and not ended."""

    reasoning: str
    text: str
    closed: bool = True


@dataclass(frozen=True, slots=True)
class Tags:
    """One way to tell a thought from a text.

    `opening` and `closing` are what to write; `opens` and `closes` match what models write, white space apart.
    `words` are tags that are no marks: people write such things, too, and only a turn's beginning makes them tags.
    """

    opening: str
    closing: str
    opens: re.Pattern[str] = field(repr=False)
    closes: re.Pattern[str] = field(repr=False)
    words: bool = False

    @property
    def end(self) -> str:
        """What a thought has ended with when it has come: the closing tag, of harmony's the last part."""
        closing = self.closing.strip()
        return closing[closing.rindex("<|channel|>") :] if "<|channel|>" in closing else closing

    def wrap(self, reasoning: str, text: str) -> str:
        """Return the turn that a model writes which thinks `reasoning` and says `text`."""
        return f"{self.opening}{reasoning}{self.closing}{text}"


def _pair(opening: str, closing: str) -> Tags:
    return Tags(f"{opening}\n", f"\n{closing}\n\n", re.compile(re.escape(opening)), re.compile(re.escape(closing)))


def _pattern(opening: str, closing: str, opens: str, closes: str, *, words: bool = False) -> Tags:
    return Tags(opening, closing, re.compile(opens), re.compile(closes), words)


THINK = _pair("<think>", "</think>")
TAGS: tuple[Tags, ...] = (
    THINK,
    _pair("[THINK]", "[/THINK]"),
    _pair("<thinking>", "</thinking>"),
    _pair("<thought>", "</thought>"),
    _pair("<seed:think>", "</seed:think>"),
    _pair("◁think▷", "◁/think▷"),
    _pair("<|think:start|>", "<|think:end|>"),
    _pair("<|inner_prefix|>", "<|inner_suffix|>"),
    _pair("[unused16]", "[unused17]"),
    _pair("<|START_THINKING|>", "<|END_THINKING|>"),
    _pattern(
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>",
        r"(?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>",
    ),
    _pattern(
        " to=self<|message|>",
        "<|eom|><|start|>assistant to=user<|message|>",
        r"(?:<\|start\|>assistant )?to=self<\|message\|>",
        r"(?:<\|eom\|>)?<\|start\|>assistant(?: to=user)?<\|message\|>",
    ),
    _pattern("<|channel>thought\n", "\n<channel|>", r"<\|channel>(?:thought\b)?", r"<channel\|>"),
    _pattern(
        "Here is my thought process:\n",
        "\nHere is my response:\n",
        r"Here(?:'s| is) my thought process:",
        r"Here(?:'s| is) my response:",
        words=True,
    ),
    # What is left of harmony where a server drops special tokens.
    _pattern("analysis", "assistantfinal", r"analysis(?=[\s\S]*assistantfinal)", r"assistantfinal", words=True),
)
"""Every way that is known; the first is the most common one by far."""

_SIGNS = ("<", "[", "◁")
_FIRST_WORDS = ("Here", "analysis")
"""Every tag has one of the former, or begins with one of the latter."""

_MARKS = tuple(tags for tags in TAGS if not tags.words)
_HEADS = (
    (re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"), None),
    (re.compile(r"\s*to=user<\|message\|>"), None),
    (re.compile(r"\s*<\|START_RESPONSE\|>"), re.compile(r"<\|END_RESPONSE\|>\s*\Z")),
)
"""What may stand before a text, and behind it, thought or not."""

_HEADS_BEHIND_A_THOUGHT = (
    *_HEADS,
    (re.compile(r"\s*<answer>\s*"), re.compile(r"\s*</answer>\s*\Z")),
    (re.compile(r"\s*<response>\s*"), re.compile(r"\s*</response>\s*\Z")),
)


def split(text: str, opened: bool | None = False) -> Split:
    """Return the thought and the text of a model's turn; `opened` says whether the prompt ended in an opening tag.

    None is for a turn whose prompt nobody knows, as a server's. A text without tags is returned as it is; else white
    space around the thought and before the text is dropped. What was split gives the same text again.
    """
    less, square, open_triangle = _SIGNS
    has_sign = less in text or square in text or open_triangle in text
    if not opened and not has_sign and not text.lstrip().startswith(_FIRST_WORDS):
        return Split("", text)  # nearly every text, and what is looked for below takes a hundred times as long
    thoughts: list[str] = []
    rest, inside = text, bool(opened)
    while True:
        begun = _begun(rest)
        if begun is None and not inside:
            first = _first_line(rest)
            if first is None:
                break
            rest = rest[first:]
            thoughts.append("")
            continue
        thought = rest if begun is None else rest[begun[1] :]
        body, ways = (rest, _MARKS) if inside or begun is None else (thought, (begun[0],))
        end = _end(body, ways)
        if end is None:
            return Split(_joined([*thoughts, thought]), "", closed=False)
        thoughts.append(thought[: end.start() - len(body) + len(thought)])
        rest, inside = body[end.end() :], False
    lone = _last_unopened(rest) if opened is None else None
    if lone is not None:
        more = split(rest[lone.end() :], None)
        return Split(_joined([*thoughts, rest[: lone.start()], more.reasoning]), more.text.lstrip(), more.closed)
    if not thoughts:
        return Split("", _bare(text, _HEADS))
    return Split(_joined(thoughts), _bare(rest, _HEADS_BEHIND_A_THOUGHT).lstrip())


def opened_by(prompt: str) -> Tags | None:
    """Return the tags of the thought that a prompt leaves open at its end, None when it opens none."""
    end = prompt.rstrip()
    for tags in _MARKS:
        if any(match.end() == len(end) for match in tags.opens.finditer(end)):
            return tags
    return None


def closed_by(prompt: str) -> bool:
    """Return whether a prompt ends in a closing tag: behind it there is text."""
    end = prompt.rstrip()
    return any(match.end() == len(end) for tags in _MARKS for match in tags.closes.finditer(end))


def _begun(text: str) -> tuple[Tags, int] | None:
    """Return the tags that a turn begins with, and where its thought begins."""
    start = len(text) - len(text.lstrip())
    for tags in TAGS:
        match = tags.opens.match(text, start)
        if match:
            return tags, match.end()
    return None


def _first_line(text: str) -> int | None:
    """Return what follows a closing tag that is all of the first line, None when there is none."""
    for tags in _MARKS:
        match = tags.closes.match(text, len(text) - len(text.lstrip()))
        if match and _alone(text, match):
            return match.end()
    return None


def _end(body: str, ways: Iterable[Tags]) -> re.Match[str] | None:
    """Return the closing tag that ends a thought which `body` begins inside, None when it does not end.

    Where not all tags fit together, an opening one inside a line was only mentioned, and one at the beginning repeats
    what the prompt said.
    """
    for least in (-1, 0):
        depth = 1
        for place, opening, match in _found(body, ways):
            if opening:
                depth += least < 0 or (bool(body[:place].strip()) and _begins_line(body, place))
            else:
                depth -= 1
                if not depth:
                    return match
    return None


def _last_unopened(text: str) -> re.Match[str] | None:
    """Return the last closing tag that stands alone on its line and that no tag before it opens."""
    last, depth = None, 0
    for _, opening, match in _found(text, _MARKS):
        if opening:
            depth += 1
        elif depth:
            depth -= 1
        elif _alone(text, match):
            last = match
    return last


def _found(text: str, ways: Iterable[Tags]) -> Iterator[tuple[int, bool, re.Match[str]]]:
    """Yield place, whether it opens, and match of every tag in the order of the text."""
    found = [
        (match.start(), opening, match)
        for tags in ways
        for opening, pattern in ((True, tags.opens), (False, tags.closes))
        for match in pattern.finditer(text)
    ]
    yield from sorted(found, key=lambda one: (one[0], one[1]))


def _alone(text: str, match: re.Match[str]) -> bool:
    after = text[match.end() :].split("\n", 1)[0]
    return _begins_line(text, match.start()) and not after.strip()


def _begins_line(text: str, place: int) -> bool:
    return not text[:place].rsplit("\n", 1)[-1].strip()


def _joined(thoughts: Iterable[str]) -> str:
    return "\n\n".join(thought.strip() for thought in thoughts if thought.strip())


def _bare(text: str, heads: Iterable[tuple[re.Pattern[str], re.Pattern[str] | None]]) -> str:
    """Return a text without what only says that it is one."""
    for head, tail in heads:
        match = head.match(text)
        if match:
            bare = text[match.end() :]
            return tail.sub("", bare) if tail else bare
    return text
