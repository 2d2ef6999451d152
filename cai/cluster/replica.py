"""A replica: the models opened once more, in a process of their own, making whole rows for a driver elsewhere.

What crosses between the two is here: the spec goes out, `ReplicaInfo` and a `RowResult` a row come back. Before the
first row the driver also asks single questions, to learn what the judge is worth.
"""

import contextlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from cai import __version__
from cai.core.errors import CaiError
from cai.core.records import Prompt, Provenance, Row, Usage
from cai.models.base import Choice, Completion, Engine, Request, jurors_of
from cai.models.meter import UsageCounter

Role = Literal["model", "judge"]
"""Which engine of the run is asked: the model that answers, or the one that judges."""

Item_contra = TypeVar("Item_contra", contravariant=True)

Answer: TypeAlias = Completion | Choice


class RowMaker(Protocol[Item_contra]):
    """Open models that make rows, of prompts or of rows; `model` and `judge` are their names in provenance."""

    @property
    def model(self) -> str:
        """The name of the model that answers."""

    @property
    def judge(self) -> str:
        """The name of the model that judges."""

    @property
    def concurrency(self) -> int:
        """How many requests they can usefully hold at once."""

    def engine(self, role: Role) -> Engine:
        """Return what is asked in a role; it lives as long as this does."""

    async def make(self, item: Item_contra, /, provenance: Provenance, tally: UsageCounter) -> Row:
        """Make a row; raises RowError or what an engine raises. `tally` counts its tokens, whatever becomes of it."""

    async def close(self) -> None:
        """Release what the models hold."""


class MakerSpec(Protocol[Item_contra]):
    """All that a replica must know to open a RowMaker; can be pickled, and needs no file that the driver has."""

    async def open(self) -> RowMaker[Item_contra]:
        """Open the models; raises ModelError."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a replica was put, and the cai that it found there."""

    node: str
    version: str


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """What a replica has open, by the names that provenance records; `jurors` are those of a judge that is a jury."""

    model: str
    judge: str
    concurrency: int
    jurors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PackedError:
    """An error of ours on its way between processes; pickle would call its constructor without its keywords."""

    kind: type[CaiError]
    arguments: tuple[Any, ...]
    fields: dict[str, Any]

    @classmethod
    def of(cls, error: CaiError) -> "PackedError":
        """Pack an error."""
        return cls(type(error), error.args, dict(vars(error)))

    def unpack(self) -> CaiError:
        """Return the same error, to be raised here."""
        error = self.kind.__new__(self.kind, *self.arguments)
        vars(error).update(self.fields)
        return error


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of a row, and the tokens it took either way."""

    result: Row | PackedError
    usage: Usage


class Replica:
    """Lives in the other process; its methods are called from the driver, many at once."""

    def __init__(self) -> None:
        self._maker: RowMaker[Any] | None = None

    async def place(self) -> Placement:
        """Tell where this is, before anything is opened."""
        return Placement(platform.node(), __version__)

    async def open(
        self, spec: MakerSpec[Any], directory: str, environment: dict[str, str]
    ) -> ReplicaInfo | PackedError:
        """Open what the spec says, with the driver's `environment` added to the node's own.

        Relative paths count from `directory`, the driver's, where this machine has it.
        """
        os.environ.update(environment)
        with contextlib.suppress(OSError):
            os.chdir(directory)
        try:
            self._maker = await spec.open()
        except CaiError as error:
            return PackedError.of(error)
        jurors = tuple(juror.name for juror in jurors_of(self._maker.engine("judge")))
        return ReplicaInfo(self._maker.model, self._maker.judge, self._maker.concurrency, jurors)

    async def make(self, item: Prompt | Row, provenance: Provenance) -> RowResult:
        """Make a row of an open replica."""
        assert self._maker is not None, "a replica is opened before it is asked"  # noqa: S101
        tally = UsageCounter()
        try:
            result: Row | PackedError = await self._maker.make(item, provenance, tally)
        except CaiError as error:
            result = PackedError.of(error)
        return RowResult(result, tally.usage)

    async def answer(
        self, role: Role, request: Request, options: Sequence[str] | None, juror: int | None = None
    ) -> Answer | PackedError:
        """Complete a request, or choose among options; with a number, that juror of the role's engine does."""
        assert self._maker is not None, "a replica is opened before it is asked"  # noqa: S101
        engine = self._maker.engine(role)
        if juror is not None:
            engine = jurors_of(engine)[juror]
        try:
            return await (engine.complete(request) if options is None else engine.choose(request, options))
        except CaiError as error:
            return PackedError.of(error)

    async def close(self) -> None:
        """Release the models, as far as they still can be; the process ends next."""
        if self._maker is not None:
            with contextlib.suppress(CaiError):
                await self._maker.close()
