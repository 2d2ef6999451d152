"""What a Python program gives where the command line has words: models, prompts, data and places as objects.

A model is named by a text (`transformers:MODEL`, as after `--model`), or it is an object: an engine, or a function from
messages to text (`cai.models.function`). What a run records of an object is its engine's name: of a function its full
name and a hash of its source. What a function calls is in no name, so whoever changes that gives another one
(`engine_from(function, name="mine v2")`), or the same directory goes on with the rows of the old.

Prompts that are an iterable are written to a temporary file first and then read like any other: with the same checks,
in their order, in memory that does not grow, and with a fingerprint of their content, by which a run knows whether it
may go on.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from cai.api.options import take
from cai.api.runs import RunDirectory as Run
from cai.cluster import cluster_settings
from cai.cluster.settings import ClusterSettings
from cai.core.addresses import DataSource
from cai.core.errors import InputError, ModelError, UsageError
from cai.core.paths import expand
from cai.core.urls import is_almost_url, is_url
from cai.method.settings import JudgeSettings
from cai.models.base import Engine
from cai.models.function import AsyncFunction, PlainFunction
from cai.models.given import GivenModel
from cai.models.jury import parse_judge, parse_labelled_judge
from cai.models.spec import LabelledModel, ModelSpec
from cai.rundir import working_copy
from cai.rundir.origin import location

Model = str | Engine | PlainFunction | AsyncFunction
"""A model's name, an open engine, or a function from a list of messages to a text."""

Models = Model | Sequence[Model] | Mapping[str, Model]
"""One model, several, or several under the names that they have in tables."""

Conversation = Sequence[Mapping[str, str]]
Prompts = str | Path | Iterable[str | Conversation | Mapping[str, Any]]
"""A place as after `--prompts`, or texts, conversations and rows (`{"prompt": …, "id": …}`), in any mixture."""


@dataclass(frozen=True, slots=True, init=False)
class PromptPlaces:
    """Several places of prompts, each as after `--prompts`; a list of texts would be the prompts themselves."""

    places: tuple[str, ...]

    def __init__(self, *places: str | Path) -> None:
        """Raise UsageError where none is given."""
        if not places:
            raise UsageError("there are no places; name at least one")
        object.__setattr__(self, "places", tuple(map(str, places)))


Data = str | Path | Run | Sequence[str | Path | Run]
"""A run, a file or a dataset as after `--data`, or several."""


def model_spec(model: Model) -> ModelSpec:
    """Return a model as settings hold it; raises ModelError when it is none."""
    return ModelSpec.parse(model) if isinstance(model, str) else GivenModel(model)


def checkpoint_spec(model: str | Path) -> ModelSpec:
    """Return a model that is trained as settings hold it; raises ModelError when it is none."""
    if not isinstance(model, str | Path):
        raise ModelError(
            f"an object of type {type(model).__name__} cannot be trained: name tiny, a directory or a hub id"
        )
    return ModelSpec.checkpoint(str(model))


def optional_judge(model: Model | None) -> ModelSpec | None:
    """Return who judges as settings hold it, where somebody is named: a model, or several with commas, a jury."""
    return parse_judge(model) if isinstance(model, str) else optional_model(model)


def labelled_judge(model: Model) -> LabelledModel:
    """Return the same with the name that it has in tables, if it was given one; raises ModelError."""
    return parse_labelled_judge(model) if isinstance(model, str) else LabelledModel(None, GivenModel(model))


def optional_model(model: Model | None) -> ModelSpec | None:
    """Return a model as settings hold it, where there is one."""
    return None if model is None else model_spec(model)


def several_models(models: Sequence[Model], name: str) -> Sequence[Model]:
    """Return a list of models as it is; raises UsageError for one model, whose letters would be taken for models."""
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise UsageError(f"{name} is {models!r}; give a list of models")
    return models


def labelled_model(model: Model) -> LabelledModel:
    """Return a model with the name that it has in tables, if it was given one; raises ModelError."""
    return LabelledModel.parse(model) if isinstance(model, str) else LabelledModel(None, GivenModel(model))


def labelled_models(
    models: Models, one: Callable[[Model], LabelledModel] = labelled_model
) -> tuple[LabelledModel, ...]:
    """Return several models, each as `one` reads it; raises ModelError when one is none, UsageError without any."""
    if isinstance(models, Mapping):
        if wrong := [name for name in models if not isinstance(name, str)]:
            raise UsageError(f"a model is called {wrong[0]!r}; its name is a text")
        found = tuple(LabelledModel(name, one(model).spec) for name, model in models.items())
    elif isinstance(models, str) or not isinstance(models, Sequence):
        found = (one(models),)
    else:
        found = tuple(map(one, models))
    if not found:
        raise UsageError("there are no models; give at least one")
    return found


