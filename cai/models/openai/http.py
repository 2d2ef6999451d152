"""Bodies to servers and back over HTTP, with a bound on how much a server may send and on how long it may take.

Answers are read up to a limit, never unpacked (none is asked to be compressed), and redirects are not followed. The
whole of an attempt takes `timeout` seconds at most, and once an answer has begun it may not pause for long. Whatever
breaks on the way is an AttemptError.

The API key is read from OPENAI_API_KEY (or user:password from the address) and goes into the request's header only.
"""

import asyncio
import base64
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from cai.core.errors import EngineGoneError, ModelError
from cai.models.openai.attempts import AttemptError

_CONNECT_TIMEOUT = 10.0  # seconds; a host that does not even accept is unreachable, not slow
_LONGEST_PAUSE = 120.0  # seconds between two pieces of one answer


class ConnectionBrokenError(AttemptError):
    """The connection broke before an answer had begun."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="connection")


class UnreachableError(ConnectionBrokenError):
    """There was no connection: nobody listens there."""


@dataclass(slots=True)
class Reply:
    """What a server sent; `raw` is cut at the limit where the status says that it is no answer."""

    status: int
    retry_after: str | None
    raw: bytes


class _Connector(aiohttp.TCPConnector):
    """Does not use a connection again on which something came in that nobody asked for.

    aiohttp looks when a connection is given back, and not when it is taken again; what came in between would be taken
    for the answer to the next request.
    """

    async def _get(self, *arguments: Any) -> Any:
        while (connection := await super()._get(*arguments)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                break
            connection.close()
        return connection


class HttpClient:
    """The connections to all servers of an engine, kept and reused. Needs a running event loop."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, keepalive_timeout=60.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            skip_auto_headers=("User-Agent",),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT),
        )

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        *,
        name: str,
        limit: int,
        body: bytes | None = None,
        take: Callable[[bytes], None] | None = None,
    ) -> Reply:
        """Return what the server `name` sends, of at most `limit` bytes; `take` is given a good answer's pieces.

        Raises AttemptError when nothing whole came, EngineGoneError when this was closed.
        """
        try:
            async with (
                asyncio.timeout(self._timeout) as time,
                self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                deadline = time.when()
                raw = await _read(response, limit, time, deadline if deadline is not None else 0.0, take)
                return Reply(response.status, response.headers.get("Retry-After"), raw)
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                raise UnreachableError(f"{name} accepts no connection") from error
            raise AttemptError(f"{name} did not answer within {self._timeout:g} s", kind="timeout") from error
        except (aiohttp.ClientConnectionError, OSError) as error:
            if self._session.closed:
                raise EngineGoneError("the engine was closed") from error
            if isinstance(error, aiohttp.ClientConnectorError):
                raise UnreachableError(f"no connection to {name}{_reason(error)}") from error
            raise ConnectionBrokenError(f"the connection to {name} broke") from error
        except aiohttp.ClientPayloadError as error:
            raise AttemptError(f"{name} broke off its answer", kind="connection") from error
        except AttemptError as error:
            raise AttemptError(f"{name} sent {error}", kind=error.kind) from error
        except (aiohttp.ClientError, ValueError) as error:  # what is no HTTP, in aiohttp's words and its parsers'
            raise AttemptError(f"{name} sent what is no HTTP", kind="unreadable answer") from error
        except RuntimeError as error:
            if self._session.closed:
                raise EngineGoneError("the engine was closed") from error
            raise

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _reason(error: aiohttp.ClientConnectorError) -> str:
    """Return why there was no connection, in brackets; a certificate that is not trusted has its own words."""
    cause = error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    said = " ".join(str(getattr(cause, "strerror", None) or cause).split())
    return f" ({said[:200]})" if said.isprintable() else ""


async def _read(
    response: aiohttp.ClientResponse,
    limit: int,
    time: asyncio.Timeout,
    deadline: float,
    take: Callable[[bytes], None] | None,
) -> bytes:
    """Return the body; raises AttemptError, without a subject, where it is compressed or too long."""
    good = 200 <= response.status < 300
    if good and response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise AttemptError("a compressed answer, which it was not asked for", kind="unreadable answer")
    content = response.content
    loop = asyncio.get_running_loop()
    pieces: list[bytes] = []
    size = 0
    while True:
        if not content.is_eof():
            time.reschedule(min(deadline, loop.time() + _LONGEST_PAUSE))
        piece = await content.readany()
        if not piece:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            if good:
                raise AttemptError(f"more than the {limit:,} bytes that the answer may have", kind="unreadable answer")
            return b"".join(pieces)[:limit]
        if take is not None and good:
            take(piece)


def read_address(text: str) -> URL:
    """Return a server's address; raises ModelError when it is none."""
    try:
        url = URL(text.strip().rstrip("/"))
    except ValueError as error:
        raise ModelError("a server's address cannot be read as one; it looks like http://127.0.0.1:8000/v1") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ModelError(f"{url.with_user(None) if url.host else text!r} is no address like http://127.0.0.1:8000/v1")
    return url


def host_name(url: URL) -> str:
    """Return what a server is called in messages, which holds no password."""
    return f"{url.host}:{url.port}" + ("" if url.path == "/v1" else url.path.rstrip("/"))


def headers_for(url: URL) -> dict[str, str]:
    """Return the headers of requests to a server, with the key; raises ModelError when no header can hold it."""
    headers = {"Content-Type": "application/json"}
    key = os.environ.get("OPENAI_API_KEY")
    if url.user is not None:
        pair = f"{url.user}:{url.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    elif key:
        if not key.isprintable():
            raise ModelError("OPENAI_API_KEY holds a line break or another sign that is in no key: set it without")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def secrets_in(urls: Sequence[URL]) -> list[str]:
    """Return all that is to be kept secret of what servers are sent."""
    known = [os.environ.get("OPENAI_API_KEY"), *(url.password for url in urls)]
    pairs = [f"{url.user}:{url.password}" for url in urls if url.password]
    return [secret for secret in (*known, *pairs) if secret]
