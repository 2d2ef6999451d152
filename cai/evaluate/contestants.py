"""Who is evaluated: models under labels, from what the user typed."""

import re
from dataclasses import dataclass
from pathlib import PurePath

from cai.core.errors import UsageError
from cai.models.spec import LabelledModel, ModelSpec

_LABEL = re.compile(r"[\w][\w.+-]{0,79}")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model under evaluation: its label in tables and file names, and how engines call it."""

    label: str
    spec: ModelSpec


def contestants(
    models: tuple[LabelledModel, ...], baseline: LabelledModel | None
) -> tuple[tuple[Contestant, ...], str | None]:
    """Return the models, the baseline first, and the baseline's label.

    A baseline that is among the models is not evaluated twice. Raises UsageError when two models have one label.
    """
    found = [_contestant(model) for model in models]
    first = None
    if baseline is not None:
        first = _contestant(baseline)
        same = next((one for one in found if one.spec == first.spec), None)
        if same is not None:
            found.remove(same)
            first = first if baseline.label is not None else same
        found.insert(0, first)
    for place, one in enumerate(found):
        twin = next((other for other in found[:place] if other.label == one.label), None)
        if twin is not None:
            raise UsageError(f"two models are called {one.label}; name one of them: NAME={one.spec}")
    return tuple(found), first.label if first is not None else None


def _contestant(model: LabelledModel) -> Contestant:
    if model.label is None:
        return Contestant(_label(model.spec), model.spec)
    if not _LABEL.fullmatch(model.label):
        raise UsageError(
            f"model name {model.label!r} may hold letters, digits and . + - _ only, and begins with no sign"
        )
    return Contestant(model.label, model.spec)


def _label(spec: ModelSpec) -> str:
    """Return a short name for a model: the last part of its path, or what kind it is."""
    name = PurePath(spec.model or spec.kind).name
    return re.sub(r"[^\w.+-]+", "-", name).lstrip(".+-")[:80] or "model"
