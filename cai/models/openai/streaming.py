"""A chat completion as a server streams it: events, one `data:` line each, that add up to an answer.

What is asked is what is asked otherwise, with `stream` and the usage at the end; what comes is put together to the
answer that would have come at once, so that one reader reads both. A server that does not stream sends that itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from cai.models.base import Request
from cai.models.fields import first, mapping, text
from cai.models.openai.bodies import Manner, completion_body
from cai.models.openai.chat import THOUGHTS, apart
from cai.models.streaming import Heard

_DATA, _DONE = b"data:", b"[DONE]"


def streaming_body(model: str, request: Request, manner: Manner) -> bytes:
    """Return the body that asks for the assistant's next turn in pieces; raises as `completion_body`."""
    asked = orjson.loads(completion_body(model, request, manner))
    return orjson.dumps({**asked, "stream": True, "stream_options": {"include_usage": True}})


class StreamedAnswer:
    """The pieces of one attempt's answer; `heard` is given the text behind what the turn began with."""

    def __init__(self, manner: Manner, heard: Heard, is_secret: Callable[[str], bool]) -> None:
        """`is_secret` says of a text that it may not be heard: it holds a key."""
        self._manner = manner
        self._heard = heard
        self._is_secret = is_secret
        self._rest = b""
        self._message: dict[str, str] = {}
        self._answer: dict[str, Any] = {}
        self._finish: Any = None
        self._said = ""

    def take(self, piece: bytes) -> None:
        """Take in what came next, whatever ends where; what is no event is passed over."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._take_line(line)
        said = (apart(self._message, begun=self._manner.begun)[0] or "").removeprefix(self._manner.text or "")
        if said != self._said and not self._is_secret(said):
            self._said = said
            self._heard(said)

    def whole(self, raw: bytes) -> bytes:
        """Return the answer as it would have come at once: `raw` itself where nothing was streamed."""
        self.take(b"\n")
        if not self._answer:
            return raw
        choice = {"message": {"role": "assistant", **self._message}, "finish_reason": self._finish}
        return orjson.dumps({**self._answer, "choices": [choice]})

    def _take_line(self, line: bytes) -> None:
        told = line.strip().removeprefix(_DATA).strip()
        if not line.startswith(_DATA) or told == _DONE:
            return
        try:
            event = mapping(orjson.loads(told))
        except orjson.JSONDecodeError:
            return
        self._answer |= {name: value for name, value in event.items() if name != "choices" and value is not None}
        choice = mapping(first(event.get("choices")))
        self._finish = choice.get("finish_reason") or self._finish
        self._add(mapping(choice.get("delta")))

    def _add(self, delta: Mapping[str, Any]) -> None:
        for name in ("content", *THOUGHTS):
            if more := text(delta.get(name)):
                self._message[name] = self._message.get(name, "") + more
