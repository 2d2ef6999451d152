"""Talking to one or two models on the page: answers, blind votes between two, and turns marked as breaking a principle.

A vote is a comparison, a mark an adherence, like those of items that were there before; what they are about is kept
beside them, because it lies in no row. Which model gave which of two answers is drawn anew for each turn and told only
after the vote. Answers are shown while they are written where every model can give them so: of two, one that came whole
beside one that grew would tell which is which.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from cai.annotation.items import ItemAnswer, ReviewItem, gate_item, pair_item
from cai.annotation.records import parse_annotation
from cai.annotation.store import AnnotationStore
from cai.constitution import Constitution
from cai.core.errors import UsageError
from cai.core.identity import fingerprint
from cai.core.records import Message
from cai.models import EngineOptions, open_engine
from cai.models.base import Engine, Request
from cai.models.spec import ModelSpec
from cai.models.streaming import StreamingEngine, stream
from cai.review.shown import HIDDEN, hidden_of, to_item

PLACE = "talk"
REMEMBERED = 1000
"""Turns that can still be voted on or marked."""

PAUSE = 0.05
"""Seconds between two times that a growing answer is sent."""

_SENT = "what the page sent"
_ROLES = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class TalkTurn:
    """What was answered to a conversation, in the order shown."""

    messages: tuple[Message, ...]
    answers: tuple[ItemAnswer, ...]


class Talking:
    """Open models to talk to; used on the event loop."""

    def __init__(
        self, engines: Sequence[tuple[str, Engine]], store: AnnotationStore, rules: Constitution | None
    ) -> None:
        """`engines` are open and have names; what is said of their answers goes into the store."""
        self._engines = tuple(engines)
        self._store = store
        self._principles = {} if rules is None else {one.id: one.text for one in rules.principles}
        self._turns: OrderedDict[str, TalkTurn] = OrderedDict()

    def about(self) -> dict[str, Any]:
        """Return how many models there are to talk to, whether they stream, and what a turn can be marked with."""
        return {"models": len(self._engines), "streams": self._streams, "principles": list(self._principles)}

    @property
    def _streams(self) -> bool:
        return all(isinstance(engine, StreamingEngine) for _, engine in self._engines)

    async def answer(self, messages: tuple[Message, ...]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the models' answers to a conversation as they grow, in an order that is drawn, and at last the turn.

        Raises EngineError.
        """
        asked = list(self._engines)
        secrets.SystemRandom().shuffle(asked)
        so_far, changed = ["" for _ in asked], asyncio.Event()

        def hear(place: int, text: str) -> None:
            so_far[place] = text
            changed.set()

        seed = secrets.randbelow(2**31 - len(asked))
        requests = [Request(messages, seed=seed + place) for place in range(len(asked))]  # one model twice: two answers
        answering = asyncio.gather(
            *(stream(engine, requests[place], partial(hear, place)) for place, (_, engine) in enumerate(asked))
        )
        answering.add_done_callback(lambda _: changed.set())
        try:
            while not answering.done():
                await changed.wait()
                changed.clear()
                if self._streams and not answering.done():
                    yield {"answers": list(so_far)}
                    await asyncio.sleep(PAUSE)
            texts = [completion.text for completion in answering.result()]
        finally:
            answering.cancel()
        found = tuple(ItemAnswer(text, PLACE, name) for text, (name, _) in zip(texts, asked, strict=True))
        turn = secrets.token_hex(8)
        self._turns[turn] = TalkTurn(messages, found)
        if len(self._turns) > REMEMBERED:
            self._turns.popitem(last=False)
        yield {"turn": turn, "answers": texts}

    def vote(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Keep which of a turn's two answers is better, and return which model gave which; blocks."""
        turn = self._turn(body)
        if len(turn.answers) != len("ab"):
            raise UsageError("there is one answer; a vote is between two")
        a, b = turn.answers
        if a.text.strip() == b.text.strip():
            raise UsageError("both models said the same; there is nothing to vote on")
        item = pair_item(_name(turn), turn.messages, (a, b), PLACE)
        order = tuple(item.answers.index(answer) for answer in turn.answers)
        self._keep(body, "comparison", to_item({"overall": body.get("overall")}, "comparison", order), item, order)
        return {"hidden": hidden_of(item, order)}

    def mark(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Keep that an answer of a turn breaks a principle; blocks."""
        turn, place, principle = self._turn(body), body.get("answer"), body.get("principle")
        if not isinstance(place, int) or not 0 <= place < len(turn.answers):
            raise UsageError(f"{_SENT} names no answer of the turn")
        if principle not in self._principles:
            raise UsageError(f"there is no principle {principle!r}")
        item = gate_item(_name(turn), turn.messages, turn.answers[place], str(principle), PLACE)
        self._keep(body, "adherence", {"says": "breaks"}, item, (0,))
        return {"kept": True}

    def _keep(self, body: Mapping[str, Any], kind: str, answer: Any, item: ReviewItem, order: Sequence[int]) -> None:
        line = {name: body.get(name) for name in ("id", "when", "annotator")}
        line |= {
            "item": item.key,
            "kind": kind,
            "answer": answer,
            "reason": body.get("reason"),
            "shown": {"order": order, "hidden": HIDDEN[:2]},
            "chosen_by": "picked",
        }
        annotation = parse_annotation(line, _SENT)
        self._store.add_items([item])
        self._store.append(annotation, item)

    def _turn(self, body: Mapping[str, Any]) -> TalkTurn:
        turn = self._turns.get(str(body.get("turn")))
        if turn is None:
            raise UsageError("this turn is not known here any more; ask again")
        return turn


async def open_talking(
    models: Sequence[ModelSpec], store: AnnotationStore, rules: Constitution | None, stack: AsyncExitStack
) -> Talking:
    """Open the models, which the stack closes; raises ModelError."""
    engines = []
    for spec in models:
        engine = await open_engine(spec, EngineOptions())
        stack.push_async_callback(engine.close)
        engines.append((str(spec), engine))
    return Talking(engines, store, rules)


def _name(turn: TalkTurn) -> str:
    """Return the id of a conversation as a prompt."""
    return f"talk-{fingerprint([[one['role'], one['content']] for one in turn.messages])}"


def conversation_of(value: Any) -> tuple[Message, ...]:
    """Return a conversation that ends with the user; raises UsageError where it is none."""
    turns = value if isinstance(value, list) else []
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in _ROLES or not isinstance(turn.get("content"), str):
            raise UsageError(f"{_SENT} is no conversation")
    if not turns or turns[-1]["role"] != "user" or not turns[-1]["content"].strip():
        raise UsageError("say something first")
    return tuple({"role": turn["role"], "content": turn["content"]} for turn in turns)
