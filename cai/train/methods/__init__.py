"""Training methods: the one table that the command line, the plan, the card and the loop read.

A method of cai's is a file here that ends in its descriptor, and a line in the table; one of somebody's own is a file
anywhere that `register`s its descriptor. Nothing here imports TRL before a trainer is built, which takes seconds:
`cai train --help`, completion and `cai loop --dry-run` work without it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from cai.core.errors import UsageError
from cai.train.methods.descriptor import TrainingMethod
from cai.train.methods.dpo import DPO
from cai.train.methods.kto import KTO
from cai.train.methods.online import GRPO, RLOO, OnlineSettings
from cai.train.methods.orpo import ORPO
from cai.train.methods.ppo import PPO
from cai.train.methods.reward import REWARD
from cai.train.methods.sft import SFT
from cai.train.settings import AdapterSettings, DataSettings, FitSettings, TaskSettings, TrainSettings

METHODS: dict[str, TrainingMethod] = {method.name: method for method in (SFT, DPO, REWARD, KTO, ORPO, GRPO, RLOO, PPO)}
"""All methods by name: cai's own, and what was registered."""

REWARDED = "reward-"
"""Before a method's name in a loop: it is rewarded by a reward model that the loop trains."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def register(method: TrainingMethod) -> None:
    """Add a method of one's own under its name; raises UsageError where it cannot be one."""
    if not _NAME.fullmatch(method.name):
        raise UsageError(f"a training method's name is lower-case words joined by hyphens, not {method.name!r}")
    if method.name in METHODS:
        raise UsageError(f"there is a training method {method.name} already; give yours another name")
    if method.draws_responses and not issubclass(method.own, OnlineSettings):
        raise UsageError(f"{method.name} learns from prompts, so its own settings must extend OnlineSettings")
    METHODS[method.name] = method


def find_method(name: str) -> TrainingMethod:
    """Return the method of this name; raises UsageError when there is none."""
    if name not in METHODS:
        raise UsageError(f"there is no training method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


def loop_methods() -> Iterator[str]:
    """Yield what `cai loop --method` may be: what learns from feedback, by the judge or by a reward model."""
    names = [method.name for method in METHODS.values() if method.learns_preferences]
    yield from names
    yield from (f"{REWARDED}{name}" for name in names if METHODS[name].draws_responses)


def gather_settings(name: str, options: Mapping[str, Any]) -> TrainSettings:
    """Return flat options, under the command line's names, as settings; what is not among them keeps its default.

    Raises UsageError when there is no such method, or an option that it does not have.
    """
    method, rest = find_method(name), dict(options)

    def taken(kind: type[Any]) -> Any:
        return kind(**{each.name: rest.pop(each.name) for each in fields(kind) if each.name in rest})

    groups = {"data": taken(DataSettings), "adapter": taken(AdapterSettings), "fit": taken(FitSettings)}
    groups["tasks"] = taken(TaskSettings)
    groups["own"] = taken(method.own)
    if unknown := sorted(rest.keys() - {each.name for each in fields(TrainSettings)}):
        raise UsageError(f"{name} has no option {unknown[0].replace('_', '-')}")
    return TrainSettings(method=name, **groups, **rest)
