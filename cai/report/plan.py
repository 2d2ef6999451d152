"""A report before it is written: what the directory is, and where the file goes; nothing big is read yet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.core.errors import RunError, UsageError
from cai.core.mark import kind_of, kind_of_any
from cai.core.paths import open_file
from cai.report.rendering import MARK
from cai.report.settings import ReportSettings
from cai.rundir.layout import MANIFEST
from cai.rundir.manifest import read_manifest
from cai.rundir.origin import location

FILE = "report.html"
"""The file in the directory, where no other is named."""

Reported = Literal["run", "evaluation", "loop"]
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """A report with its directory looked at; `called` is how a person calls the directory: its path, or its URL."""

    settings: ReportSettings
    kind: Reported
    called: str
    out: Path

    @property
    def is_inside(self) -> bool:
        """Whether the file is one of the directory's own."""
        return self.settings.out is None


def plan_report(settings: ReportSettings) -> ReportPlan:
    """Look at the directory, and at what lies where the file goes.

    Raises UsageError for a price without the other, a bench that is none, something beside that is no evaluation and
    for somebody else's file, RunError when the directory is no run, evaluation or loop.
    """
    if (settings.price_prompt is None) != (settings.price_completion is None):
        raise UsageError("give --price-prompt and --price-completion, or neither: a cost needs both")
    directory = settings.directory
    kind = kind_of(directory) or kind_of_any(directory)
    if kind is None and (directory / MANIFEST).exists():
        read_manifest(directory)  # which says what is wrong with it
    if kind is None:
        raise RunError(f"{directory} is no run, evaluation or loop; name a directory that cai filled.")
    if kind != "run" and kind != "evaluation" and kind != "loop":
        raise RunError(f"{directory} is no run, evaluation or loop but a {kind}; name one of these.")
    if settings.bench is not None and kind_of(settings.bench) != "judge-bench":
        raise UsageError(f"{settings.bench} is no bench; give --bench a directory that `cai judge bench` filled")
    if settings.beside is not None and (kind != "evaluation" or kind_of(settings.beside) != "evaluation"):
        raise UsageError("--beside compares an evaluation with an earlier one: name two directories of `cai evaluate`")
    out = settings.out or directory / FILE
    if settings.out is not None:
        _require_ours(out)
    return ReportPlan(settings, kind, location(directory), out)


def _require_ours(out: Path) -> None:
    """Raise UsageError when a file is there that is no report: it is not replaced."""
    try:
        if out.is_dir():
            raise UsageError(f"{out} is a directory; give --out a file, as {out / FILE}.")
        with open_file(out) as file:
            if MARK not in file.read(_HEAD):
                raise UsageError(f"{out} is there and is no report; it is not replaced. Give --out another file.")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{out} cannot be replaced: {error.strerror}; give --out another file.") from error
