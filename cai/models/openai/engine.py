"""Models behind a server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, TGI, OpenAI itself.

At most `concurrency` requests are on their way at once, and the others wait their turn here. An attempt that gave no
answer is made again with exponential back-off and full jitter, as often as `attempts` says; a server that is busy is
asked more slowly and waited for, see `pacing`. Servers that nobody can connect to any more end the whole engine, once,
rather than every request by itself: see `hosts`. Whatever else a server says is the request's own failure.

The API key is read from OPENAI_API_KEY (or user:password from the address) and goes into the request's header only.
"""

import asyncio
import base64
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from yarl import URL

from cai.core.errors import ContextError, ModelError, RequestError
from cai.core.records import Message
from cai.core.redaction import forms, hide_secrets, know
from cai.models.base import Choice, Completion, Request
from cai.models.fields import count, mapping, parse
from cai.models.openai.attempts import AttemptError, AttemptHistory, BusyError, backoff, retry_after
from cai.models.openai.chat import (
    ErrorInsideError,
    choice_body,
    completion_body,
    most_bytes,
    read_choice,
    read_completion,
)
from cai.models.openai.hosts import Host, Hosts
from cai.models.openai.http import ConnectionBrokenError, HttpClient, Reply, UnreachableError
from cai.models.openai.refusals import is_overflow, refusal

Result = TypeVar("Result")

_SLOTS_PER_HOST = 288  # an eighth above vLLM's usual 256 sequences, so that a freed one finds work waiting
_TOLD_FROM, _TOLD_EVERY = 5.0, 300.0  # seconds in vain that a person is told of, and how often at most
_SHORTEST_REPEATED = 8  # characters of a key below which an answer may hold it by chance
_OPEN_TIMEOUT = 30.0  # seconds to list a server's models
_OPEN_ATTEMPTS = 5
_MOST_LISTED = 1 << 22  # bytes of a list of models


