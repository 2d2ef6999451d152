"""The pairs that a judge is tested on: a constitution's exemplars, and pairs that ship with cai for its principles.

`prompts/probes/NAME.yaml` holds pairs for the principles of the shipped constitution NAME, `tiny.yaml` those of the
embedded model's micro-world. A principle of somebody's own constitution has pairs where it says word for word what a
shipped one says. Where that gives fewer than `FEW`, the general pairs of its language are added (for the embedded model
those of its world), and that is said.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any

import yaml

from cai.constitution import Constitution, Principle, load_constitution
from cai.core.resources import shipped
from cai.method.judge_check import FEW
from cai.method.known_pairs import KnownPair

PAIRS = 32
"""A check has so many at most."""

_GENERAL = {"en": "harmless", "ko": "harmless-ko"}
"""The constitution whose pairs stand in, by language; English where there is none."""

_MICRO_WORLD = "tiny"


@dataclass(frozen=True, slots=True)
class KnownPairs:
    """Pairs, those of all principles in turn, and what they are about."""

    pairs: tuple[KnownPair, ...]
    about: str


def find_pairs(constitution: Constitution, *, micro_world: bool) -> KnownPairs:
    """Return the pairs to test a judge on that is to judge under a constitution; the first `PAIRS` of them.

    `micro_world`: whether they are to be the embedded model's, which knows no other world.
    """
    about = "the embedded model's micro-world" if micro_world else f"principles of {constitution.name}"
    sources = [name for name in _shipped_probes() if (name == _MICRO_WORLD) is micro_world]
    exemplars = {} if micro_world else _exemplars(constitution)
    texts = {principle.text: probes for name in sources for principle, probes in _probes(name)}
    by_principle = [
        [*exemplars.get(principle.id, ()), *_of(principle, texts.get(principle.text, ()))]
        for principle in constitution.principles
    ]
    found = list(_in_turn(by_principle))
    if len(found) < FEW:
        general = _MICRO_WORLD if micro_world else _GENERAL.get(constitution.language, _GENERAL["en"])
        others = f"of {about}" if micro_world else "general"
        about = (
            f"{len(found)} about principles of {constitution.name}, the others {others}"
            if found
            else f"{others}, for there are none about the principles of {constitution.name}"
        )
        found += _in_turn([list(_of(principle, probes)) for principle, probes in _probes(general)])
    return KnownPairs(tuple(found[:PAIRS]), about)


def _in_turn(by_principle: list[list[KnownPair]]) -> Iterator[KnownPair]:
    """Yield the first pair of each principle, then the second of each: a check that ends early has asked about all."""
    for turn in zip_longest(*by_principle):
        yield from (pair for pair in turn if pair is not None)


def _exemplars(constitution: Constitution) -> dict[str, list[KnownPair]]:
    """Return the exemplars as pairs, by the id of their principle: a revision is better than what it mends."""
    by_id = {principle.id: principle for principle in constitution.principles}
    found: dict[str, list[KnownPair]] = {}
    for exemplar in constitution.exemplars:
        pair = KnownPair(by_id[exemplar.principle], exemplar.prompt, exemplar.revision, exemplar.response)
        found.setdefault(exemplar.principle, []).append(pair)
    return found


Probes = tuple[Mapping[str, str], ...]


def _of(principle: Principle, probes: Probes) -> Iterator[KnownPair]:
    return (KnownPair(principle, **probe) for probe in probes)


def _shipped_probes() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in shipped("prompts", "probes").glob("*.yaml")))


@cache
def _probes(name: str) -> tuple[tuple[Principle, Probes], ...]:
    """Return the pairs of a shipped file beside the principle that each is about."""
    path = shipped("prompts", "probes", f"{name}.yaml")
    by_id: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506  (a safe one)
    constitution = load_constitution(str(shipped("constitutions", f"{_CONSTITUTIONS.get(name, name)}.yaml")))
    return tuple((item, tuple(by_id[item.id])) for item in constitution.principles if item.id in by_id)


_CONSTITUTIONS = {_MICRO_WORLD: "medical"}
"""Where a file's principles are those of a constitution of another name."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
