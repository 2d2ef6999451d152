"""Filters of answers that are none: talk about the task, copies, scripts, template tokens, loops, broken marks."""

import re

from cai.core.words import Text
from cai.data.quality.descriptor import QualityFilter, Spans
from cai.data.quality.items import ReadItem
from cai.method.junk import (
    ECHOED,
    Span,
    find_announcement,
    find_copy,
    find_critique,
    find_loop,
    find_principle,
    find_recital,
    find_speakers,
)

_PREFIX = re.compile(
    r"^\W*(?:(?:sure|certainly|of course|absolutely|okay|ok|great|물론입니다|네|알겠습니다)\b\W{1,3})?"
    r"[^\n.!?:]{0,120}\b(?:response|answer|version|rewrite|revision|reply|답변)\b[^\n.!?:]{0,60}:\s*(?=\S+\s+\S)",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "\u201c": "\u201d"}
_TOKENS = re.compile(
    r"<\|[a-zA-Z_]{2,30}\|>|\[/?INST\]|</?s>|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>|</?(?:user|assistant|system)>"
    r"|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\]|<\uff5c[^\uff5c\n]{2,30}\uff5c>"
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_SPOKEN_OF = {"assistant", "chatbot", "ai", "user"}
_FENCE = re.compile(r"^ {0,3}(```+|~~~+)", re.MULTILINE)
_THINKING = re.compile(r"</?(?:think|thinking|reasoning|thought)>|\[/?THINK\]|<\|channel\|>")


def _one(span: Span | None) -> Spans:
    return () if span is None else (span,)


def _announcement(read: ReadItem, name: str) -> Spans:
    text = read.texts[name]
    if find_announcement(text) is None:
        return ()
    prefix = _PREFIX.match(text.text)
    return _one(prefix.span() if prefix else find_announcement(text))


def _without_prefix(text: str, spans: Spans) -> str | None:
    """Return the answer behind an announcement, without quotation marks around all of it."""
    (start, end) = spans[0]
    if start != 0 or not _PREFIX.match(text):
        return None
    rest = text[end:].strip()
    if len(rest) > 2 and _QUOTES.get(rest[0]) == rest[-1] and rest[0] not in rest[1:-1]:
        rest = rest[1:-1].strip()
    return rest if rest and find_announcement(Text(rest)) is None else None


def _outside_code(pattern: re.Pattern[str], text: str) -> Spans:
    """Return where a pattern is found, what is quoted as code aside."""
    found = [one.span() for one in pattern.finditer(text)]
    if not found or "`" not in text:
        return found
    code = [one.span() for one in _CODE.finditer(text)]
    return [span for span in found if not any(start <= span[0] < end for start, end in code)]


def _fence(read: ReadItem, name: str) -> Spans:
    """Find the fence that nothing closes: one of a kind closes only one of the same kind."""
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(read.texts[name].text):
        if opened is None:
            opened = fence
        elif fence[1][0] == opened[1][0] and len(fence[1]) >= len(opened[1]):
            opened = None
    return () if opened is None else (opened.span(),)


def _empty(read: ReadItem, name: str) -> Spans:
    text = read.texts[name].text
    return () if text and not text.isspace() else ((0, len(text)),)


def _one_word(read: ReadItem, name: str) -> Spans:
    text = read.texts[name]
    return ((0, len(text.text)),) if len(text.words) <= 1 and text.text.strip() else ()


ANSWERS = (
    QualityFilter(
        "announcement",
        "answer",
        "it announces an answer, or says that it was rewritten",
        _announcement,
        default="clean",
        strict="clean",
        words=frozenset(
            {
                *("rewrite", "rewrites", "rewriting", "rewritten", "rewrote", "write", "writing", "written", "wrote"),
                *("revise", "revises", "revised", "revising", "revision", "revisions", "rephrase", "rephrases"),
                *(
                    "rephrased",
                    "rephrasing",
                    "edited",
                    "change",
                    "changes",
                    "changed",
                    "changing",
                    "improved",
                    "updated",
                ),
                *("corrected", "new", "better", "response", "version", "answer", "reply"),
            }
        ),
        marks=("답변",),
        clean=_without_prefix,
    ),
    QualityFilter("empty", "answer", "it says nothing", _empty, default="drop"),
    QualityFilter("one-word", "answer", "it is one word", _one_word, default="report"),
    QualityFilter(
        "critique",
        "answer",
        "it speaks of the response as a critique does",
        lambda read, name: _one(find_critique(read.texts[name])),
        default="drop",
        words=frozenset({"response", "reply", "revision", "critique", "rewrite", "principle"} | _SPOKEN_OF),
        marks=("답변", "사용자", "어긋", "위배"),
    ),
    QualityFilter(
        "principle",
        "answer",
        "it speaks of a principle of the constitution",
        lambda read, name: _one(find_principle(read.texts[name], Text(""))),
        default="report",
        words=frozenset({"principle", "principles"}),
        marks=("원칙",),
    ),
    QualityFilter(
        "copied-principle",
        "answer",
        "it recites a principle of the constitution",
        lambda read, name: _one(find_recital(read.texts[name], *read.item.shown.principles)),
        default="report",
    ),
    QualityFilter(
        "copied-exemplar",
        "answer",
        "most of it stands in the constitution's exemplars",
        lambda read, name: _one(find_copy(read.texts[name], read.item.shown.exemplars)),
        default="report",
    ),
    QualityFilter(
        "copied-critique",
        "answer",
        "most of it stands in the critique before it",
        lambda read, name: _one(find_copy(read.texts[name], read.critique(name))),
        default="drop",
    ),
    QualityFilter(
        "copied-prompt",
        "answer",
        "nearly all of it stands in the prompt's last turn",
        lambda read, name: _one(find_copy(read.texts[name], read.question, ECHOED)),
        default="report",
    ),
    QualityFilter(
        "speakers",
        "answer",
        "it is written with the names of speakers, as a script is",
        lambda read, name: _one(find_speakers(read.texts[name], read.question.text)),
        default="drop",
        words=frozenset({"user", "human", "assistant"}),
        marks=("사용자", "어시스턴트"),
    ),
    QualityFilter(
        "template-tokens",
        "answer",
        "it has tokens of a chat template in its text",
        lambda read, name: _outside_code(_TOKENS, read.texts[name].text),
        default="drop",
        marks=(
            *("<|", "INST]", "<s>", "</s>", "SYS>>", "_of_turn>", "os>", "<pad>", "user>", "assistant>", "system>"),
            *("[SYSTEM_PROMPT", "[AVAILABLE", "[TOOL_", "[/", "<\uff5c"),
        ),
    ),
    QualityFilter(
        "loop",
        "answer",
        "much of it was said in it before",
        lambda read, name: _one(find_loop(read.texts[name])),
        default="drop",
    ),
    QualityFilter(
        "thinking",
        "answer",
        "it has marks of thinking in its text",
        lambda read, name: _outside_code(_THINKING, read.texts[name].text),
        default="report",
        marks=("think>", "thinking>", "reasoning>", "thought>", "THINK]", "<|channel"),
    ),
    QualityFilter(
        "open-fence", "answer", "a code fence in it is never closed", _fence, default="report", marks=("```", "~~~")
    ),
)
"""In the order in which they are asked; the first that leaves an item out is its reason."""
