"""`--quality default|strict|none|FILE`: what each filter's findings lead to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from cai.core.errors import UsageError
from cai.core.identity import fingerprint
from cai.core.paths import expand
from cai.core.yamlfile import Location, Problem, YamlFile, read_yaml
from cai.data.quality.descriptor import Action
from cai.data.quality.filters import FILTERS

DEFAULT, STRICT, NONE = "default", "strict", "none"
_KEYS = ("extends", "rejected", "filters")


@dataclass(frozen=True, slots=True)
class Quality:
    """An action for every filter. With `rejected` an answer that only loses a pair may cost the pair too.

    Without it, what would leave an item out is only listed when a rejected answer has it: nobody learns to say that.
    """

    name: str
    actions: Mapping[str, Action]
    rejected: bool = False

    def __str__(self) -> str:
        """Return the name, and for one of a person's own what tells it from others."""
        if self.name in (DEFAULT, STRICT, NONE):
            return self.name
        return f"{self.name} {fingerprint([sorted(self.actions.items()), self.rejected])}"

    @property
    def cleans(self) -> bool:
        """Whether a filter may change a text, so that examples need room for what it was."""
        return "clean" in self.actions.values()


DEFAULT_QUALITY = Quality(DEFAULT, {one.name: one.default for one in FILTERS.values()})

NAMED: Mapping[str, Quality] = {
    DEFAULT: DEFAULT_QUALITY,
    STRICT: Quality(STRICT, {one.name: one.strict for one in FILTERS.values()}, rejected=True),
    NONE: Quality(NONE, dict.fromkeys(FILTERS, "off")),
}
"""The settings that have a name."""


def load_quality(name: str) -> Quality:
    """Return the settings of a name or a file; raises UsageError, with the line, for a file that is none.

    Raises UsageError, too, where a filter needs what is not installed.

    A file has `extends` (a name; `default`), `rejected` (true or false) and `filters`, an action by filter.
    """
    if name in NAMED:
        return NAMED[name]
    path = expand(name)
    if not path.exists():
        raise UsageError(f"there is no quality {name!r}; name {DEFAULT}, {STRICT}, {NONE} or a YAML file.")
    file = read_yaml(path)
    problems = [*file.problems] or [*_problems(file)]
    if problems:
        raise UsageError("; ".join(map(file.describe, problems)))
    base = NAMED[file.data.get("extends", DEFAULT)]
    actions = {**base.actions, **(file.data.get("filters") or {})}
    for name, action in actions.items():
        if action != "off" and (require := FILTERS[name].require) is not None:
            require()
    return Quality(path.name, actions, file.data.get("rejected", base.rejected))


def _problems(file: YamlFile) -> list[Problem]:
    data = file.data
    if not isinstance(data, dict):
        return [Problem(1, f"a quality file is a mapping with the keys {', '.join(_KEYS)}")]
    found: list[tuple[Location, str]] = [
        ((key,), f"there is no key {key!r}; there are {', '.join(_KEYS)}") for key in data if key not in _KEYS
    ]
    if data.get("extends", DEFAULT) not in (*NAMED,):
        found.append((("extends",), f"extends is {DEFAULT}, {STRICT} or {NONE}"))
    if not isinstance(data.get("rejected", False), bool):
        found.append((("rejected",), "rejected is true or false"))
    filters = data.get("filters") or {}
    if not isinstance(filters, dict):
        found.append((("filters",), "filters is a mapping from a filter to its action"))
        filters = {}
    for name, action in filters.items():
        place = ("filters", name)
        if name not in FILTERS:
            found.append((place, f"there is no filter {name!r}; there are {', '.join(FILTERS)}"))
        elif action not in get_args(Action):
            found.append((place, f"the action of {name} is drop, clean, report or off"))
        elif action == "clean" and not FILTERS[name].cleans:
            found.append((place, f"{name} cannot clean; its action is drop, report or off"))
    return [Problem(file.line(place), message) for place, message in found]
