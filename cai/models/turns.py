"""Conversations as a chat template takes them: what it refuses, or would leave out without a word, is put otherwise.

| a template that refuses, or does not print, | gets |
|---|---|
| a system turn, or one behind other turns | its text before that of the user's next turn, a blank line between |
| several turns of one role in a row | one turn, a blank line between their texts |

As little as possible is changed, and nothing where the template takes the turns as they are. Which it does is found out
by rendering short texts in turns of the same roles, so that the roles alone decide. What no change makes fit, such as a
conversation that the assistant begins, is refused with what the template said.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from cai.core.records import Message, RoleName
from cai.models.template_check import explain

SYSTEM = "a system turn's text stands before the user's"
JOINED = "turns of one role are one turn"

_BETWEEN = "\n\n"
_SHAPES = 4096

Render = Callable[[Sequence[Message], bool], str]
"""What renders a conversation, and behind it the beginning of the assistant's turn where that is asked for."""


class RefusedTurnsError(Exception):
    """A chat template takes turns of these roles in no way; the message says in half a sentence why."""


class AcceptedTurns(NamedTuple):
    """The turns that the template takes, and what was changed, of SYSTEM and JOINED."""

    turns: tuple[Message, ...]
    changes: tuple[str, ...] = ()


class TurnFitter:
    """Makes conversations fit one chat template, and counts what it changes in them.

    `say` is told of a change when it is made first, and by `tell` in how many conversations it was.
    """

    def __init__(self, render: Render, say: Callable[[str], None] | None = None) -> None:
        self._render = render
        self._say = say
        self._way = lru_cache(_SHAPES)(self._find_way)
        self.seen = 0
        self.changed: Counter[str] = Counter()

    def fit(self, messages: Sequence[Message]) -> AcceptedTurns:
        """Return the conversation as the template takes it, counted; raises RefusedTurnsError."""
        fitted = self.peek(messages)
        self.seen += 1
        for change in fitted.changes:
            if self._say is not None and change not in self.changed:
                self._say(f"the model's chat template does not take the turns as they are: {change}")
            self.changed[change] += 1
        return fitted

    def peek(self, messages: Sequence[Message]) -> AcceptedTurns:
        """Return the same, uncounted."""
        way = self._way(tuple(message["role"] for message in messages))
        return AcceptedTurns(tuple(messages)) if way is None else way(messages)

    def tell(self) -> None:
        """Say in how many conversations what was changed, where anything was."""
        for change, count in self.changed.items():
            if self._say is not None:
                self._say(f"{change} in {count:,} of {self.seen:,} conversations")

    def _find_way(self, roles: tuple[RoleName, ...]) -> "Callable[[Sequence[Message]], AcceptedTurns] | None":
        """Return what to do to turns of these roles, None for nothing."""
        turns: list[Message] = [
            {"role": role, "content": f"Turn {number} is this."} for number, role in enumerate(roles)
        ]
        reason = self._why_not(turns)
        if reason is None:
            return None
        for way in _WAYS:
            fitted = way(turns)
            if fitted.changes and fitted.turns and self._why_not(fitted.turns) is None:
                return way
        raise RefusedTurnsError(reason)

    def _why_not(self, turns: Sequence[Message]) -> str | None:
        """Return why the template does not take the turns, None where it does."""
        conversations = [turns]
        if [turn["role"] for turn in turns[-2:]] == ["user", "assistant"]:
            conversations.append(turns[:-1])  # training looks at an answer with its prompt, and at the prompt alone
        for conversation in conversations:
            try:
                text = self._render(conversation, conversation[-1]["role"] == "user")
            except Exception as error:  # a template can raise whatever Python can
                return explain(error)
            for number, turn in enumerate(conversation, start=1):
                if not all(line in text for line in turn["content"].split(_BETWEEN)):
                    return f"it does not print turn {number}, which is of role {turn['role']}"
        return None


def _joined(messages: Sequence[Message]) -> AcceptedTurns:
    """Return neighbours of one role as one turn."""
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1] = {**turns[-1], "content": _BETWEEN.join((turns[-1]["content"], message["content"]))}
        else:
            turns.append(message)
    return AcceptedTurns(tuple(turns), (JOINED,) if len(turns) < len(messages) else ())


def _later_before_users(messages: Sequence[Message]) -> AcceptedTurns:
    """Return the system's turns behind other turns put before the texts of the user's."""
    leading = next((place for place, turn in enumerate(messages) if turn["role"] != "system"), len(messages))
    rest = _all_before_users(messages[leading:])
    return AcceptedTurns((*messages[:leading], *rest.turns), rest.changes)


def _all_before_users(messages: Sequence[Message]) -> AcceptedTurns:
    """Return all system turns put before the texts of the user's; as they are where no turn of the user's follows."""
    turns: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "system":
            waiting += [message["content"]] if message["content"].strip() else []
        elif message["role"] == "user" and waiting:
            turns.append({**message, "content": _BETWEEN.join((*waiting, message["content"]))})
            waiting = []
        else:
            turns.append(message)
    if waiting or len(turns) == len(messages):
        return AcceptedTurns(tuple(messages))
    return AcceptedTurns(tuple(turns), (SYSTEM,))


def _then_joined(first: Callable[[Sequence[Message]], AcceptedTurns]) -> Callable[[Sequence[Message]], AcceptedTurns]:
    def both(messages: Sequence[Message]) -> AcceptedTurns:
        turns, changes = first(messages)
        joined = _joined(turns)
        return AcceptedTurns(joined.turns, (*changes, *joined.changes))

    return both


_WAYS: tuple[Callable[[Sequence[Message]], AcceptedTurns], ...] = (
    _joined,
    _later_before_users,
    _then_joined(_later_before_users),
    _all_before_users,
    _then_joined(_all_before_users),
)
"""From the least change to the most."""
