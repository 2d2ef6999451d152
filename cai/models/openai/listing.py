"""What a server tells when it is opened: its list of models, from which its kind and a model's context length are read.

A list that came to nothing is asked for again. What a person must mend first is a ModelError: a key that is refused, an
address without its /v1.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from yarl import URL

from cai.core.errors import ModelError
from cai.models.fields import count, mapping, parse
from cai.models.openai.attempts import AttemptError, backoff
from cai.models.openai.http import HttpClient, Reply, UnreachableError
from cai.models.openai.kinds import UNKNOWN, ServerKind, kind_of_owner

_TIMEOUT = 30.0  # seconds to list a server's models
_ATTEMPTS = 5
_MOST_LISTED = 1 << 22  # bytes of a list of models
_TOLD_AFTER = 5.0  # seconds of waiting that a person is told of


@dataclass(frozen=True, slots=True)
class Listed:
    """What a server's list tells of one model, which with many servers is nothing."""

    context_length: int | None = None
    kind: ServerKind = UNKNOWN


async def list_model(
    http: HttpClient,
    base: URL,
    headers: Mapping[str, str],
    *,
    name: str,
    model: str,
    seconds: float,
    backoff_base: float,
    tell: Callable[[str], None],
) -> Listed:
    """Ask the server `name` at `base` for its models; raises AttemptError when none of the attempts came to anything.

    An attempt may take `seconds`. Raises ModelError when a person must mend something.
    """
    failures = 0
    loop = asyncio.get_running_loop()
    while True:
        failures += 1
        waiting = loop.call_later(_TOLD_AFTER, tell, f"waiting for {name} to list its models")
        try:
            async with asyncio.timeout(min(_TIMEOUT, seconds)):
                reply = await http.send("GET", base / "models", headers, name=name, limit=_MOST_LISTED)
        except TimeoutError as error:
            raise AttemptError(f"{name} does not answer", kind="timeout") from error
        except AttemptError as error:
            if failures == _ATTEMPTS or isinstance(error, UnreachableError):
                raise
        else:
            mistake = _mistake(name, base, reply.status)
            if mistake is None:
                return _read(reply, model)
            if failures == _ATTEMPTS:
                raise ModelError(mistake)
        finally:
            waiting.cancel()
        await asyncio.sleep(backoff(failures, backoff_base))


def _mistake(name: str, base: URL, status: int) -> str | None:
    """Return what a person must mend before this server answers, None where nothing is known."""
    if status in (401, 403):
        return f"{name} refuses the key: set OPENAI_API_KEY to one it accepts"
    if status == 404 and base.name != "v1":
        return f"{name} knows no {base.path.rstrip('/')}/models: the address usually ends in /v1"
    return None


def _read(reply: Reply, model: str) -> Listed:
    try:
        listed = mapping(parse(reply.raw)).get("data")
    except ValueError:
        return Listed()
    for one in listed if isinstance(listed, list) else ():
        if mapping(one).get("id") == model:
            return Listed(count(one.get("max_model_len")) or None, kind_of_owner(one.get("owned_by")))
    return Listed()
