"""Whether a judge is apart from what it judges: neither one of the models, nor the judge of the data of their training.

A judge prefers what it would have said itself (Panickssery et al. 2024, 2404.13076), and a model that learned from a
judge's labels has learned what this judge likes: its falling violations may be the judge's taste alone (2402.12366).
How a model was trained is read from `train.json` in its directory: who judged every part of its data, and the judge of
online training; and the same of the model that training began from.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.core.errors import ModelError
from cai.core.paths import expand, open_file, resolve
from cai.evaluate.results import PartialJudge
from cai.models.spec import ModelSpec

TRAINED = "train.json"
_GENERATIONS = 8
"""So many trainings, each from the model of the one before, are followed back."""


@dataclass(frozen=True, slots=True)
class Named:
    """A model: how it was typed, and the name that its engine has, None while it is not open."""

    spec: ModelSpec
    name: str | None

    def is_same(self, other: "Named") -> bool:
        """Tell whether both are one model."""
        return self.spec == other.spec or (self.name is not None and self.name == other.name)


@dataclass(frozen=True, slots=True)
class _Training:
    """Where a judge had a part in a training: its name as an engine, or as it was typed, and in what."""

    judge: str
    part: str


def partial_judges(models: Sequence[tuple[str, Named]], judges: Sequence[Named]) -> tuple[PartialJudge, ...]:
    """Return the models, given with their labels, from which no judge is apart, each with the first judge.

    Where one of several judges is apart from a model nothing is said: what each says alone stands beside the others.
    """
    found = []
    for label, model in models:
        partial = [one for judge in judges if (one := _partial(label, model, judge)) is not None]
        if partial and len(partial) == len(judges):
            found.append(partial[0])
    return tuple(found)


def _partial(label: str, model: Named, judge: Named) -> PartialJudge | None:
    names = (judge.name, str(judge.spec))
    trained_on = next((one.part for one in _trainings(model.spec) if one.judge in names), None)
    itself = model.is_same(judge)
    return PartialJudge(label, str(judge.spec), itself, trained_on) if itself or trained_on else None


def _trainings(spec: ModelSpec) -> Iterator[_Training]:
    """Yield the judges that the training of a model here learned from, then those of the model that it began from."""
    seen: set[Path] = set()
    place = _directory(spec)
    for _ in range(_GENERATIONS):
        if place is None or place in seen:
            return
        seen.add(place)
        recorded = _read(place)
        for part in recorded.get("parts", ()):
            # Of a jury, each of its judges.
            for judge in str(part.get("judge") or "").split(" and "):
                yield _Training(judge, str(part["name"]))
        settings = recorded.get("settings", {})
        if settings.get("constitution") is not None:  # rewards by gates: of the judge named, or of the first model
            yield _Training(str(settings.get("judge") or settings["model"]), "its rewards")
        place = _directory_of(settings.get("model"))


def _directory_of(typed: object) -> Path | None:
    try:
        return None if not isinstance(typed, str) else _directory(ModelSpec.checkpoint(typed))
    except ModelError:
        return None


def _directory(spec: ModelSpec) -> Path | None:
    """Return the directory of a model that was trained here: the adapter's, where it has one; None for others."""
    files = spec.files
    if files is None:
        return None
    places = [resolve(expand(name)) for name in (files, files.rpartition("+")[2])]
    return next((place for place in places if (place / TRAINED).is_file()), None)


def _read(directory: Path) -> dict[str, Any]:
    """Return what a training wrote down; nothing where that cannot be read: whoever opens the model says why."""
    try:
        with open_file(directory / TRAINED) as file:
            recorded = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return recorded if isinstance(recorded, dict) and recorded.get("parts") is not None else {}
