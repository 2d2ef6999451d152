"""What a chat server may do wrong, by name: how each way of it (a mode) spoils a good answer.

A mode sends bytes instead of the good answer; some keep the connection open, some wait, some never end.
"""

import asyncio
import gzip
import random
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

Spoil = Callable[[asyncio.StreamWriter, dict[str, Any]], Awaitable[bool]]
"""Sends something instead of the good answer; returns whether the connection may be used again."""

COUNTS = (b"10.0", b'"12"', b"-3", b"true", str(2**70).encode(), b"[7]", b"null", b"1e400", b"{}")
"""What a server may say where a number of tokens belongs."""


def http(raw: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Return a whole HTTP answer."""
    head = "".join(f"{line}\r\n" for line in headers)
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n{head}\r\n".encode()
        + raw
    )


def sends(make: Callable[[dict[str, Any]], bytes], *, keep: bool = False) -> Spoil:
    """Return a mode that sends bytes made from the good answer, and closes the connection unless `keep`."""

    async def spoil(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> bool:
        writer.write(make(answer))
        await writer.drain()
        return keep

    return spoil


def raw(data: bytes) -> Spoil:
    return sends(lambda _: data)


def refuses(status: str, text: str, *headers: str) -> Spoil:
    return sends(lambda _: http(text.encode(), status, *headers), keep=True)


def says(body: bytes) -> Spoil:
    return sends(lambda _: http(body), keep=True)


def changes(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Return a mode that sends the good answer after a change in place, or what the change returns."""

    def make(answer: dict[str, Any]) -> bytes:
        changed = change(answer)
        said = answer if changed is None else changed
        return http(said if isinstance(said, bytes) else orjson.dumps(said))

    return sends(make, keep=True)


def in_choice(**fields: Any) -> Spoil:
    return changes(lambda answer: answer["choices"][0].update(fields))


def in_message(**fields: Any) -> Spoil:
    return changes(lambda answer: answer["choices"][0]["message"].update(fields))


def in_top(place: int, **fields: Any) -> Spoil:
    """Return a mode that changes one of a choice's alternatives."""

    def change(answer: dict[str, Any]) -> None:
        answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"][place].update(fields)

    return changes(change)


def literally(old: bytes, new: bytes) -> Spoil:
    """Return a mode that changes the bytes of the good answer where it ends in `old`."""

    def make(answer: dict[str, Any]) -> bytes:
        said = orjson.dumps(answer)
        assert old in said
        return http(said.replace(old, new, 1))

    return sends(make, keep=True)


def in_parts(answer: dict[str, Any]) -> None:
    message = answer["choices"][0]["message"]
    half = len(message["content"]) // 2
    texts = [{"type": "text", "text": text} for text in (message["content"][:half], message["content"][half:])]
    message["content"] = [{"type": "image", "url": "x"}, *texts, {"type": "reference", "reference_ids": [1]}]


def without(answer: dict[str, Any], *path: str) -> None:
    for name in path[:-1]:
        answer = answer[name][0] if isinstance(answer[name], list) else answer[name]
    del answer[path[-1]]


async def closes(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> bool:
    return False


async def resets(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> bool:
    writer.transport.abort()
    return False


async def hangs(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> bool:
    await asyncio.sleep(3600)
    return False


async def dribbles(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def never_ends(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def continues_for_ever(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> bool:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)
        await writer.drain()
        await asyncio.sleep(0.01)


async def says_more(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> bool:
    """Send the good answer, and a wrong one that nobody asked for once the connection rests."""
    writer.write(http(orjson.dumps(answer)))
    await writer.drain()
    await asyncio.sleep(0.005)
    wrong = orjson.loads(orjson.dumps(answer))
    wrong["choices"][0]["message"]["content"] = "this answers another question"
    writer.write(http(orjson.dumps(wrong)))
    await writer.drain()
    return True


def changed(raw: bytes) -> bytes:
    """Return bytes after one to three random changes: some put in, taken out, overwritten, or said twice."""
    for _ in range(CHANGES.randint(1, 3)):
        start = CHANGES.randrange(len(raw))
        end = min(len(raw), start + CHANGES.choice((0, 1, 2, 8, 60)))
        new = CHANGES.choice(
            (b"", CHANGES.randbytes(end - start), raw[start:end] * 2, b"\r\n", b"0", b'"', b"}", b"\x00")
        )
        raw = raw[:start] + new + raw[end:]
    return raw or b"x"


CHANGES = random.Random(11)
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: "
BOMB = gzip.compress(b" " * (1 << 24), 9)
LIMITED = '{"error": {"code": 429, "message": "Rate limit reached, slow down", "type": "requests"}}'
DATES = (
    "0",
    "-5",
    "soon",
    "1e999",
    "999999999999",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Mon, 01 Jan 0001 00:00:00 +2359",
)

CONNECTION: dict[str, Spoil] = {
    "closed at once": closes,
    "reset": resets,
    "status line of nothing": raw(b"\x15\x03\x01\x00\x02\x02\x46"),  # what a TLS server says to plain HTTP
    "status line without a number": raw(b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\n{}"),
    "status line of another protocol": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "status of five digits": raw(b"HTTP/1.1 20000 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "header without a colon": raw(b"HTTP/1.1 200 OK\r\nwhat\r\n\r\n{}"),
    "header with a NUL": raw(b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\n{}"),
    "header with bytes": raw(b"HTTP/1.1 200 OK\r\nX\xff: \xfe\r\nContent-Length: 2\r\n\r\n{}"),
    "header of 100 kB": raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n{}"),
    "a thousand headers": raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n{}"),
    "cut in its head": raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "length of words": raw(EMPTY + b"ten\r\n\r\n{}"),
    "length below nothing": raw(EMPTY + b"-1\r\n\r\n{}"),
    "length beyond numbers": raw(EMPTY + b"9" * 400 + b"\r\n\r\n{}"),
    "two lengths": raw(EMPTY + b"2\r\nContent-Length: 3\r\n\r\n{} "),
    "length too long": sends(
        lambda answer: http(orjson.dumps(answer)).replace(b"Content-Length: ", b"Content-Length: 9")
    ),
    "length too short": sends(lambda answer: EMPTY + b"40\r\n\r\n" + orjson.dumps(answer), keep=True),
    "cut in its body": sends(lambda answer: http(orjson.dumps(answer))[:-30]),
    "chunks of words": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n"),
    "chunks cut": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"),
    "chunks of another size": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"),
    "unknown transfer": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: br, what\r\n\r\n{}"),
    "compressed": sends(lambda answer: http(gzip.compress(orjson.dumps(answer)), "200 OK", "Content-Encoding: gzip")),
    "a bomb": raw(http(BOMB, "200 OK", "Content-Encoding: gzip")),
    "no gzip": raw(http(b"no gzip", "200 OK", "Content-Encoding: gzip")),
    "another protocol": raw(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x00"
    ),
    "no content": sends(lambda _: b"HTTP/1.1 204 No Content\r\n\r\n", keep=True),
    "never ends": never_ends,
}
SLOW: dict[str, Spoil] = {"hangs": hangs, "dribbles": dribbles, "continues for ever": continues_for_ever}
STATUS: dict[str, Spoil] = {
    "redirected": refuses("302 Found", "", "Location: /v1/chat/completions"),
    "400 with an id": sends(
        lambda _: http(f"bad (request id req_{random.random()})".encode(), "400 Bad Request"), keep=True
    ),
    "400 about logprobs": refuses("400 Bad Request", "top_logprobs may be 5 at most"),
    "401": refuses("401 Unauthorized", "who are you"),
    "403": refuses("403 Forbidden", '{"error": "no"}'),
    "404": refuses("404 Not Found", '{"detail": "Not Found"}'),
    "408": refuses("408 Request Timeout", ""),
    "418": refuses("418 I'm a teapot", "\x1b]52;c;aGk=\x07 short and stout"),
    "422 with the request": refuses("422 Unprocessable", '{"detail": [{"msg": "no", "input": "context window"}]}'),
    "500": refuses("500 Internal Server Error", "oops"),
    "500 about the context": refuses("500 Internal Server Error", "no room in the context window of this worker"),
    "502 page": refuses("502 Bad Gateway", "<html><body>bad gateway</body></html>"),
    "504 cut": raw(b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 100\r\n\r\n<html>"),
    "529": refuses(
        "529 Overloaded", '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    ),
}
BUSY: dict[str, Spoil] = {
    "429": refuses("429 Too Many Requests", "slow down"),
    "503": refuses("503 Service Unavailable", "loading"),
    **{f"429 until {date}": refuses("429 Too Many Requests", LIMITED, f"Retry-After: {date}") for date in DATES},
}
BODY: dict[str, Spoil] = {
    "no JSON": says(b"<html>oops"),
    "empty": says(b""),
    "a list": says(b"[]"),
    "deep": says(b'{"a":' * 100_000),
    "deep lists": says(b"[" * 100_000 + b"]" * 100_000),
    "long": changes(lambda answer: answer.update(pad="x" * (1 << 21))),
    "limited inside": says(LIMITED.encode()),
    "limited inside, in words": says(b'{"error": {"code": "429", "message": "no"}}'),
    "overloaded inside": says(b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'),
    "an error of a word": says(b'{"error": "out of luck"}'),
    "an error in detail": says(b'{"detail": "out of luck"}'),
    "an error of no kind": says(b'{"error": {"code": "x", "message": ["\xc3\xa9", null]}, "choices": null}'),
    "401 inside": says(b'{"error": {"code": 401, "message": "no"}}'),
    "a stream": says(b'data: {"error": {"code": 502, "message": "bad"}}\n\ndata: [DONE]\n\n'),
    "a stream of nothing": says(b"data: {\n\n"),
    "an error in a choice": in_choice(error={"code": 502, "message": "bad"}, finish_reason="error"),
    "ended with error": in_choice(finish_reason="error"),
    "no choices": changes(lambda answer: answer.update(choices=[])),
    "choices null": changes(lambda answer: answer.update(choices=None)),
    "choices a mapping": changes(lambda answer: answer.update(choices={"0": 1})),
    "choices of words": changes(lambda answer: answer.update(choices=["hello"])),
    "invalid UTF-8": literally(b'"id":"chat-1"', b'"id":"\xff\xc3"'),
    "half a pair": literally(b'"id":"chat-1"', b'"id":"\\ud800"'),
}
HARMLESS: dict[str, Spoil] = {
    "cookies of nonsense": sends(lambda answer: http(orjson.dumps(answer), "200 OK", "Set-Cookie: ;;=\x7f=;expires=x")),
    "usage a list": changes(lambda answer: answer.update(usage=[1, 2])),
    "usage null": changes(lambda answer: answer.update(usage=None)),
    **{
        f"counts {value.decode()}": literally(b'"completion_tokens":12', b'"completion_tokens":' + value)
        for value in COUNTS
    },
    "details a list": changes(lambda answer: answer["usage"].update(prompt_tokens_details=[])),
}
COMPLETION: dict[str, Spoil] = {
    "content null": in_message(content=None),
    "content empty": in_message(content=""),
    "content of pictures": in_message(content=[{"type": "image"}]),
    "content a number": in_message(content=7),
    "message null": in_choice(message=None),
    "message a list": in_choice(message=[]),
    "thought in numbers": in_choice(message={"content": None, "reasoning_content": 7}, finish_reason="length"),
    "half a pair in the text": literally(b'"content":"', b'"content":"\\udc00'),
    "invalid UTF-8 in the text": literally(b'"content":"', b'"content":"\xe2\x82'),
}
HARMLESS_COMPLETION: dict[str, Spoil] = {
    "in parts": changes(in_parts),
    "ended null": in_choice(finish_reason=None),
    "ended unknown": in_choice(finish_reason="whim"),
    "ended a list": in_choice(finish_reason=["stop"]),
    "ended not at all": changes(lambda answer: without(answer, "choices", "finish_reason")),
    "error null": changes(lambda answer: answer.update(error=None)),
}
CHOICE: dict[str, Spoil] = {
    "no log-probabilities": in_choice(logprobs=None),
    "no content": in_choice(logprobs={"content": None}),
    "no alternatives": in_choice(logprobs={"content": [{"token": "A", "logprob": -0.1, "top_logprobs": []}]}),
    "alternatives a mapping": in_choice(logprobs={"content": [{"top_logprobs": {"A": -0.1}}]}),
    "token null": in_top(0, token=None),
    "log-probability null": in_top(0, logprob=None),
    "log-probability positive": in_top(1, logprob=0.3),
    "log-probability in words": in_top(0, logprob="-0.1"),
    "log-probability true": in_top(0, logprob=True),
    "log-probability missing": changes(
        lambda answer: without(answer, "choices", "logprobs", "content", "top_logprobs", "logprob")
    ),
    "log-probability NaN": changes(lambda answer: orjson.dumps(answer).replace(b'"logprob":', b'"logprob":NaN,"was":')),
}
HARMLESS_CHOICE: dict[str, Spoil] = {
    "another's log-probability null": in_top(3, logprob=None),
    "another's log-probability minus infinity": in_top(3, logprob="-inf"),
}
ANY: dict[str, Spoil] = CONNECTION | SLOW | STATUS | BUSY | BODY | HARMLESS
MODES: dict[str, Spoil] = ANY | COMPLETION | HARMLESS_COMPLETION | CHOICE | HARMLESS_CHOICE
APART: dict[str, Spoil] = {
    # Nobody can tell it from a good answer while the next request is on its way: only for connections that rest.
    "says more than asked": says_more,
    # It may come to another answer that is as good.
    "changed at random": sends(lambda answer: changed(http(orjson.dumps(answer)))),
}
"""What is not asked for by drawing among all modes."""

GROUPS = {
    "connection": CONNECTION, "slow": SLOW, "status": STATUS, "busy": BUSY, "body": BODY, "harmless": HARMLESS,
    "completion": COMPLETION, "harmless completion": HARMLESS_COMPLETION,
    "choice": CHOICE, "harmless choice": HARMLESS_CHOICE,
}  # fmt: skip
QUICK = tuple(name for name in MODES if name not in SLOW)
