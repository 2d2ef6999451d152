"""What one server understands beside OpenAI's common fields, found out by asking it: once, and when it is first needed.

**Thinking.** The ways of its kind are tried one after another; a way that is refused (400, 422, twice) is not sent
again. A model that thinks although it is told not to can only think.

**A turn that is begun.** The server is shown a count that breaks off inside a word (`… eleven, twel`). It continues the
turn where it says the rest of that word, and where the prompt is no longer than one in which the user says the same:
ends of turns and beginnings of new ones are tokens too. A new turn would begin with a whole word or something else.
A thought before the count is kept by the server where the prompt is not shorter either.

What is found is remembered, and what is not possible is told a person once. A finding that came to nothing (the server
broke) is tried again by whoever needs it next.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from cai.core.errors import EngineGoneError
from cai.core.records import Message
from cai.models.base import Thinking, ThinkingMode
from cai.models.openai.bodies import Manner
from cai.models.openai.chat import Said
from cai.models.openai.kinds import UNKNOWN, Fields, ServerKind, kind_of_fingerprint
from cai.models.thinking import THINK

Found = TypeVar("Found")

_SHORT, _LONG = 16, 512  # tokens: nearly all models have answered within the former, or shown that they think
_QUESTION: Message = {"role": "user", "content": "Reply with the one word: yes"}
_COUNTING = "Count to twenty in words."
_COUNT, _REST = "one, two, three, four, five, six, seven, eight, nine, ten, eleven, twel", "ve"
_THOUGHT = "The user wants the numbers from one to twenty, as words and in order. I write them in one line."
_LONGER, _SHORTER = 0, 6
"""By how many tokens a prompt with a begun turn may be longer or shorter than one in which the user says the same."""

_CONTINUE: Fields = {"continue_final_message": True, "add_generation_prompt": False}
"""The fields of vLLM, SGLang and newer llama.cpp; other servers continue a last turn that is the assistant's."""


ThoughtPlace = Literal["tags", "fields"]

Ask = Callable[[Fields], Awaitable[Said | None]]
"""Asks the server with these fields of a body; None: it refuses them. Raises RequestError where nothing came of it."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a mode of thinking is told, and whether the model thought when it was told so.

    Its thoughts may be `unopened`: begun by the template, so that only their closing tag is in the text. One that the
    limit ended cannot be told from a text then, unless it is known that the model thinks.
    """

    fields: Fields
    thinks: bool
    unopened: bool = False


@dataclass(frozen=True, slots=True)
class Continuing:
    """How a turn that is begun is shown to a server so that it is continued.

    `place` says where a thought goes: with its tags into the text, or into fields of its own. `echoes` says that the
    answer repeats what was begun.
    """

    fields: Fields
    place: ThoughtPlace
    echoes: bool = False

    def manner(self, base: Manner, thought: str, text: str) -> Manner:
        """Return `base` with a turn that begins with a thought, if there is one, and a text."""
        turn = _turn(self.place, thought, text)
        return replace(base, fields=self.fields, turn=turn, text=text if self.echoes else None)