@contextmanager
def lent_prompts(prompts: Prompts | None) -> Iterator[DataSource | None]:
    """Lend the place that prompts are read from while the block runs; raises InputError when there is no way to."""
    if prompts is None or isinstance(prompts, str | Path):
        yield None if prompts is None else DataSource.parse(str(prompts))
        return
    if isinstance(prompts, Mapping):
        raise InputError("prompts is one mapping, and not several prompts; put it into a list if it is a row")
    if not isinstance(prompts, Iterable):
        raise InputError(f"prompts is of type {type(prompts).__name__}; give a place or an iterable of prompts")
    if hasattr(prompts, "itertuples"):
        raise InputError("prompts is a data frame, which iterates over its columns; give frame.to_dict('records')")
    with tempfile.TemporaryDirectory(prefix="cai-prompts-") as directory:
        path = Path(directory) / "prompts.jsonl"
        count = _write(path, prompts)
        yield DataSource(str(path), f"{count:,} prompts given in Python")


@contextmanager
def lent_places(prompts: Prompts | PromptPlaces) -> Iterator[tuple[DataSource, ...]]:
    """Lend all places that prompts are read from while the block runs, none for `()`; raises as above."""
    if isinstance(prompts, PromptPlaces):
        yield tuple(map(DataSource.parse, prompts.places))
        return
    with lent_prompts(None if prompts == () else prompts) as source:
        yield () if source is None else (source,)


def _write(path: Path, prompts: Iterable[Any]) -> int:
    """Write prompts a line each, and return how many; raises InputError when the iterable or the disk fails."""
    count = 0
    try:
        with path.open("wb") as file:
            for item in prompts:
                file.write(_line(item) + b"\n")
                count += 1
    except OSError as error:
        raise InputError(f"the prompts cannot be copied to {path}: {error.strerror}; set TMPDIR.") from error
    return count


def _line(item: Any) -> bytes:
    """Return a prompt as a line of JSON; what is no prompt and no JSON as a text, which reading then refuses."""
    if isinstance(item, Sequence) and not isinstance(item, str | bytes):
        item = list(item)
    row = item if isinstance(item, Mapping) else {"prompt": item}
    try:
        return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return orjson.dumps(ascii(item))


def data_sources(data: Data) -> tuple[DataSource, ...]:
    """Return what is learned from: runs, paths, names, each text perhaps with `:WEIGHT`; raises UsageError."""
    several = tuple(data) if isinstance(data, Iterable) and not isinstance(data, str | Run) else (data,)
    if not several:
        raise UsageError("data is empty; give a run, a file or a dataset to learn from")
    return tuple(data_source(one) for one in several)


def data_source(one: str | Path | Run) -> DataSource:
    """Return the place of one run, path or name; raises UsageError for what is none."""
    if isinstance(one, str):
        return DataSource.parse(one)
    if isinstance(one, Path | Run):
        return DataSource.parse(location(one if isinstance(one, Path) else one.path))
    raise UsageError(f"data is of type {type(one).__name__}; give runs, or paths and names as text")


def local_directory(place: str | Path, name: str) -> Path:
    """Return a directory on this machine; raises UsageError for a URL."""
    if isinstance(place, str):
        if is_url(place) or is_almost_url(place):
            raise UsageError(f"{name} is {place}, a URL; give a directory on this machine (only runs may be at a URL)")
        if not place:
            raise UsageError(f"{name} is empty; name a directory, or leave it out")
    return expand(str(place))


def optional_directory(place: str | Path | None, name: str) -> Path | None:
    """Return a directory on this machine, where one is given; raises as `local_directory` does."""
    return None if place is None else local_directory(place, name)


def optional_path(place: str | Path | None) -> Path | None:
    """Return a file's path, where one is given; whoever reads it says what is wrong with it."""
    return None if place is None else expand(str(place))


def take_judging(options: dict[str, Any]) -> JudgeSettings:
    """Move how pairs are judged out of the options."""
    options["judge_calibration"] = optional_path(options["judge_calibration"])
    return take(JudgeSettings, options)


def existing_directory(place: str | Path | None, name: str) -> Path | None:
    """Return a directory that is there, where one is given; raises UsageError when it is not."""
    path = optional_directory(place, name)
    if path is not None and not path.is_dir():
        raise UsageError(f"{name} is {path}, and there is no such directory")
    return path


def new_run(place: str | Path | None) -> Path | None:
    """Return the directory that a run is written in: of one at a URL its working copy. Raises UsageError."""
    if isinstance(place, str) and (named := DataSource.parse(place)).is_url:
        return working_copy(str(named))
    return optional_directory(place, "out")


def take_cluster(options: dict[str, Any], specs: Iterable[ModelSpec | None]) -> ClusterSettings:
    """Move the cluster's options out of a call's; `specs` are the models that would go there.

    Raises UsageError where the options make no sense, ModelError when an object of this process should answer there.
    """
    settings = cluster_settings(*(options.pop(name) for name in ("cluster", "replicas", "gpus_per_replica")))
    for spec in specs:
        if settings.cluster is not None and isinstance(spec, GivenModel):
            raise ModelError(f"{spec} is an object of this process and cannot go to a cluster; name a model instead")
    return settings


def require_log_probabilities(spec: ModelSpec, who: str, instead: str) -> None:
    """Raise ModelError when a model is a function, which can be asked for texts alone."""
    if isinstance(spec, GivenModel) and spec.is_function:
        raise ModelError(
            f"{spec} is a function and gives no log-probabilities, which {who} needs: set {instead}, or give an engine"
        )
