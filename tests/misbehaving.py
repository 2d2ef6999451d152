"""A chat server that misbehaves on purpose: a raw TCP server that spoils a share of its answers, each in a drawn way.

What it would say is decided by the request alone, so whatever a client gets in the end can be compared with what it
gets from a server that behaves. The ways are in `misbehaviours`.
"""

import asyncio
import hashlib
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import orjson

from tests.misbehaviours import (
    ANY,
    APART,
    CHOICE,
    COMPLETION,
    HARMLESS_CHOICE,
    HARMLESS_COMPLETION,
    MODES,
    http,
)

WORDS = ("see", "a", "doctor", "soon", "and", "drink", "water", "while", "you", "wait", "for", "help", "to", "come")


def good_answer(body: dict[str, Any]) -> dict[str, Any]:
    """Return what a well-behaved server says to a request, which depends on nothing else."""
    asked = orjson.dumps([body["messages"], body.get("seed"), body["max_tokens"]])
    draw = random.Random(hashlib.blake2b(asked).digest())
    usage = {"prompt_tokens": len(asked), "completion_tokens": 12}
    if not body.get("logprobs"):
        text = " ".join(draw.choices(WORDS, k=12))
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    else:
        first = draw.choice((-0.2, -0.9, -1.8))
        names = ("Yes", "No") if "Yes" in body["messages"][-1]["content"] else ("A", "B")
        tops = [(names[0], first), (names[1], -0.7 if first == -0.9 else -2.3), ("The", -5.0), ("zzz", -9999.0)]
        top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in tops]
        content = [{**top[0], "top_logprobs": top}]
        choice = {"message": {"content": names[0]}, "finish_reason": "length", "logprobs": {"content": content}}
    return {"id": "chat-1", "choices": [{"index": 0, **choice}], "usage": usage}


class Misbehaving:
    """A server on 127.0.0.1 that spoils a share `rate` of its answers, in ways drawn from `modes` by `seed`.

    `plan`, where it is given, says for each answer in turn which mode spoils it (None: it is good), and after its end
    all are good. `listings` says the same for lists of models. `seen` counts what was sent; when it comes to `limit`
    answers, `reached` is set.
    """

    def __init__(
        self, modes: Sequence[str] = (), rate: float = 0.0, seed: int = 0, plan: Sequence[str | None] = ()
    ) -> None:
        self.modes = tuple(modes)
        self.rate = rate
        self.plan = list(plan)
        self.listings: list[str] = []
        self.seen: Counter[str] = Counter()
        self.limit = 0
        self.reached = threading.Event()
        self.url = ""
        self._draw = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _mode(self, body: dict[str, Any]) -> str | None:
        if self.plan:
            return self.plan.pop(0)
        if not self.modes or self._draw.random() >= self.rate:
            return None
        fitting = CHOICE | HARMLESS_CHOICE if body.get("logprobs") else COMPLETION | HARMLESS_COMPLETION
        modes = [mode for mode in self.modes if mode in ANY or mode in APART or mode in fitting]
        return self._draw.choice(modes) if modes else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.current_task()
        assert client is not None
        self._clients.add(client)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the server is stopped
        finally:
            self._clients.discard(client)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read one request and answer it; return whether the connection lives on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if head.startswith("get "):
            if self.listings:
                return await MODES[self.listings.pop(0)](writer, {"data": []})
            writer.write(http(b'{"data": [{"id": "any", "max_model_len": 4096}]}'))
            return True
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        body = orjson.loads(await reader.readexactly(length))
        answer = good_answer(body)
        mode = self._mode(body)
        self.seen[mode or "good"] += 1
        if self.seen.total() >= self.limit:
            self.reached.set()
        if mode is not None:
            return await (MODES | APART)[mode](writer, answer)
        writer.write(http(orjson.dumps(answer)))
        await writer.drain()
        return True


@asynccontextmanager
async def misbehaving(
    modes: Sequence[str] = (), rate: float = 0.0, seed: int = 0, plan: Sequence[str | None] = ()
) -> AsyncIterator[Misbehaving]:
    """Serve on the running loop while the block runs."""
    server = Misbehaving(modes, rate, seed, plan)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextmanager
def misbehaving_beside(modes: Sequence[str] = (), rate: float = 0.0, seed: int = 0) -> Iterator[Misbehaving]:
    """Serve from a thread while the block runs, for clients in other processes."""
    server = Misbehaving(modes, rate, seed)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
