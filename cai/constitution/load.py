"""Finds constitutions by name or path and resolves what they extend.

`load_sources` gives the files of a constitution as written, in the order in which they are merged: each file once, what
it extends before it. `load_constitution` gives the one constitution that they make. All problems of all files are told
together, one line each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.constitution.model import Constitution, Exemplar, Principle, RubricCriterion
from cai.constitution.source import Source, items, nearest, read_source
from cai.core.errors import ConstitutionError
from cai.core.paths import expand
from cai.core.resources import shipped
from cai.core.yamlfile import Problem


def shipped_constitutions() -> tuple[str, ...]:
    """Return the names of the constitutions that come with cai."""
    return tuple(sorted(path.stem for path in shipped("constitutions").glob("*.yaml")))


def load_constitution(name_or_path: str) -> Constitution:
    """Return the constitution in a file, or the shipped one of that name (with or without `.yaml`), resolved.

    A file in the working directory is preferred to a shipped constitution of the same name. Raises ConstitutionError
    with a line `file:line: message` for everything that is wrong.
    """
    return resolve(load_sources(name_or_path))


def load_sources(name_or_path: str) -> tuple[Source, ...]:
    """Return the files that make up a constitution, parents first, the named one last.

    Raises as `load_constitution` does. Only the named file, and what it extends that is recognisably a constitution, is
    quoted in the message: `extends` may name any file that can be read, and what is in it may be nobody's business.
    """
    path = _find(name_or_path, Path())
    if path is None:
        known = shipped_constitutions()
        raise ConstitutionError(f"there is no constitution {name_or_path!r}{_suggestion(name_or_path, known)}")
    reading = _Reading()
    reading.read(path)
    if reading.problems:
        several = f"{len(reading.problems)} mistakes\n" if len(reading.problems) > 1 else ""
        raise ConstitutionError(several + "\n".join(reading.problems))
    return tuple(reading.sources.values())


def resolve(sources: Sequence[Source]) -> Constitution:
    """Return the one constitution that `sources` make: later files add, and replace principles of the same id in place.

    So do criteria of the same words.

    Language, prompts and revision are the last ones given; name, version, summary and extends are the last file's.
    """
    written = [source.constitution for source in sources if source.constitution is not None]
    principles: dict[str, Principle] = {}
    rubric: dict[str, RubricCriterion] = {}
    exemplars: list[Exemplar] = []
    given: dict[str, Any] = {}
    for constitution in written:
        principles |= {principle.id: principle for principle in constitution.principles}
        exemplars += constitution.exemplars
        rubric |= {one.criterion: one for one in constitution.rubric}
        inheritable = constitution.model_fields_set & {"language", "prompts", "revision"}
        given |= {field: getattr(constitution, field) for field in inheritable}
    last = written[-1]
    return Constitution(
        name=last.name,
        version=last.version,
        summary=last.summary,
        extends=last.extends,
        principles=tuple(principles.values()),
        rubric=tuple(rubric.values()),
        exemplars=tuple(exemplars),
        **given,
    )


def origins(sources: Sequence[Source]) -> dict[str, tuple[Source, int]]:
    """Return, for the id of each principle in the resolved order, the file it comes from and its line there."""
    found: dict[str, tuple[Source, int]] = {}
    for source in sources:
        for index, principle in enumerate(source.constitution.principles if source.constitution else ()):
            found[principle.id] = (source, source.file.line(("principles", index)))
    return found


@dataclass(frozen=True, slots=True)
class Remark:
    """Something in a valid constitution that its author should know of, with its place."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.path}:{self.line}: {self.message}"


def replacements(sources: Sequence[Source]) -> list[Remark]:
    """Return a remark for each principle of the last file that replaces one which says more than it does.

    A principle replaces another of its id as a whole: a critique, a weight or tags that only the replaced one has are
    gone.
    """
    replaced = {
        principle.id: (principle, source)
        for source in sources[:-1]
        for principle in (source.constitution.principles if source.constitution else ())
    }
    last, found = sources[-1], []
    for index, principle in enumerate(last.constitution.principles if last.constitution else ()):
        if principle.id not in replaced:
            continue
        before, source = replaced[principle.id]
        gone = [name for name in Principle.model_fields if name in before.model_fields_set - principle.model_fields_set]
        if gone:
            message = (
                f"the principle {principle.id!r} replaces that of {source.path.name} as a whole, whose "
                f"{' and '.join(gone)} it does not have; repeat here what should stay"
            )
            found.append(Remark(last.path, last.file.line(("principles", index)), message))
    return found


