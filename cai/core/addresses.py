"""Places that a person names and that may carry a secret: data, prompts and runs at a URL, and servers.

`Redacted` is what they have in common with `modelspec.ModelSpec`: their text, repr, format and pickle, and so whatever
`asdict`, JSON or a log makes of them, are without user, password, query and fragment. The address as it was typed comes
out of `reveal` alone, which only whoever connects may call.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote

from cai.core.redaction import MARK, hide_address, know, remember, split_userinfo
from cai.core.urls import is_url

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/+")
_WITHOUT_SCHEME = re.compile(r"^[^\s@/]*:([^@]*)@")
_NAMED = re.compile(r"([A-Za-z][\w-]+:)([A-Za-z][A-Za-z0-9+.-]*://.+)", re.DOTALL)
"""A name before a URL, as `xstest:hf://datasets/…`: whose file it is."""
_SHORTEST_VALUE = 6
"""Characters a value in a query has at least that is remembered as a secret: `?v=1` is left out, and `1` is none."""


class Redacted(ABC):
    """What was typed (`reveal`) behind a text that may be shown."""

    __slots__ = ("_shown", "_typed")

    def __init__(self, typed: str, shown: str) -> None:
        self._typed = typed
        self._shown = shown

    def reveal(self) -> str:
        """Return what was typed, secrets included: for whoever connects, and for nobody else."""
        return self._typed

    def __str__(self) -> str:
        """Return what may be shown."""
        return self._shown

    def __repr__(self) -> str:
        """Return what may be shown, and what it is."""
        return f"{type(self).__name__}({self._shown!r})"

    def __format__(self, form: str) -> str:
        """Return what may be shown."""
        return format(self._shown, form)

    def __eq__(self, other: object) -> bool:
        """Tell whether the same was typed."""
        return type(other) is type(self) and other._typed == self._typed

    def __hash__(self) -> int:
        return hash(self._typed)

    @classmethod
    @abstractmethod
    def parse(cls, typed: str) -> Self:
        """Return what was typed as an object of this kind."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let pickle, copy and deepcopy carry what may be shown, and nothing else."""
        return type(self).parse, (self._shown,)


class DataSource(Redacted):
    """A file, a directory, a hub dataset or a URL, as a person named it."""

    __slots__ = ()

    @classmethod
    def parse(cls, typed: str) -> Self:
        """Return the place that was typed; nothing is looked up."""
        know(address_secrets(typed))
        scheme = _SCHEME.match(typed)
        if scheme is not None:
            shown = hide_address(scheme[0], typed[scheme.end() :])
            remember(shown.rstrip("/"), typed)
            return cls(typed, shown)
        named = _NAMED.match(typed)
        if named is not None:
            return cls(typed, f"{named[1]}{cls.parse(named[2])}")
        # Without a scheme it is a path, or an address of which half was typed.
        return cls(typed, _WITHOUT_SCHEME.sub(f"{MARK}@", typed))

    @classmethod
    def server(cls, typed: str) -> Self:
        """Return the address of a server, in which user and password are escaped as far as they have to be."""
        source = cls.parse(typed)
        scheme = typed.partition("://")[0] + "://"
        userinfo, place = split_userinfo(typed.removeprefix(scheme))
        user, colon, password = userinfo.partition(":")
        if userinfo:
            source._typed = f"{scheme}{quote(user, safe='%')}{colon}{quote(password, safe='%')}@{place}"
        return source

    @property
    def is_url(self) -> bool:
        """Whether it is at a URL, and not on this machine."""
        return is_url(self._typed)

    @property
    def is_web(self) -> bool:
        """Whether it is at a web address, which can be read only and may be signed for a single file."""
        return self._typed.startswith(("http://", "https://"))


def address_secrets(typed: str) -> Iterator[str]:
    """Yield what an address carries that nobody else may see."""
    if (named := _NAMED.match(typed)) is not None:
        yield from address_secrets(named[2])
        return
    scheme = _SCHEME.match(typed)
    half = _WITHOUT_SCHEME.match(typed)
    if scheme is None:
        yield from () if half is None else (half[1],)
        return
    userinfo, place = split_userinfo(typed[scheme.end() :])
    user, colon, password = userinfo.partition(":")
    if colon:
        yield password
        yield userinfo
        yield f"{unquote(user)}:{unquote(password)}"
    elif userinfo:
        yield user
    path = re.split(r"[?#]", place, maxsplit=1)[0]
    query = place[len(path) + 1 :]
    if len(query) >= _SHORTEST_VALUE:
        yield query
    values = [value for _, value in parse_qsl(query.replace("#", "&"), keep_blank_values=True)]
    yield from (value for value in values if len(value) >= _SHORTEST_VALUE)
