"""The kinds of values that options take, and what is told of a value that is of another kind.

A parameter's annotation says what it takes (`Count`, `Literal["both", "one"]`), the same as the option of its name on
the command line. Models, prompts and data are of many kinds and looked at by `given.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from reprlib import repr as short
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.models.spec import ModelSpec

Settings = TypeVar("Settings")

Count = Annotated[int, Field(ge=1, lt=2**31)]
"""A whole number of things."""
CountOfTwo = Annotated[int, Field(ge=2, lt=2**31)]
Samples = Annotated[int, Field(ge=1, le=100)]
PairSamples = Annotated[int, Field(ge=2, le=100)]
Rounds = Annotated[int, Field(ge=0, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NotPositive = Annotated[float, Field(le=0, allow_inf_nan=False)]
MinP = Annotated[float, Field(ge=0, le=1)]
TopP = Annotated[float, Field(gt=0, le=1)]
ThinkingMode = Literal["off", "on", "auto"]
Share = Annotated[float, Field(ge=0, lt=1)]
"""At least 0 and less than 1."""
ShareOrAll = Annotated[float, Field(gt=0, le=1)]
"""More than 0 and at most 1."""
Overlap = Annotated[float, Field(ge=0, le=1)]
Port = Annotated[int, Field(ge=0, le=65535)]

GIVEN = frozenset(
    {
        "model",
        "models",
        "responders",
        "judge",
        "attacker",
        "baseline",
        "prompts",
        "evaluation_prompts",
        "data",
        "run",
        "talk",
    }
)
"""The parameters that `given.py` looks at."""


def checked(verb: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of what a function of the API was called with; raises UsageError for the first value it takes not.

    The text of a pair of quotes that is no number is no number here either: nothing is converted.
    """
    for name, adapter in _adapters(verb).items():
        _require(adapter, verb.__name__, name, options[name])
    return dict(options)


def check_own(method: str, kind: type[Any], options: Mapping[str, Any]) -> None:
    """Raise UsageError for the first of a training method's own options that is not what its settings say.

    Models and places are looked at by `given.py`.
    """
    hints = get_type_hints(kind)
    for each in fields(kind):
        hint = hints[each.name]
        if each.name in options and not {Path, ModelSpec, DataSource} & set(get_args(hint) or [hint]):
            taken: Any = Annotated[hint, Field(gt=each.metadata["above"], ge=each.metadata["least"])]
            adapter: TypeAdapter[Any] = TypeAdapter(taken, config=ConfigDict(strict=True, allow_inf_nan=False))
            _require(adapter, method, each.name, options[each.name])


def take(kind: type[Settings], options: dict[str, Any]) -> Settings:
    """Move a group of settings out of the options."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # every kind of settings is a dataclass
    return kind(**{name: options.pop(name) for name in names})


def _require(adapter: TypeAdapter[Any], of: str, name: str, value: Any) -> None:
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False)[0]["msg"].removeprefix("Input ")
        raise UsageError(f"{of}: {name} is {short(value)}, and {wrong}") from None


@cache
def _adapters(verb: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(verb, include_extras=True)
    return {
        name: TypeAdapter(hint, config=ConfigDict(strict=True))
        for name, hint in hints.items()
        if name not in GIVEN and name != "return"
    }
