"""Conversations as formats spell them, and what they must be to fit."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cai.data.export.layouts.descriptor import (
    EMPTY_SYSTEM_TURN,
    ORDER_OF_TURNS,
    SEVERAL_TURNS,
    SYSTEM_TURN,
    UnfitError,
)

Turns = Sequence[Mapping[str, Any]]

_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}


class Parts(NamedTuple):
    """A prompt taken apart: the system's turn or "", the exchanges before the last question, and that question."""

    system: str
    history: list[list[str]]
    question: str


def plain(turns: Turns) -> list[dict[str, str]]:
    """Return turns with role and content alone."""
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def said(turn: Mapping[str, Any]) -> dict[str, str]:
    """Return a turn as ShareGPT has it."""
    return {"from": _SPEAKERS[turn["role"]], "value": turn["content"]}


def taken_apart(prompt: Turns) -> Parts:
    """Return a prompt's parts; raises UnfitError unless user and assistant alternate after at most one system turn."""
    system = prompt[0]["content"] if prompt[0]["role"] == "system" else ""
    talk = prompt[1:] if prompt[0]["role"] == "system" else prompt
    if any(turn["role"] != ("user", "assistant")[number % 2] for number, turn in enumerate(talk)):
        raise UnfitError(ORDER_OF_TURNS)
    texts = [turn["content"] for turn in talk]
    return Parts(system, [texts[start : start + 2] for start in range(0, len(texts) - 1, 2)], texts[-1])


def for_columns(prompt: Turns) -> Parts:
    """Return a prompt's parts for columns, where no text is no system turn; raises UnfitError for an empty one."""
    parts = taken_apart(prompt)
    if prompt[0]["role"] == "system" and not parts.system.strip():
        raise UnfitError(EMPTY_SYSTEM_TURN)
    return parts


def one_question(prompt: Turns) -> tuple[str, str]:
    """Return the system's turn, or "", and the only question; raises UnfitError where there was talk before."""
    parts = for_columns(prompt)
    if parts.history:
        raise UnfitError(SEVERAL_TURNS)
    return parts.system, parts.question


def question_alone(prompt: Turns) -> str:
    """Return the only turn; raises UnfitError where there is another."""
    if prompt[0]["role"] == "system":
        raise UnfitError(SYSTEM_TURN)
    return one_question(prompt)[1]
