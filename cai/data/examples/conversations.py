r"""Conversations as files spell them: strings, message lists, and the text form of Anthropic's HH data.

A string prompt is one turn of the user's, a string completion one of the assistant's; only where a pair has no prompt
of its own is text in HH's form (`\n\nHuman: …\n\nAssistant: …`, arXiv 2204.05862) taken apart. What cannot be used
raises BadRowError with a short reason that rows are counted under.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cai.core.records import Message, RoleName
from cai.data.contents import TOOLS, read_content
from cai.data.rows import BadRowError, check_text

THINKING = "thinking"
"""What was thought before a turn, under TRL's name."""

_SPEAKERS = ("system", "user", "assistant", *TOOLS)
_THINKING_TOO = (THINKING, "reasoning_content")


class Turn(Message, total=False):
    """A turn, with what the assistant thought before it, if that was written down."""

    thinking: str


Turns = list[Turn]

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_ANSWER = "\n\nAssistant:"
_ROLES: Mapping[str, RoleName] = {"Human": "user", "Assistant": "assistant"}


def read_prompt(value: Any) -> Turns:
    """Return a prompt's turns; they end with the user's."""
    return _as_prompt(_turns(value, "user", "prompt"))


def read_answer(value: Any, prompt: Turns) -> Turns:
    """Return the assistant's one turn after `prompt`, which a message list may repeat (perhaps without system)."""
    turns = _turns(value, "assistant", "answer")
    if len(turns) > 1:
        without_system = [turn for turn in prompt if turn["role"] != "system"]
        for repeated in (prompt, without_system):
            if len(turns) > len(repeated) and spoken(turns[: len(repeated)]) == spoken(repeated):
                turns = turns[len(repeated) :]
                break
    return _as_answer(turns)


def read_dialogue(value: Any) -> Turns:
    """Return a conversation in which the assistant speaks and no turn of the assistant's is empty."""
    turns = _turns(value, None, "conversation")
    said = [turn["content"] for turn in turns if turn["role"] == "assistant"]
    if not said:
        raise BadRowError("the assistant says nothing")
    if not all(content.strip() for content in said):
        raise BadRowError("empty")
    return turns


def read_whole_pair(chosen: Any, rejected: Any) -> tuple[Turns, Turns, Turns]:
    """Return prompt, chosen and rejected of two whole conversations.

    The prompt is their longest common beginning that ends before either's last turn of the assistant's.
    """
    if (parted := _part_texts(chosen, rejected)) is not None:
        return parted
    first, second = _dialogue_or_text(chosen), _dialogue_or_text(rejected)
    common = 0
    said = spoken(first), spoken(second)
    while common < min(len(first), len(second)) - 1 and said[0][common] == said[1][common]:
        common += 1
    prompt = first[:common]
    if not prompt:
        raise BadRowError("chosen and rejected begin with different prompts")
    return _as_prompt(prompt), _as_answer(first[common:]), _as_answer(second[common:])


def read_text_turns(text: str) -> Turns:
    """Return the turns of a text in HH's form."""
    pieces = _SPEAKER.split(text if text.startswith("\n\n") else f"\n\n{text}")  # the first turn may begin the text
    if len(pieces) < 3 or pieces[0].strip():
        raise BadRowError("there is no prompt, neither in a column nor as '\\n\\nHuman: ' in the text")
    return [_said(_ROLES[name], content) for name, content in zip(pieces[1::2], pieces[2::2], strict=True)]


def split_last_answer(turns: Turns) -> tuple[Turns, Turns] | None:
    """Return prompt and completion of a conversation whose only turn of the assistant's is its last, or None."""
    speakers = [turn["role"] for turn in turns]
    if speakers.count("assistant") == 1 and speakers[-1] == "assistant" and speakers[-2:-1] == ["user"]:
        return turns[:-1], turns[-1:]
    return None


def last_answer(turns: Sequence[Message]) -> tuple[Sequence[Message], Message]:
    """Return what comes before the assistant's last turn, and that turn; what comes behind it belongs to neither."""
    last = max(number for number, turn in enumerate(turns) if turn["role"] == "assistant")
    return turns[:last], turns[last]


def spoken(turns: Sequence[Turn]) -> list[Message]:
    """Return the turns without what was thought."""
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def is_turn_of(turn: object, role: str) -> bool:
    """Tell whether a value, whatever it is, is a turn of the role's."""
    return isinstance(turn, dict) and turn.get("role") == role


def _part_texts(chosen: Any, rejected: Any) -> tuple[Turns, Turns, Turns] | None:
    """Return what `read_whole_pair` does of two texts that are the same up to one last answer each, or None.

    Nearly all of HH's are so, and their common beginning is read once.
    """
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        return None
    (asked, _, first), (same, _, second) = chosen.rpartition(_ANSWER), rejected.rpartition(_ANSWER)
    if not asked or asked != same or any(_SPEAKER.search(f"\n\n{text}") for text in (first, second)):
        return None
    answers = [[_said("assistant", text)] for text in (first, second)]
    return _as_prompt(read_text_turns(asked)), _as_answer(answers[0]), _as_answer(answers[1])


def _dialogue_or_text(value: Any) -> Turns:
    return read_text_turns(value) if isinstance(value, str) else _turns(value, None, "conversation")


def _said(role: RoleName, content: str) -> Turn:
    return {"role": role, "content": check_text(content.strip())}


def _turns(value: Any, role_of_text: RoleName | None, what: str) -> Turns:
    """Return messages with role, content and thought alone; a string is one turn of `role_of_text`."""
    if value is None:
        raise BadRowError(f"there is no {what}")
    if isinstance(value, str) and role_of_text is not None:
        return [{"role": role_of_text, "content": check_text(value)}]
    if not isinstance(value, list):
        raise BadRowError(f"the {what} is neither a string nor a list of messages")
    turns: Turns = []
    for turn in value:
        role = turn.get("role") if isinstance(turn, dict) else None
        if role not in _SPEAKERS:
            raise BadRowError(f"the {what} has a turn without a known role")
        said: Turn = {"role": role, "content": read_content(turn, "a turn")}
        if role == "assistant":
            thought = next((turn[name] for name in _THINKING_TOO if isinstance(turn.get(name), str)), "")
            if thought.strip():
                said["thinking"] = check_text(thought)
        turns.append(said)
    return turns


def _as_prompt(turns: Turns) -> Turns:
    if not turns or turns[-1]["role"] != "user":
        raise BadRowError("the prompt does not end with the user")
    if not turns[-1]["content"].strip():
        raise BadRowError("empty")
    return turns


def _as_answer(turns: Turns) -> Turns:
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        raise BadRowError("the answer is not one turn of the assistant's")
    if not turns[0]["content"].strip():
        raise BadRowError("empty")
    return turns
