"""A model that is a Python object, as settings hold it: beside a `ModelSpec` that was typed, and in its place.

Its text, which is written down wherever a model's name is, is its engine's name. It cannot be parsed again, nor go to
another process. An engine that somebody gave is theirs: it is used, perhaps by several runs, and not closed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from cai.models.backends import MORE_SAMPLING, Backend, EngineOptions, SpecParts
from cai.models.base import Choice, Completion, Engine, ForwardingEngine, Request
from cai.models.function import AsyncFunction, FunctionEngine, PlainFunction, engine_from
from cai.models.spec import ModelSpec


class GivenModel(ModelSpec):
    """An engine or a function; two of the same object are equal, so that it is opened once."""

    __slots__ = ("_engine", "is_function")

    def __init__(self, given: Engine | PlainFunction | AsyncFunction) -> None:
        """Take the object; raises ModelError when it is neither engine nor function."""
        self._engine = engine_from(given)
        self.is_function = isinstance(self._engine, FunctionEngine)
        called = getattr(given, "__name__", None) or type(given).__name__
        backend = _FUNCTION if self.is_function else _GIVEN
        super().__init__(f"{self._engine.name} {id(given)}", backend, SpecParts(str(called)))
        self._shown = self._engine.name

    def open(self) -> Engine:
        """Return an engine for one event loop, to be closed by whoever asked for it."""
        if isinstance(self._engine, FunctionEngine):
            return FunctionEngine(self._engine.function, self._engine.name)
        return _Lent(self._engine)


async def _open(spec: ModelSpec, _options: EngineOptions) -> Engine:
    return cast("GivenModel", spec).open()


_GIVEN = Backend("given", "an engine or a function", _open, sampling=frozenset(MORE_SAMPLING))
_FUNCTION = replace(_GIVEN, sampling=frozenset())
"""Not in the table: nobody can type them. An engine gets whole requests, a function the messages alone."""


class _Lent(ForwardingEngine):
    """Somebody's engine, which stays open when it is closed here."""

    def around(self, engine: Engine) -> Engine:
        return _Lent(engine)

    async def complete(self, request: Request) -> Completion:
        return await self._engine.complete(request)

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        return await self._engine.choose(request, options)

    async def close(self) -> None:
        pass
