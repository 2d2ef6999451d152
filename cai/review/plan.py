"""A review before anything is served: the place found, the constitution read, mistakes told."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cai.annotation.agreement.leanings import read_groups
from cai.annotation.places import AnnotatedPlace, find_place
from cai.annotation.records import PersonName
from cai.constitution import Constitution, load_constitution
from cai.core.errors import RunError, UsageError
from cai.evaluate.directory import DOCUMENT, FORMAT
from cai.review.settings import ReviewSettings
from cai.rundir.documents import DocumentError, parse_document, read_bounded
from cai.rundir.manifest import read_manifest

MOST_MODELS = 2
_NAME: TypeAdapter[str] = TypeAdapter(PersonName)


@dataclass(frozen=True, slots=True)
class ReviewPlan:
    """A review with everything settled; `constitution` None: answers are looked at by general criteria."""

    settings: ReviewSettings
    place: AnnotatedPlace
    annotators: tuple[str, ...]
    groups: Mapping[str, Mapping[str, str]]
    """By annotator, the values of columns whose people are also looked at together."""
    constitution: Constitution | None


def plan_review(settings: ReviewSettings) -> ReviewPlan:
    """Find what is reviewed; raises UsageError, RunError or InputError in one sentence."""
    annotators = tuple(_name(name) for name in settings.annotator)
    if several := [name for name, count in Counter(annotators).items() if count > 1]:
        raise UsageError(f"--annotator {several[0]} is given twice; give each person a name of their own")
    if len(settings.talk) > MOST_MODELS:
        raise UsageError(f"--talk is given {len(settings.talk)} times; talk to one model, or vote between two")
    place = find_place(settings.data)
    if settings.shape is not None and place.kind != "data":
        raise UsageError(f"--shape is for files and datasets, and {settings.data} is a {place.kind}.")
    constitution = _constitution(place) if settings.constitution is None else load_constitution(settings.constitution)
    groups = {} if settings.annotator_groups is None else read_groups(settings.annotator_groups)
    return ReviewPlan(settings, place, annotators, groups, constitution)


def _name(typed: str) -> str:
    try:
        return _NAME.validate_python(typed)
    except ValidationError as error:
        raise UsageError(
            f"--annotator {typed!r} is no name; give one of 1 to 100 characters that can be seen"
        ) from error


def _constitution(place: AnnotatedPlace) -> Constitution | None:
    """Return the constitution that a run or an evaluation was made under, None where that is not written down."""
    if place.kind == "data":
        return None
    recorded = _settings(place).get("resolved_constitution")
    try:
        return None if recorded is None else Constitution.model_validate(recorded)
    except ValidationError as error:
        raise UsageError(
            f"the constitution of {place.source} was written by another version of cai; give it with --constitution"
        ) from error


def _settings(place: AnnotatedPlace) -> Mapping[str, Any]:
    if place.kind == "run":
        return read_manifest(place.path).settings
    try:
        return parse_document(read_bounded(place.path / DOCUMENT), FORMAT).fields("settings").values
    except DocumentError as error:
        raise RunError(f"{place.path / DOCUMENT} {error}; the same `cai evaluate` goes on with it.") from error
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read: {error.strerror}.") from error
