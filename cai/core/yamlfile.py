"""Reads one YAML file as plain data that still knows on which line everything stands.

YAML 1.2's core schema (chapter 10.3): `no` and `on` are text, `010` is ten, dates stay text. Stricter than YAML: one
document, text keys, no key twice, no aliases (they can unfold into gigabytes), no tags, whole numbers of at most 64
bits, which is what JSON and Arrow can hold. What breaks these rules is returned as a `Problem` with its line, so that a
caller can tell the user about all of them at once, beside its own. Knows nothing of what the data means; raises nothing
for a bad file.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cai.core.paths import open_file

Location = tuple[str | int, ...]

_LARGEST = 16 << 20
_COMMENT = re.compile(r"[ \t]+#(.*)")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_TEXT = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong on a line of a file, in one sentence."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class YamlFile:
    """The data of a file (None when it could not be read), the line of every key and item, and what is wrong so far.

    `spellings` are single values as they are written, quotes aside: `010`, where the data has 10. `comments` are those
    that end the line of an unquoted text.
    """

    path: Path
    data: Any
    lines: Mapping[Location, int]
    problems: tuple[Problem, ...]
    spellings: Mapping[Location, str]
    comments: Mapping[Location, str]

    def line(self, location: Location) -> int:
        """Return the line of `location`, such as `("principles", 2, "text")`, or of the nearest thing around it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def describe(self, problem: Problem) -> str:
        """Return `file:line: message`."""
        return f"{self.path}:{problem.line}: {problem.message}"


def _whole(text: str) -> int:
    number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if not -(2**63) <= number < 2**63:
        raise ValueError("beyond 64 bits")
    return number


_SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "null": (r"~|null|Null|NULL|", lambda _: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: text[0] in "tT"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _whole),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        lambda text: float(re.sub(r"\.(?=[in])", "", text.lower())),
    ),
}
"""What an unquoted scalar may be besides text, in the order of YAML 1.2's core schema, and how it is read."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader with the scalars above, and without tags and aliases."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class declares it so
        None: [(f"tag:yaml.org,2002:{name}", re.compile(rf"({pattern})\Z")) for name, (pattern, _) in _SCALARS.items()]
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        message = None
        if isinstance(event, yaml.AliasEvent):
            message = f"the alias `*{event.anchor}` is not read; write out what it stands for"
        elif (tag := getattr(event, "tag", None)) is not None:
            message = f"the tag `{tag}` is not read here; leave the tag out"
        if message is not None:
            raise yaml.MarkedYAMLError(problem=message, problem_mark=event.start_mark)  # type: ignore[arg-type]
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> YamlFile:
    """Read `path`; whatever is wrong with it, short of a bug here, comes back in `problems`."""
    try:
        with open_file(path) as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            return _unreadable(path, 1, f"is larger than {_LARGEST >> 20} MiB, which no file of this kind is")
        text = content.decode("utf-8-sig")
    except OSError as error:
        return _unreadable(path, 1, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return _unreadable(path, line, "is not UTF-8 text; save the file as UTF-8")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return _unreadable(path, 1, "the file is empty")
            builder = _Builder(text)
            data = builder.build(node, ())
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _unreadable(path, line, f"the character U+{int(error.character):04X} is not allowed in YAML")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _unreadable(path, mark.line + 1 if mark else 1, f"not YAML: {_sentence(error)}")
    except RecursionError:
        return _unreadable(path, 1, "is nested too deeply to be read")
    return YamlFile(path, data, builder.lines, tuple(builder.problems), builder.spellings, builder.comments)


def _unreadable(path: Path, line: int, message: str) -> YamlFile:
    return YamlFile(path, None, {}, (Problem(line, message),), {}, {})


def _sentence(error: yaml.MarkedYAMLError) -> str:
    """Return what YAML says, with where the construct began when that is another line."""
    said = error.problem or "it cannot be understood"
    if error.context is None:
        return said
    begun = error.context_mark
    elsewhere = begun is not None and error.problem_mark is not None and begun.line != error.problem_mark.line
    where = f" that starts on line {begun.line + 1}" if elsewhere and begun else ""
    return f"{said} ({error.context}{where})"


class _Builder:
    """Turns YAML nodes into plain data and remembers their lines."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.lines: dict[Location, int] = {}
        self.problems: list[Problem] = []
        self.spellings: dict[Location, str] = {}
        self.comments: dict[Location, str] = {}

    def build(self, node: yaml.Node, location: Location) -> Any:
        self.lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        text: str = node.value
        self._check(node)
        self.spellings[location] = text
        if node.tag == _TEXT:
            if getattr(node, "style", None) is None and (comment := _COMMENT.match(self._text, node.end_mark.index)):
                self.comments[location] = comment[1]
            return text
        _, read = _SCALARS[node.tag.rpartition(":")[2]]
        try:
            return read(text)
        except ValueError:
            self._report(node, "the number is larger than 64 bits can hold; put it in quotes if it is text")
            return None

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None:
                self._report(key, "a key must be text")
                continue
            self._check(key)
            if name in data:
                first = self.lines[(*location, name)]
                self._report(key, f"the key `{name}` is here a second time (first on line {first}); keep one")
                continue
            self.lines[(*location, name)] = key.start_mark.line + 1
            data[name] = self.build(value, (*location, name))
        return data

    def _check(self, node: yaml.Node) -> None:
        """Report characters that escapes can spell, and neither files nor paths can hold."""
        if found := _NO_TEXT.search(node.value):
            self._report(node, f"the character U+{ord(found[0]):04X} is no text; take it out")

    def _report(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(node.start_mark.line + 1, message))
