"""A replica: the models opened once more, in a process of their own, making whole rows for a driver elsewhere.

What crosses between the two is here: the recipe goes out, `Opened` and an `Outcome` a row come back. It knows nothing
of Ray, which carries them, nor of how a row is made.
"""

import contextlib
import os
import platform
from dataclasses import dataclass
from typing import Any, Protocol

from cai import __version__
from cai.core.errors import CaiError
from cai.core.records import Prompt, Provenance, Row, Usage
from cai.models.meter import UsageCounter


class Maker(Protocol):
    """Open models that make rows; `model` and `judge` are their names in provenance."""

    @property
    def model(self) -> str:
        """The name of the model that answers."""

    @property
    def judge(self) -> str:
        """The name of the model that judges."""

    @property
    def concurrency(self) -> int:
        """How many requests they can usefully hold at once."""

    async def make(self, prompt: Prompt, provenance: Provenance, tally: UsageCounter) -> Row:
        """Make a row; raises RowError or what an engine raises. `tally` counts its tokens, whatever becomes of it."""

    async def close(self) -> None:
        """Release what the models hold."""


class Recipe(Protocol):
    """All that a replica must know to open a Maker; can be pickled, and needs no file that the driver has."""

    async def open(self) -> Maker:
        """Open the models; raises ModelError."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica was put, and the cai that it found there."""

    node: str
    version: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What a replica has open, by the names that provenance records."""

    model: str
    judge: str
    concurrency: int


@dataclass(frozen=True, slots=True)
class Carried:
    """An error of ours on its way between processes: pickle would call its constructor without its keywords."""

    kind: type[CaiError]
    arguments: tuple[Any, ...]
    fields: dict[str, Any]

    @classmethod
    def of(cls, error: CaiError) -> "Carried":
        """Pack an error."""
        return cls(type(error), error.args, dict(vars(error)))

    def unpack(self) -> CaiError:
        """Return the same error, to be raised here."""
        error = self.kind.__new__(self.kind, *self.arguments)
        vars(error).update(self.fields)
        return error


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row, and the tokens it took either way."""

    result: Row | Carried
    usage: Usage


class Replica:
    """Lives in the other process; its methods are called from the driver, many at once."""

    def __init__(self) -> None:
        self._maker: Maker | None = None

    async def place(self) -> Place:
        """Tell where this is, before anything is opened."""
        return Place(platform.node(), __version__)

    async def open(self, recipe: Recipe, directory: str, environment: dict[str, str]) -> Opened | Carried:
        """Open what the recipe says, with the driver's `environment` added to the node's own.

        Relative paths count from `directory`, the driver's, where this machine has it.
        """
        os.environ.update(environment)
        with contextlib.suppress(OSError):
            os.chdir(directory)
        try:
            self._maker = await recipe.open()
        except CaiError as error:
            return Carried.of(error)
        return Opened(self._maker.model, self._maker.judge, self._maker.concurrency)

    async def make(self, prompt: Prompt, provenance: Provenance) -> Outcome:
        """Make a row of an open replica."""
        assert self._maker is not None, "a replica is opened before it is asked"  # noqa: S101
        tally = UsageCounter()
        try:
            result: Row | Carried = await self._maker.make(prompt, provenance, tally)
        except CaiError as error:
            result = Carried.of(error)
        return Outcome(result, tally.usage())

    async def close(self) -> None:
        """Release the models, as far as they still can be; the process ends next."""
        if self._maker is not None:
            with contextlib.suppress(CaiError):
                await self._maker.close()
