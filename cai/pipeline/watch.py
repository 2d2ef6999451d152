"""What a screen may read while a job runs, the stop it may ask for, and how the job says it ended."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cai.models.meter import UsageCounter
from cai.pipeline.pipeline import Progress, Stop
from cai.rundir.origin import location


@dataclass(slots=True)
class Watch:
    """A running job, seen from outside; `total` is the number of rows when it is known.

    `stage` is told to the person; rates are counted from the first stage whose name begins with `working`.
    """

    progress: Progress = field(default_factory=Progress)
    tally: UsageCounter = field(default_factory=UsageCounter)
    stop: Stop = field(default_factory=Stop)
    stage: str = "starting"
    total: int | None = None
    say: Callable[[str], None] = field(default=lambda _line: None)
    """Tells the person something at once, in one line."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a job ended.

    `done`, `failed`, `skipped`, the tokens and the seconds are this process's; `rows` and `failures` (by stage and
    cause) are the whole run's. `owed` of the failures are asked again by the same command, `for_good` by the same with
    `--retry-failed`; the rest are no prompts.
    """

    out: Path
    status: Literal["done", "interrupted"]
    done: int
    failed: int
    skipped: int
    duplicates: int
    rows: int
    failures: dict[str, int]
    owed: int
    for_good: int
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the summary as what JSON can say."""
        return asdict(self) | {"out": location(self.out)}
