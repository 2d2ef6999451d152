"""A stand-in for a model server with OpenAI's chat completions: it thinks nothing and takes as long as thinking would.

`python -m benchmarks.server [PORT] --slots 256 --prefill-us 20 --decode-us 2000` prints its address and serves until it
is killed. Every request takes the time that `costs.py` says, in a slot of its own; it writes min(`max_tokens`, 64)
tokens, or one with its log-probabilities when `logprobs` is asked for.

    POST /v1/chat/completions    GET /v1/models    GET /stats (`Counters.report`)    POST /reset (counters and cache)

HTTP is as little of version 1.1 as clients need that keep their connections, or ask for one to be closed, because one
core must serve more requests a second than the client under measurement can send.
"""

import asyncio
import re
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import click
import orjson
import uvloop

from benchmarks.answers import LONGEST, letter_answer, text_answer
from benchmarks.costs import Costs, Counters, PrefixCache, Slots

_BACKLOG = 4096
_DEFAULTS = Costs()
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_MODELS = orjson.dumps({"object": "list", "data": [{"id": "mock", "object": "model", "max_model_len": 8192}]})

Send = Callable[[str, bytes], None]


class Model:
    """Answers requests, each after its time."""

    def __init__(self, costs: Costs, loop: asyncio.AbstractEventLoop) -> None:
        self._costs = costs
        self._slots = Slots(costs, loop.call_later)
        self._cache = PrefixCache()
        self._asked: set[int] = set()

    def answer(self, method: bytes, path: bytes, body: bytes, send: Send) -> None:
        """Answer one HTTP request through `send`, now or later."""
        if (method, path) == (b"POST", b"/v1/chat/completions"):
            self._chat(body, send)
        elif (method, path) == (b"GET", b"/v1/models"):
            send("200 OK", _MODELS)
        elif (method, path) == (b"GET", b"/stats"):
            send("200 OK", orjson.dumps(self._slots.counters.report(self._costs.slots)))
        elif (method, path) == (b"POST", b"/reset"):
            self._slots.counters = Counters()
            self._cache.clear()
            self._asked.clear()
            send("200 OK", b"{}")
        else:
            send("404 Not Found", b"{}")

    def _chat(self, body: bytes, send: Send) -> None:
        counters = self._slots.counters
        try:
            request = orjson.loads(body)
            turns = [(message["role"], _content(message["content"])) for message in request["messages"]]
            text, question = " ".join([f"{role} {content}" for role, content in turns]), turns[-1][1]
            choosing = bool(request.get("logprobs"))
            written = 1 if choosing else min(int(request.get("max_tokens", LONGEST)), LONGEST)
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError):
            counters.refused += 1
            send("400 Bad Request", b'{"error": {"message": "this is no chat completion request"}}')
            return
        words = text.split()
        cached = self._cache.look_up(words)
        counters.requests += 1
        counters.prompt_tokens += len(words)
        counters.cached_tokens += cached
        counters.completion_tokens += written
        name = hash((text, request.get("seed")))
        counters.repeated += name in self._asked
        self._asked.add(name)
        drawn = zlib.crc32(f"{text}\x1f{request.get('seed')}".encode())
        choice = letter_answer(drawn, question) if choosing else text_answer(drawn, written)
        reply = {
            "id": f"chatcmpl-{counters.requests}",
            "object": "chat.completion",
            "model": request.get("model"),
            "choices": [choice],
            "usage": {
                "prompt_tokens": len(words),
                "completion_tokens": written,
                "total_tokens": len(words) + written,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
        }
        self._slots.hold(self._costs.seconds(len(words) - cached, written), partial(_reply, send, reply))


def _content(content: Any) -> str:
    """Return a message's text, whether it comes as one string or in parts."""
    return content if isinstance(content, str) else " ".join([part["text"] for part in content])


def _reply(send: Send, reply: dict[str, Any]) -> None:
    send("200 OK", orjson.dumps(reply))


class Connection(asyncio.Protocol):
    """One client's connection: one request at a time, with its length told in advance."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._received = b""
        self._answering = False
        self._last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """Collect a request until it is whole."""
        self._received += data
        if not self._answering:
            self._take_request()

    def _take_request(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        told = _LENGTH.search(self._received, 0, end)
        start = end + 4
        stop = start + (int(told[1]) if told else 0)
        if len(self._received) < stop:
            return
        head, body, self._received = self._received[:end], self._received[start:stop], self._received[stop:]
        method, path, _ = head.partition(b"\r\n")[0].split(b" ", 2)
        self._answering = True
        self._last = _CLOSE.search(head) is not None
        self._model.answer(method, path, body, self._send)

    def _send(self, status: str, body: bytes) -> None:
        self._answering = False
        if self._transport.is_closing():
            return
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        if self._last:
            self._transport.close()
        elif self._received:
            self._take_request()


async def listen(costs: Costs, port: int = 0) -> tuple[asyncio.Server, str]:
    """Serve on 127.0.0.1; return the server and its address. Port 0 takes a free one."""
    loop = asyncio.get_running_loop()
    model = Model(costs, loop)
    server = await loop.create_server(lambda: Connection(model), "127.0.0.1", port, backlog=_BACKLOG)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _serve(costs: Costs, port: int) -> None:
    server, address = await listen(costs, port)
    print(address, flush=True)
    await server.serve_forever()


@click.command()
@click.argument("port", type=int, default=0)
@click.option("--slots", default=_DEFAULTS.slots, show_default=True)
@click.option("--prefill-us", default=_DEFAULTS.prefill_us, show_default=True)
@click.option("--decode-us", default=_DEFAULTS.decode_us, show_default=True)
def main(port: int, slots: int, prefill_us: float, decode_us: float) -> None:
    """Serve until killed."""
    uvloop.run(_serve(Costs(slots, prefill_us, decode_us), port))


if __name__ == "__main__":
    main()