class OpenAIEngine:
    """One model on one or several servers.

    `urls` end before `/chat/completions`. `timeout` is seconds an attempt may take in all, `attempts` how many a
    request gets; `patience` and `busy_patience` are seconds as in `hosts`, `backoff_base` as in `attempts.backoff`.
    `say` tells a person which server is waited for, or asked in vain, and what it said.
    Made by `open_openai`; needs a running event loop.
    """

    def __init__(
        self,
        model: str,
        urls: Sequence[str],
        *,
        timeout: float = 600.0,
        concurrency: int | None = None,
        context_length: int | None = None,
        attempts: int = 10,
        patience: float = 20.0,
        busy_patience: float = 600.0,
        backoff_base: float = 0.25,
        say: Callable[[str], None] | None = None,
    ) -> None:
        addresses = [_address(url) for url in urls]
        names = [_host_name(url) for url in addresses]
        self.name = f"openai:{model}"  # not where: a server that moved is the same model
        self.concurrency = concurrency or _SLOTS_PER_HOST * len(urls)
        self.context_length = context_length
        self._model = model
        self._attempts = attempts
        self._backoff_base = backoff_base
        self._patience = patience
        self._timeout = timeout
        self._say = say
        self._told_at = -math.inf
        self._failing_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._hosts = Hosts(names, patience, most=self.concurrency, busy_patience=busy_patience)
        self._bases = {host.name: url.with_user(None) for host, url in zip(self._hosts.all, addresses, strict=True)}
        self._chats = {name: base / "chat" / "completions" for name, base in self._bases.items()}
        self._headers = {name: _headers(url) for name, url in zip(names, addresses, strict=True)}
        secrets = _secrets(addresses)
        know(secrets)
        repeated = (form for secret in secrets for form in forms(secret))
        self._never_said = frozenset(form for form in repeated if len(form) >= _SHORTEST_REPEATED)
        self._slots = asyncio.Semaphore(self.concurrency)
        self._given: set[str] = set()
        self._http = HttpClient(timeout)

    async def complete(self, request: Request) -> Completion:
        """Return the assistant's next turn, as `Engine.complete` says."""
        most = request.sampling.max_tokens
        body = completion_body(self._model, request)
        return await self._ask(
            "completion", request.messages, body, most_bytes(most), lambda raw: read_completion(raw, most)
        )

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Return how likely each option is; an option of several tokens is scored by its first (see `chat`)."""
        body = choice_body(self._model, request.messages)
        return await self._ask("choice", request.messages, body, most_bytes(1), lambda raw: read_choice(raw, options))

    async def close(self) -> None:
        """Close the connections."""
        self._hosts.give_up(f"{self.name} was closed")
        await self._http.close()

    async def find_context_length(self) -> int | None:
        """Ask every server for its models; return the smallest `max_model_len` told for this model, if any.

        Raises ModelError when no server can be reached, the key is refused, or an address lacks its /v1.
        """
        told = await asyncio.gather(*(self._model_length(host) for host in self._hosts.all), return_exceptions=True)
        self._told_at = -math.inf  # what was told of this says nothing of what comes
        for answer in told:
            if isinstance(answer, BaseException) and not isinstance(answer, AttemptError):
                raise answer
        lost = [answer for answer in told if isinstance(answer, AttemptError)]
        if len(lost) == len(told):
            names = ", ".join(host.name for host in self._hosts.all)
            why = "; ".join(dict.fromkeys(str(error) for error in lost))
            raise ModelError(f"no server answers at {names}: is it running, and is the address right? ({why})")
        self.context_length = min((answer for answer in told if isinstance(answer, int)), default=None)
        return self.context_length

    async def _model_length(self, host: Host) -> int | None:
        base, failures = self._bases[host.name], 0
        while True:
            failures += 1
            waiting = self._loop.call_later(_TOLD_FROM, self._tell, f"waiting for {host.name} to list its models")
            try:
                async with asyncio.timeout(min(_OPEN_TIMEOUT, self._timeout)):
                    reply = await self._http.send(
                        "GET", base / "models", self._headers[host.name], name=host.name, limit=_MOST_LISTED
                    )
            except TimeoutError as error:
                raise AttemptError(f"{host.name} does not answer", kind="timeout") from error
            except AttemptError as error:
                if failures == _OPEN_ATTEMPTS or isinstance(error, UnreachableError):
                    raise
            else:
                mistake = self._mistake(host, reply.status)
                if mistake is None:
                    return self._listed_length(reply)
                if failures == _OPEN_ATTEMPTS:
                    raise ModelError(mistake)
            finally:
                waiting.cancel()
            await asyncio.sleep(backoff(failures, self._backoff_base))

    def _mistake(self, host: Host, status: int) -> str | None:
        """Return what a person must mend before this server answers, None where nothing is known."""
        base = self._bases[host.name]
        if status in (401, 403):
            return f"{host.name} refuses the key: set OPENAI_API_KEY to one it accepts"
        if status == 404 and base.name != "v1":
            return f"{host.name} knows no {base.path.rstrip('/')}/models: the address usually ends in /v1"
        return None

    def _listed_length(self, reply: Reply) -> int | None:
        """Return the length told for this model; many servers tell none."""
        try:
            listed = mapping(parse(reply.raw)).get("data")
        except ValueError:
            return None
        for model in listed if isinstance(listed, list) else ():
            if mapping(model).get("id") == self._model:
                return count(model.get("max_model_len")) or None
        return None

    async def _ask(
        self, sort: str, messages: Sequence[Message], body: bytes, limit: int, read: Callable[[bytes], Result]
    ) -> Result:
        """Send `body` until `read` can read the answer; return what it read.

        `sort` names requests that a server answers all or none of.
        """
        affinity = self._hosts.affinity(messages)
        history: AttemptHistory | None = None
        avoid: Host | None = None
        async with self._slots:
            while True:
                host = await self._hosts.take(affinity, avoid)
                pauses = host.pace.pauses
                try:
                    result = await self._attempt(host, body, limit, read)
                    host.pace.answer(pauses)
                    self._failing_since = None
                    self._given.add(sort)
                    return result
                except AttemptError as error:
                    avoid = host
                    history = history or AttemptHistory(self._attempts, self._timeout)
                    try:
                        delay = self._delay(host, pauses, error, history, given=sort in self._given)
                    except RequestError:
                        if history.kept is not None:
                            return history.kept  # type: ignore[no-any-return]
                        raise
                finally:
                    self._hosts.release(host)
                if delay:
                    await asyncio.sleep(delay)

    async def _attempt(self, host: Host, body: bytes, limit: int, read: Callable[[bytes], Result]) -> Result:
        """Send `body` once; raises AttemptError where another attempt may help, and else what the answer means."""
        reply = await self._http.send(
            "POST", self._chats[host.name], self._headers[host.name], name=host.name, limit=limit, body=body
        )
        self._hosts.reached(host)
        status = reply.status
        try:
            if 200 <= status < 300:
                result = read(reply.raw)
                if self._repeats_key(result):
                    raise AttemptError(
                        f"{host.name} repeats the key it was sent in its answer, which is not kept",
                        kind="key",
                        retryable=False,
                        refused=True,
                    )
                return result
        except ErrorInsideError as error:
            status = error.status
        except AttemptError as error:
            error.kept = None if self._repeats_key(error.kept) else error.kept
            raise
        raise refusal(
            status,
            hide_secrets(reply.raw.decode(errors="replace")).encode(),
            host=host.name,
            model=self._model,
            wait=retry_after(reply.retry_after),
        )

    def _repeats_key(self, result: Any) -> bool:
        """Return whether a text holds a key; it is looked for in the text, which JSON may spell in many ways."""
        return isinstance(result, Completion) and any(form in result.text for form in self._never_said)

    def _delay(self, host: Host, pauses: int, error: AttemptError, history: AttemptHistory, *, given: bool) -> float:
        """Return how long to wait before the next attempt, or raise what the last one failed with.

        While no server at all can be connected to, patience is shared and counted in seconds, not in attempts.
        """
        now = self._loop.time()
        if isinstance(error, BusyError):
            hopeless = self._hosts.refused(host, pauses, error)
            self._tell(self._hosts.notice(now, _TOLD_FROM))
            if hopeless or history.is_too_large(host.pace.answered, now, host.pace.patience):
                raise _told(host, error, f"and nothing else for {host.pace.patience:g} s") from error
            return 0.0
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= _TOLD_FROM:
            self._tell(f"nothing answered for {now - self._failing_since:.0f} s, asking again: {error}")
        another = isinstance(error, ConnectionBrokenError) and self._hosts.unreachable(host, now)
        waits_for_all = isinstance(error, UnreachableError) and self._hosts.all_failing
        if not waits_for_all and history.is_over(error, given=given):
            raise _told(host, error, f"asked {history.failures} times") from error
        if another:
            return 0.0
        if isinstance(error, ConnectionBrokenError):
            return backoff(host.failures, self._backoff_base, cap=self._patience / 4)
        return backoff(history.failures, self._backoff_base)

    def _tell(self, notice: str) -> None:
        """Tell a person why nothing comes, once in a while."""
        now = self._loop.time()
        if notice and self._say is not None and now - self._told_at >= _TOLD_EVERY:
            self._told_at = now
            self._say(notice)


def _told(host: Host, error: AttemptError, how: str) -> RequestError:
    """Return what a request fails with whose last attempt ended so at `host`, which is named."""
    if error.kind == "server error" and is_overflow(str(error)):  # said again and again, so it is believed
        return ContextError("the request does not fit the model's context", raw=error.raw)
    said = str(error) if host.name in str(error) else f"{host.name}: {error}"
    return RequestError(f"{said}, {how}", retryable=error.retryable, kind=error.kind, raw=error.raw)


async def open_openai(
    model: str,
    urls: Sequence[str],
    concurrency: int | None = None,
    *,
    attempt_timeout: float = 600.0,
    say: Callable[[str], None] | None = None,
) -> OpenAIEngine:
    """Open `model` on the servers at `urls`; raises ModelError when an address is wrong or nobody answers there."""
    engine = OpenAIEngine(model, urls, timeout=attempt_timeout, concurrency=concurrency, say=say)
    try:
        await engine.find_context_length()
    except BaseException:
        await engine.close()
        raise
    return engine


def _address(text: str) -> URL:
    try:
        url = URL(text.strip().rstrip("/"))
    except ValueError as error:
        raise ModelError("a server's address cannot be read as one; it looks like http://127.0.0.1:8000/v1") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ModelError(f"{url.with_user(None) if url.host else text!r} is no address like http://127.0.0.1:8000/v1")
    return url


def _host_name(url: URL) -> str:
    return f"{url.host}:{url.port}" + ("" if url.path == "/v1" else url.path.rstrip("/"))


def _headers(url: URL) -> dict[str, str]:
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


def _secrets(urls: Sequence[URL]) -> list[str]:
    known = [os.environ.get("OPENAI_API_KEY"), *(url.password for url in urls)]
    pairs = [f"{url.user}:{url.password}" for url in urls if url.password]
    return [secret for secret in (*known, *pairs) if secret]
