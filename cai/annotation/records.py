"""One annotation: what one person said of one item, validated where it enters (`parse_annotation`).

A line is never changed. Who says something else later adds a line, whose `replaces` names the earlier one; one without
an answer takes it back. What counts is settled when lines are read (`cai.annotation.reading`).
"""

import unicodedata
from collections.abc import Mapping
from datetime import UTC
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from cai.annotation.kinds import KINDS, AnnotationKind, KindAnswer, Words
from cai.core.errors import InputError

FORMAT = 1

Flag = Literal["personal data", "unsafe", "wrong"]
ChosenBy = Literal["uncertainty", "disagreement", "random", "overlap", "picked", "adjudication", "feedback"]
"""How an item came to be looked at: by what the judge is unsure of, by what annotators disagree on, at random, as one
of those that several people see (drawn at random too), because somebody picked it, to settle a disagreement, or
because a user said something of it."""

AT_RANDOM: frozenset[ChosenBy] = frozenset({"random", "overlap"})
"""Of these alone shares can be told: the others were chosen for what they are."""

IDENTIFIER = r"^[A-Za-z0-9_-]{8,64}$"


def _one_name(name: str) -> str:
    """Return a name in one spelling; raises ValueError where a part of it cannot be seen."""
    name = unicodedata.normalize("NFC", name)
    if not name.isprintable():
        raise ValueError("a name has characters that nobody sees")
    return name


def _in_utc(moment: AwareDatetime) -> AwareDatetime:
    return moment.astimezone(UTC)


PersonName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_one_name)
]
AnnotationId = Annotated[str, StringConstraints(pattern=IDENTIFIER)]


class Shown(BaseModel):
    """What was on the page: the item's answers, counted from 0, in the order shown, and what was hidden meanwhile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: tuple[Annotated[StrictInt, Field(ge=0)], ...] = ()
    hidden: tuple[str, ...] = ()


class Annotation(BaseModel):
    """What a person said of an item; `id` is made by who sends it, so that sending it twice is sending it once.

    `answer` is None where the annotation takes back the one that it `replaces`. `settles` says that it decides what
    others disagree on. `seconds` is the time spent. `model` and `source` are of feedback: whose answer it was, and
    where it was written down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    id: AnnotationId
    when: Annotated[AwareDatetime, AfterValidator(_in_utc)]
    annotator: PersonName
    item: Annotated[str, StringConstraints(min_length=3, max_length=100)]
    kind: str
    answer: SerializeAsAny[KindAnswer] | None
    reason: Words | None = None
    confidence: Annotated[StrictInt, Field(ge=1, le=5)] | None = None
    flags: tuple[Flag, ...] = ()
    shown: Shown = Shown()
    chosen_by: ChosenBy
    seconds: Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)] | None = None
    replaces: AnnotationId | None = None
    settles: StrictBool = False
    model: str | None = None
    source: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_answer(cls, values: Any) -> Any:
        """Read the answer as its kind says."""
        if not isinstance(values, Mapping) or not isinstance(values.get("answer"), Mapping):
            return values
        kind = KINDS.get(str(values.get("kind")))
        if kind is None:
            raise ValueError(f"there is no kind {values.get('kind')!r}; there are {', '.join(KINDS)}")
        return {**values, "answer": kind.answer.model_validate(values["answer"])}

    @model_validator(mode="after")
    def _is_of_a_kind(self) -> Self:
        kind = KINDS.get(self.kind)
        if kind is None:  # an annotation that takes another back says its kind too
            raise ValueError(f"there is no kind {self.kind!r}; there are {', '.join(KINDS)}")
        if self.answer is None and self.replaces is None:
            raise ValueError("it has neither an answer nor the id of what it takes back in `replaces`")
        if self.answer is not None and not isinstance(self.answer, kind.answer):
            raise ValueError(f"its answer is none of a {self.kind}")
        return self

    @property
    def described(self) -> AnnotationKind:
        """The kind's descriptor."""
        return KINDS[self.kind]

    @property
    def at_random(self) -> bool:
        """Whether the item was drawn, so that shares may be told of it."""
        return self.chosen_by in AT_RANDOM

    def as_json(self) -> bytes:
        """Return the annotation as the JSON object of a line."""
        return orjson.dumps(self.model_dump(mode="json"))


def parse_annotation(data: bytes | Mapping[str, Any], place: str) -> Annotation:
    """Return the annotation that JSON says; raises InputError, in one sentence that begins with the place."""
    try:
        values = orjson.loads(data) if isinstance(data, bytes) else dict(data)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{place} is no JSON: {error}.") from error
    try:
        return Annotation.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{place} is no annotation: {f'{where}: ' if where else ''}{said}.") from error