class _Reading:
    """Reads a file and all it extends, each once, and gathers every problem."""

    def __init__(self) -> None:
        self.sources: dict[Path, Source] = {}
        self.problems: list[str] = []
        self._ids: dict[Path, set[str] | None] = {}
        self._open: list[Path] = []

    def read(self, path: Path) -> set[str] | None:
        """Read `path`; return the ids of all principles it ends up with, None when they cannot be known."""
        place = path.resolve()
        if place in self._ids:
            return self._ids[place]
        named = not self._open
        self._open.append(place)
        source = read_source(path, quoting=named)
        problems = list(source.problems)
        parents = [self._read_parent(source, index, name, problems) for index, name in items(source.file, "extends")]
        self._open.pop()
        ids = _principle_ids(source, parents)
        if ids is not None:
            problems += _unknown_principles(source, ids)
            if not ids and not problems:
                problems.append(Problem(source.file.line(("principles",)), "the constitution has no principles"))
        self.problems += [source.file.describe(problem) for problem in sorted(problems)]
        self.sources[place] = source
        self._ids[place] = ids
        return ids

    def _read_parent(self, source: Source, index: int, name: Any, problems: list[Problem]) -> set[str] | None:
        """Read what item `index` of `extends` names; report into `problems` when it cannot be."""
        if not isinstance(name, str) or not name.strip():
            return None  # the model has reported it
        line = source.file.line(("extends", index))
        directory = source.path.parent
        path = _find(name, directory)
        if path is None:
            known = {*shipped_constitutions(), *(beside.stem for beside in directory.glob("*.yaml"))}
            known.discard(source.path.stem)
            problems.append(Problem(line, f"`extends` names {name!r}, which is not there{_suggestion(name, known)}"))
            return None
        if path.resolve() in self._open:
            circle = [*self._open[self._open.index(path.resolve()) :], path]
            names = " → ".join(step.name for step in circle)
            problems.append(Problem(line, f"`extends` goes in a circle: {names}; take one step out or rename a file"))
            return None
        return self.read(path)


def _principle_ids(source: Source, parents: Sequence[set[str] | None]) -> set[str] | None:
    """Return the ids in `source` and its parents, or None when a file that should have some could not be read."""
    if not isinstance(source.file.data, dict) or None in parents:
        return None
    own = [item.get("id") for _, item in items(source.file, "principles") if isinstance(item, dict)]
    ids = {name for name in own if isinstance(name, str)}
    return ids.union(*(parent for parent in parents if parent is not None))


def _unknown_principles(source: Source, ids: set[str]) -> list[Problem]:
    """Return a problem for every exemplar whose principle is not there."""
    problems = []
    for index, item in items(source.file, "exemplars"):
        name = item.get("principle") if isinstance(item, dict) else None
        if isinstance(name, str) and name not in ids:
            line = source.file.line(("exemplars", index, "principle"))
            message = f"exemplar {index + 1} is for the principle {name!r}, which is not there{_suggestion(name, ids)}"
            problems.append(Problem(line, message))
    return problems


def _find(name: str, directory: Path) -> Path | None:
    """Return the file that `name` means: a path from `directory`, with or without `.yaml`, else a shipped one."""
    for candidate in (directory / expand(name), directory / expand(f"{name}.yaml")):
        try:
            if candidate.is_file():
                return candidate
        except OSError:  # a name too long for the disk, a folder that may not be entered: nothing is found there
            continue
    bare = name.removesuffix(".yaml")
    return shipped("constitutions", f"{bare}.yaml") if bare in shipped_constitutions() else None


def _suggestion(name: str, known: Iterable[str]) -> str:
    """Return how a message about an unknown `name` ends."""
    near = nearest(Path(name).stem, known)
    return f"; did you mean {near!r}?" if near else f"; known are: {', '.join(sorted(known))}, or the path of a file"
