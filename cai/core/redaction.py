"""What may not be written down, and the one place that takes it out of text: passwords, keys, signatures.

Two things are looked for. In anything that looks like an address, whatever stands before an `@` or after a `?` or `#`
is left out: host, port and path stay. And every secret that this process knows is left out wherever it stands, as it
is and as servers and libraries repeat it (percent-encoded, in base64, in JSON, in HTML): what addresses carried, once
they were read (`addresses`, `modelspec`), and what the environment holds under names such as OPENAI_API_KEY.

All messages of `cai.core.errors` go through `redact` when they are made, and so does everything that is printed.
"""

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote

MARK = "…"
"""Stands where a known secret stood."""

_SHORTEST, _SHORTEST_IN_ENVIRONMENT = 3, 6
"""Characters below which nothing is taken for a secret: text without every `a` says nothing, and `EMPTY` is no key."""

_SECRET_NAME = re.compile(r"(KEY|KEY_ID|TOKEN|SECRET|PASSWORD|PASSWD|CONNECTION_STRING)$", re.IGNORECASE)
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*:/{1,3}"
_ADDRESS = re.compile(rf"({_SCHEME})([^\s'\"<>`]+)")
_NEXT_ADDRESS = re.compile(rf",(?={_SCHEME})")

_known: set[str] = set()
_typed: dict[str, str] = {}


def know(secrets: Iterable[str]) -> None:
    """Remember secrets until the process ends, so that no text that goes through `redact` repeats them."""
    _known.update(secret for secret in secrets if len(secret) >= _SHORTEST)


def remember(shown: str, typed: str) -> None:
    """Remember what was typed of an address that is shown, and written down, without its secrets."""
    if shown != typed:
        _typed[shown] = typed


def revealed(shown: str) -> str:
    """Return an address as it was typed in this process, secrets included: for whoever connects, and for nobody else.

    One that is only known from a file comes back as it is.
    """
    return _typed.get(shown, shown)


def is_secret_name(name: str) -> bool:
    """Tell whether a variable or an option of this name holds a key, a token or a password."""
    return _SECRET_NAME.search(name.replace("-", "_")) is not None


def redact(text: str) -> str:
    """Return a message without known secrets, and without what addresses carry beside host, port and path."""
    return _ADDRESS.sub(lambda found: hide_address(found[1], found[2]), hide_secrets(text))


def hide_secrets(text: str) -> str:
    """Return text without known secrets; addresses in it stay as they are."""
    environment = (
        value for name, value in os.environ.items() if len(value) >= _SHORTEST_IN_ENVIRONMENT and is_secret_name(name)
    )
    pattern = _pattern(frozenset((*_known, *environment)))
    return text if pattern is None else pattern.sub(MARK, text)


def hide_address(scheme: str, rest: str) -> str:
    """Return addresses, one or several between commas, without user, password, query and fragment."""
    shown = []
    for number, address in enumerate(_NEXT_ADDRESS.split(scheme + rest)):
        begins = scheme if not number else re.match(_SCHEME, address)[0]  # type: ignore[index]  # split there
        userinfo, host = split_userinfo(address.removeprefix(begins))
        host = re.split(r"[?#]", host, maxsplit=1)[0]
        # Without an @ a port that is no number is the beginning of a password.
        shown.append(begins + (host if userinfo else re.sub(r"^([^/:\[]*:)(?!\d*(?:/|$))[^/]*", rf"\1{MARK}", host)))
    return ",".join(shown)


def split_userinfo(rest: str) -> tuple[str, str]:
    """Return what stands before and after the `@` that ends user and password in an address without its scheme.

    Passwords are often typed as they are, so theirs may hold an `@`, a slash or a question mark: of several readings
    the one is taken that hides most.
    """
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if ":" in host.partition("@")[0]:
        path = re.split(r"[?#]", rest, maxsplit=1)[0]
        if re.fullmatch(r".*:\d+", host) and "@" not in path:  # HOST:PORT, and an @ in the query
            return "", rest
        userinfo, _, place = rest.rpartition("@")
    elif "@" in host:
        userinfo = host.rpartition("@")[0]
        place = rest[len(userinfo) + 1 :]
    else:  # an @ further on is a part of the path: hf://datasets/me/data@revision
        userinfo, place = "", rest
    return userinfo, place


@lru_cache(maxsize=4)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    known = {form for secret in secrets for form in forms(secret) if len(form) >= _SHORTEST}
    return re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True)))) if known else None


def forms(secret: str) -> Iterator[str]:
    """Yield how a secret may be repeated by whoever was told it."""
    for plain in {secret, unquote(secret)}:
        yield plain
        yield from (quote(plain, safe=""), quote(plain), quote_plus(plain), quote(plain, safe="").lower())
        yield from (json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1], repr(plain)[1:-1])
        yield from (html.escape(plain), html.escape(plain, quote=False))
        for pair in (plain, f":{plain}", f"{plain}:"):
            data = pair.encode("utf-8", "surrogateescape")
            for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
                yield encoded.decode().rstrip("=")
