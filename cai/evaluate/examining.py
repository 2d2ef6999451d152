"""An examination: what is asked of every model beside the evaluation's prompts, and what is measured of it.

While a model is open its items go through the examination, an item at a time in any order, each kept the moment it is
done (`examinations/<name>/<label>.jsonl`), so that a killed evaluation goes on from there. What was kept of all models
becomes an `EvaluationSection`: the examination's measures with their intervals, as the evaluation's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Generic, Protocol, TypeVar

from cai.core.errors import EngineGoneError
from cai.core.records import Prompt, Provenance, Row
from cai.evaluate.measures import Measure
from cai.evaluate.measuring import ModelEntries, measure_entries
from cai.evaluate.records import Answer
from cai.evaluate.results import EvaluationSection, SectionTable
from cai.method.critique import Method
from cai.method.judge import JudgeConfiguration
from cai.models.base import Choice, Completion, Engine, Request
from cai.models.meter import UsageCounter
from cai.models.spec import ModelSpec
from cai.rundir.entries import Entry

EntryType = TypeVar("EntryType", bound=Entry)
Kept_co = TypeVar("Kept_co", bound=Entry, covariant=True)


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that is open, the judge beside it, and what the model answered to the evaluation's prompts, by their id.

    `others` are the models that the examination needs beside the two, by the names that it gave them. `tally` counts
    the tokens of everything that is asked. `temporary` makes a folder for a library to write into, and `keep` takes one
    into the evaluation under a name, in the place of what was there before; both block.
    """

    label: str
    engine: Engine
    judge: Engine
    method: Method
    judge_configuration: JudgeConfiguration
    answers: Mapping[str, Answer]
    provenance: Provenance
    tally: UsageCounter
    others: Mapping[str, Engine] = field(default_factory=dict)
    temporary: Callable[[], Path] = lambda: Path(mkdtemp())
    keep: Callable[[str, Path], None] = lambda _name, _folder: None


@dataclass(frozen=True, slots=True)
class ClosedEngine:
    """A model that is closed again, by its name: what an examination has that is `apart`. It answers nothing."""

    name: str
    concurrency: int = 1
    context_length: int | None = None

    async def complete(self, request: Request) -> Completion:  # noqa: ARG002
        """Raise EngineGoneError."""
        raise EngineGoneError(f"{self.name} is closed")

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:  # noqa: ARG002
        """Raise EngineGoneError."""
        raise EngineGoneError(f"{self.name} is closed")

    async def close(self) -> None:
        """Do nothing."""


class Examiner(Protocol[Kept_co]):
    """An examination of one model."""

    async def row(self, prompt: Prompt) -> Row:
        """Return an item's row; raises RowError where it cannot be had, and what else an engine raises."""

    def entry(self, row: Row) -> Kept_co:
        """Return what is kept of a row that was made here."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an examination says beyond its measures."""

    details: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[SectionTable, ...] = ()
    remarks: tuple[str, ...] = ()


Found = Mapping[str, Mapping[str, EntryType]]
"""What was kept of every model: entries by the item's id, by label."""


@dataclass(frozen=True, slots=True)
class Examination(Generic[EntryType]):
    """One examination; `name` is its folder's too, `identity` what must stay the same while that is filled.

    `others` are models that are open while it runs, beside the examined one and the judge, by names of its own. `read`
    takes back what JSON says of an entry; it raises KeyError or TypeError when it is none. `conclude` is given the
    entries of all items and the seed. One that is `apart` begins when all models and the judge are closed, whose memory
    it may need.
    """

    name: str
    title: str
    about: str
    items: tuple[Prompt, ...]
    measures: tuple[Measure, ...]
    ask: Callable[[Opened], Examiner[EntryType]]
    read: Callable[[dict[str, Any]], EntryType]
    identity: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, ModelSpec] = field(default_factory=dict)
    conclude: Callable[[Found[EntryType], int], Conclusion] = lambda _found, _seed: Conclusion()
    apart: bool = False

    def section(self, models: list[ModelEntries[EntryType]], baseline: str | None, seed: int) -> EvaluationSection:
        """Return what was found of all models."""
        asked = {item.id for item in self.items}  # a directory may hold more, of an earlier and larger question
        own = {model.label: {name: entry for name, entry in model.entries.items() if name in asked} for model in models}
        said = self.conclude(own, seed)
        return EvaluationSection(
            name=self.name,
            title=self.title,
            about=self.about,
            items=len(self.items),
            measures=self.measures,
            models=measure_entries(self.items, models, baseline, self.measures, seed),
            tables=said.tables,
            remarks=said.remarks,
            details=said.details,
        )