class Dialect:
    """What the server `host` understands. `variables` are the chat template's that a person set.

    `say` tells a person what is not possible.
    """

    def __init__(self, host: str, ask: Ask, variables: Fields, say: Callable[[str], None] | None) -> None:
        self.kind: ServerKind = UNKNOWN
        self._host = host
        self._ask = ask
        self._variables = variables
        self._plain = Manner(host, self.kind, self._with({}))
        self._say = say or (lambda _line: None)
        self._found: dict[str, Any] = {}
        self._finding: dict[str, asyncio.Future[Any]] = {}

    async def manner(self, thinking: Thinking) -> Manner:
        """Return how the server is asked to think so."""
        if thinking.mode == "auto" and thinking.budget is None:
            if self._plain.kind is not self.kind:
                self._plain = Manner(self._host, self.kind, self._with({}))
            return self._plain
        way = await self.way(thinking.mode)
        if thinking.budget is None or not way.thinks:
            return Manner(self._host, self.kind, way.fields)
        fields = way.fields
        if self.kind.budget:
            takes = await self._once("limit", self._find_limit)
            fields = {**fields, self.kind.budget: thinking.budget} if takes else fields
        return Manner(self._host, self.kind, fields, room=thinking.budget)

    async def way(self, mode: ThinkingMode) -> Way:
        """Return how a mode is told, and whether the model thinks when it is."""
        return await self._once(mode, lambda: self._find_way(mode))

    async def continuing(self) -> Continuing | None:
        """Return how the server continues a turn that begins without a thought; None: it does not."""
        off = await self.way("off")
        return await self._once("continuing", lambda: self._find_continuing("", [off.fields]))

    async def continuing_thought(self) -> Continuing | None:
        """Return how the server continues a turn that begins with a thought; None: it does not."""
        off = await self.way("off")
        told = [self._with({}), off.fields]
        return await self._once("continuing a thought", lambda: self._find_continuing(_THOUGHT, told))

    async def refuses_variables(self) -> bool:
        """Return whether the server refuses the chat template's variables that a person set."""
        return not self.kind.templates or await self._asked(self._question({}, 1)) is None

    def close(self) -> None:
        """Stop asking."""
        for task in self._finding.values():
            task.cancel()

    async def _once(self, what: str, find: Callable[[], Awaitable[Found]]) -> Found:
        """Return what `find` finds; all who need it at once wait for the same asking, and share its failure."""
        if what in self._found:
            return self._found[what]  # type: ignore[no-any-return]
        task: asyncio.Future[Found] | None = self._finding.get(what)
        if task is None:
            task = self._finding[what] = asyncio.ensure_future(find())
            task.add_done_callback(lambda done: self._keep(what, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise EngineGoneError("the engine was closed") from None
            raise

    def _keep(self, what: str, done: asyncio.Future[Any]) -> None:
        del self._finding[what]
        if not done.cancelled() and done.exception() is None:
            self._found[what] = done.result()

    def _with(self, fields: Fields) -> Fields:
        """Return fields together with the template's variables that a person set; those of a mode win."""
        if not self._variables:
            return fields
        told = {"chat_template_kwargs": {**self._variables, **fields.get("chat_template_kwargs", {})}}
        effort = (
            {"reasoning_effort": self._variables["reasoning_effort"]} if "reasoning_effort" in self._variables else {}
        )
        return {**effort, **fields, **told}

    def _question(self, fields: Fields, tokens: int) -> Fields:
        return {"messages": [_QUESTION], "temperature": 0.0, "max_tokens": tokens, **self._with(fields)}

    async def _asked(self, fields: Fields) -> Said | None:
        """Ask; a refusal is believed at the second time, and Ollama is recognised."""
        said = await self._ask(fields) or await self._ask(fields)
        if said is not None and self.kind is UNKNOWN:
            self.kind = kind_of_fingerprint(said.fingerprint)
        return said

    async def _find_way(self, mode: ThinkingMode) -> Way:
        kind = self.kind
        found: Way | None = None
        for tell in kind.thinking if mode != "auto" else ():
            way = await self._try(tell(mode == "on"))
            if self.kind is not kind:
                return await self._find_way(mode)
            if way is not None and (found is None or way.thinks == (mode == "on")):
                found = way
                if way.thinks == (mode == "on"):
                    break
        if found is None:
            found = await self._try({}) or Way(self._with({}), thinks=False)
            if mode != "auto":
                self._say(f"{self._host} cannot be told whether to think: its model does as it does by itself")
        if mode == "off" and found.thinks:
            self._say(f"the model of {self._host} thinks although it is told not to: it can only think")
        return found

    async def _try(self, fields: Fields) -> Way | None:
        """Return what the model does when it is told `fields`; None when the server refuses them."""
        for tokens in (_SHORT, _LONG):
            said = await self._asked(self._question(fields, tokens))
            if said is None:
                return None
            if said.ended or said.reasoning:
                # A whole answer that is all thought is one whose parts the server took for each other.
                thinks = bool(said.reasoning) and not (said.ended and said.text == said.reasoning)
                return Way(self._with(fields), thinks, thinks and said.unopened)
        return Way(self._with(fields), thinks=False)

    async def _find_limit(self) -> bool:
        takes = await self._asked(self._question({self.kind.budget: _SHORT}, 1)) is not None
        if not takes:
            limit = "a thought ends where --thinking-budget and --max-tokens end together"
            self._say(f"{self._host} takes no {self.kind.budget}: {limit}")
        return takes

    async def _find_continuing(self, thought: str, told: list[Fields]) -> Continuing | None:
        places: tuple[ThoughtPlace, ...] = ("tags", "fields") if thought else ("tags",)
        lengths = [await self._length_beside(thought, fields) for fields in told]
        for flag, place in itertools.product((_CONTINUE, {}), places):
            for fields, length in zip(told, lengths, strict=True):
                way = Continuing({**fields, **flag}, place)
                echoes = None if length is None else await self._continues(way, thought, length)
                if echoes is not None:
                    return replace(way, echoes=echoes)
        self._say(f"{self._host} does not continue a turn that is begun{' with a thought' if thought else ''}")
        return None

    async def _length_beside(self, thought: str, fields: Fields) -> int | None:
        """Return how many tokens a prompt has in which the user says what the turn begins with; 0: it does not tell."""
        content = f"{_COUNTING}\n{_turn('tags', thought, _COUNT)['content']}"
        messages = [{"role": "user", "content": content}]
        said = await self._asked({"messages": messages, "temperature": 0.0, "max_tokens": 1, **fields})
        return None if said is None else said.prompt_tokens

    async def _continues(self, way: Continuing, thought: str, length: int) -> bool | None:
        """Return whether the server says the turn's beginning again when it continues it; None: it does not."""
        turn = _turn(way.place, thought, _COUNT)
        messages = [{"role": "user", "content": _COUNTING}, turn]
        said = await self._asked({"messages": messages, "temperature": 0.0, "max_tokens": 4, **way.fields})
        if said is None:
            return None
        longer = said.prompt_tokens - length
        if said.prompt_tokens and length and not -_SHORTER <= longer <= _LONGER:
            return None
        if said.text.startswith(_REST):
            return False
        return True if said.text.startswith(turn["content"] + _REST) else None


def _turn(place: ThoughtPlace, thought: str, text: str) -> dict[str, Any]:
    """Return the assistant's turn that begins with a thought, if there is one, and a text."""
    if thought and place == "tags":
        text = THINK.wrap(thought, text)
    turn: dict[str, Any] = {"role": "assistant", "content": text}
    if thought and place == "fields":  # the former is what SGLang and llama.cpp call it, the latter vLLM and Ollama
        turn |= {"reasoning_content": thought, "reasoning": thought}
    return turn
