"""Models behind a server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, TGI, OpenAI itself.

At most `concurrency` requests are on their way at once, and the others wait their turn here. An attempt that gave no
answer is made again with exponential back-off and full jitter, as often as `attempts` says; a server that is busy is
asked more slowly and waited for, see `pacing`. Servers that nobody can connect to any more end the whole engine, once,
rather than every request by itself: see `hosts`. Whatever else a server says is the request's own failure.

What a server understands beside the common fields is found out once: see `dialect`; the order of a thought, a beginning
that is given and an answer is in `turns`.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import orjson

from cai.core.errors import ModelError, RequestError
from cai.core.redaction import forms, hide_secrets, know
from cai.models.base import Choice, Completion, Request
from cai.models.openai import turns
from cai.models.openai.attempts import AttemptError, AttemptHistory, BusyError, backoff, retry_after
from cai.models.openai.bodies import Manner, choice_body, completion_body, most_bytes
from cai.models.openai.chat import ErrorInsideError, Said, begins_thought, read_choice, read_completion, read_said
from cai.models.openai.dialect import Dialect
from cai.models.openai.hosts import Host, Hosts
from cai.models.openai.http import (
    ConnectionBrokenError,
    HttpClient,
    UnreachableError,
    headers_for,
    host_name,
    read_address,
    secrets_in,
)
from cai.models.openai.kinds import Fields
from cai.models.openai.listing import list_model
from cai.models.openai.refusals import refusal, told
from cai.models.openai.streaming import StreamedAnswer, streaming_body
from cai.models.openai.turns import FindManner
from cai.models.places import Slots
from cai.models.streaming import Heard
from cai.models.template_options import told_variables

Result = TypeVar("Result")

_SLOTS_PER_HOST = 288  # an eighth above vLLM's usual 256 sequences, so that a freed one finds work waiting
_TOLD_FROM, _TOLD_EVERY = 5.0, 300.0  # seconds in vain that a person is told of, and how often at most
_LONGEST_QUESTION = 512  # tokens of an answer to a question of our own
_SHORTEST_REPEATED = 8  # characters of a key below which an answer may hold it by chance


class OpenAIEngine:
    """One model on one or several servers.

    `urls` end before `/chat/completions`. `timeout` is seconds an attempt may take in all, `attempts` how many a
    request gets; `patience` and `busy_patience` are seconds as in `hosts`, `backoff_base` as in `attempts.backoff`.
    `say` tells a person which server is waited for, or asked in vain, and what it said, and what a server cannot do.
    `variables` are for the chat template.
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
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        addresses = [read_address(url) for url in urls]
        names = [host_name(url) for url in addresses]
        self.name = " ".join([f"openai:{model}", *told_variables(variables or {})])  # a server that moved is the same
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
        self._headers = {name: headers_for(url) for name, url in zip(names, addresses, strict=True)}
        secrets = secrets_in(addresses)
        know(secrets)
        repeated = (form for secret in secrets for form in forms(secret))
        self._never_said = frozenset(form for form in repeated if len(form) >= _SHORTEST_REPEATED)
        self._dialects = {
            host.name: Dialect(host.name, partial(self._question, host), variables or {}, say)
            for host in self._hosts.all
        }
        self._slots = Slots(self.concurrency)
        self._given: set[str] = set()
        self._http = HttpClient(timeout)

    async def complete(self, request: Request) -> Completion:
        """Return the assistant's next turn, as `Engine.complete` says."""
        return await turns.complete(self, request)

    async def stream(self, request: Request, heard: Heard) -> Completion:
        """Return the same, heard while it comes, but behind a beginning that is given, and of servers that refuse."""
        return await turns.stream(self, request, heard)

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Return how likely each option is; an option of several tokens is scored by its first (see `chat`)."""
        return await turns.choose(self, request, options)

    async def ask_completion(self, request: Request, manner: FindManner, heard: Heard | None = None) -> Completion:
        """Return the assistant's turn, or the rest of it, asked in a manner that depends on the server."""

        def read(manner: Manner, raw: bytes) -> Completion:
            completion = read_completion(raw, request.sampling.max_tokens + manner.room, begun=manner.begun)
            return replace(completion, text=completion.text.removeprefix(manner.text)) if manner.text else completion

        limit = most_bytes(request.sampling.max_tokens + (request.thinking.budget or 0))
        sort, body = ("completion", completion_body) if heard is None else ("stream", streaming_body)
        return await self._ask(sort, request, body, manner, limit, read, partial(turns.settle, request), heard)

    async def ask_choice(self, request: Request, options: Sequence[str], manner: FindManner) -> Choice:
        """Return how likely each option is as the next token, asked in a manner that depends on the server.

        Raises ThinksFirstError where the answer shows that the token begins a thought.
        """

        def read(manner: Manner, raw: bytes) -> Choice:
            choice = read_choice(raw, options)
            if request.thinking.mode == "auto" and not manner.begun and begins_thought(raw):
                raise turns.ThinksFirstError
            return choice

        return await self._ask("choice", request, choice_body, manner, most_bytes(1), read)

    async def close(self) -> None:
        """Close the connections."""
        for dialect in self._dialects.values():
            dialect.close()
        self._hosts.give_up(f"{self.name} was closed")
        await self._http.close()

    async def find_context_length(self) -> int | None:
        """Ask every server for its models; return the smallest `max_model_len` told for this model, if any.

        Raises ModelError when no server can be reached, the key is refused, or an address lacks its /v1.
        """
        told = await asyncio.gather(*(self._list(host) for host in self._hosts.all), return_exceptions=True)
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

    async def check_variables(self) -> None:
        """Raise ModelError when a server does not take the chat template's variables."""
        for name, dialect in self._dialects.items():
            if await dialect.refuses_variables():
                raise ModelError(f"{name} takes no variables of a chat template: leave --template-option out")

    async def _list(self, host: Host) -> int | None:
        listed = await list_model(
            self._http,
            self._bases[host.name],
            self._headers[host.name],
            name=host.name,
            model=self._model,
            seconds=self._timeout,
            backoff_base=self._backoff_base,
            tell=self._tell,
        )
        self._dialects[host.name].kind = listed.kind
        return listed.context_length

    async def _ask(
        self,
        sort: str,
        request: Request,
        make_body: Callable[[str, Request, Manner], bytes],
        find_manner: FindManner,
        limit: int,
        read: Callable[[Manner, bytes], Result],
        settle: Callable[[Dialect, Manner, Result], Awaitable[Result]] | None = None,
        heard: Heard | None = None,
    ) -> Result:
        """Send a request until `read` can read the answer; return what it read, as `settle` sees it.

        `sort` names requests that a server answers all or none of; `heard` is given what is streamed.
        """
        affinity = self._hosts.affinity(request.messages)
        history: AttemptHistory | None = None
        avoid: Host | None = None
        async with self._slots:
            while True:
                host = await self._hosts.take(affinity, avoid)
                pauses = host.pace.pauses
                try:
                    dialect = self._dialects[host.name]
                    manner = await find_manner(dialect)
                    body = make_body(self._model, request, manner)
                    streamed = None if heard is None else StreamedAnswer(manner, heard, self._holds_key)
                    result = await self._attempt(host, body, limit, partial(read, manner), streamed)
                    result = await settle(dialect, manner, result) if settle else result
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

    async def _question(self, host: Host, fields: Fields) -> Said | None:
        """Ask what nobody asked for, to learn what the server understands; None: it refuses these fields."""
        body = orjson.dumps({"model": self._model, **fields})
        try:
            return await self._attempt(host, body, most_bytes(_LONGEST_QUESTION), read_said)
        except AttemptError as error:
            if error.kind in ("http 400", "http 422"):
                return None
            raise

    async def _attempt(
        self,
        host: Host,
        body: bytes,
        limit: int,
        read: Callable[[bytes], Result],
        streamed: StreamedAnswer | None = None,
    ) -> Result:
        """Send `body` once; raises AttemptError where another attempt may help, and else what the answer means."""
        url, headers, take = self._chats[host.name], self._headers[host.name], streamed.take if streamed else None
        reply = await self._http.send("POST", url, headers, name=host.name, limit=limit, body=body, take=take)
        self._hosts.reached(host)
        status = reply.status
        try:
            if 200 <= status < 300:
                result = read(streamed.whole(reply.raw) if streamed else reply.raw)
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
        """Return whether an answer holds a key; it is looked for in the text, which JSON may spell in many ways."""
        may = bool(self._never_said) and isinstance(result, Completion)
        return may and any(map(self._holds_key, (result.text, result.reasoning)))

    def _holds_key(self, text: str) -> bool:
        return any(form in text for form in self._never_said)

    def _delay(self, host: Host, pauses: int, error: AttemptError, history: AttemptHistory, *, given: bool) -> float:
        """Return how long to wait before the next attempt, or raise what the last one failed with.

        While no server at all can be connected to, patience is shared and counted in seconds, not in attempts.
        """
        now = self._loop.time()
        if isinstance(error, BusyError):
            hopeless = self._hosts.refused(host, pauses, error)
            self._tell(self._hosts.notice(now, _TOLD_FROM))
            if hopeless or history.is_too_large(host.pace.answered, now, host.pace.patience):
                raise told(host.name, error, f"and nothing else for {host.pace.patience:g} s") from error
            return 0.0
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= _TOLD_FROM:
            self._tell(f"nothing answered for {now - self._failing_since:.0f} s, asking again: {error}")
        another = isinstance(error, ConnectionBrokenError) and self._hosts.unreachable(host, now)
        waits_for_all = isinstance(error, UnreachableError) and self._hosts.all_failing
        if not waits_for_all and history.is_over(error, given=given):
            raise told(host.name, error, f"asked {history.failures} times") from error
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


async def open_openai(
    model: str,
    urls: Sequence[str],
    concurrency: int | None = None,
    *,
    attempt_timeout: float = 600.0,
    say: Callable[[str], None] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> OpenAIEngine:
    """Open `model` on the servers at `urls`; raises ModelError when an address is wrong or nobody answers there.

    `variables` are for the chat template; ModelError says that a server refuses them.
    """
    engine = OpenAIEngine(model, urls, timeout=attempt_timeout, concurrency=concurrency, say=say, variables=variables)
    try:
        await engine.find_context_length()
        if variables:
            await engine.check_variables()
    except BaseException:
        await engine.close()
        raise
    return engine
