"""Where annotations lie: `annotations/` in a run or an evaluation, `<name>.annotations/` beside data.

A run at a URL has them in its working copy, a file a copy, and sends them when `AnnotatedPlace.publish` is called; what
other copies sent is fetched with the rows. Nothing of cai's removes or rewrites them: `--fresh` refuses instead.
"""

import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.core.addresses import DataSource
from cai.core.errors import InputError, UsageError
from cai.core.identity import fingerprint
from cai.core.mark import Kind, kind_of_any
from cai.core.paths import expand
from cai.rundir.checkout import checkout
from cai.rundir.claim import join
from cai.rundir.files import refusal
from cai.rundir.layout import ANNOTATIONS, annotations_name
from cai.rundir.origin import read_origin
from cai.rundir.remote import remote_of
from cai.rundir.uploader import persist

PlaceKind = Literal["run", "evaluation", "data"]

_KINDS: dict[Kind, PlaceKind] = {"run": "run", "evaluation": "evaluation"}
_UNSAFE = re.compile(r"[^a-z0-9]+")
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class AnnotatedPlace:
    """What is annotated: a run or evaluation directory, or data; `series` is a working copy's, else 0."""

    source: DataSource
    kind: PlaceKind
    path: Path
    series: int = 0

    @property
    def folder(self) -> Path:
        """Where the files of annotations lie, or will."""
        if self.kind == "data":
            return self.path.with_name(f"{self.path.name}.{ANNOTATIONS}")
        return self.path / ANNOTATIONS

    def file_of(self, annotator: str) -> Path:
        """Return where an annotator's lines lie; names that are alike but not the same have different files."""
        readable = _UNSAFE.sub("-", annotator.lower()).strip("-")[:_LONGEST].strip("-") or "annotator"
        return self.folder / annotations_name(f"{readable}-{fingerprint(annotator)[:8]}", self.series)

    @property
    def feedback_file(self) -> Path:
        """Return where the lines of all users lie who gave feedback."""
        return self.folder / annotations_name("feedback", self.series)

    @property
    def items_file(self) -> Path:
        """Return where items lie that are in no row: what feedback was about."""
        return self.folder / annotations_name("items", self.series)

    def make_folder(self) -> None:
        """Make the folder where there is none; raises StoreError, or RunError when its name is taken."""
        if self.folder.is_dir():
            return
        try:
            if self.kind == "data":
                self.folder.mkdir(exist_ok=True)
            else:
                with closing(join(self.path, self.kind)) as owned:
                    owned.folder(ANNOTATIONS)
        except OSError as error:
            raise refusal(self.folder, error) from error

    def publish(self) -> None:
        """Send what was said to the run's URL; does nothing elsewhere. Raises as `checkout.publish` does."""
        if self.kind == "run" and (remote := remote_of(self.path)) is not None:
            persist(remote, remote.push_annotations)


def find_place(source: DataSource) -> AnnotatedPlace:
    """Return what is annotated when `source` is; a run at a URL is fetched.

    Raises UsageError when there is no place for annotations beside it, RunError and InputError when it is not there.
    """
    if source.is_url:
        if source.is_web:
            raise UsageError(f"{source} is at a web address, which can only be read; download it and review that.")
        path = checkout(str(source))
        return _run(source, path)
    path = expand(source.reveal())
    if not path.exists():
        raise InputError(f"There is no run, evaluation or file {source} to review.")
    found = kind_of_any(path)
    if found is None:
        return AnnotatedPlace(source, "data", path.absolute())
    if found not in _KINDS:
        raise UsageError(f"{source} is of `cai {found}`; what can be reviewed is a run, an evaluation, or data.")
    return _run(source, path) if found == "run" else AnnotatedPlace(source, _KINDS[found], path)


def _run(source: DataSource, path: Path) -> AnnotatedPlace:
    origin = read_origin(path)
    return AnnotatedPlace(source, "run", path, 0 if origin is None else origin.series)
