"""What a person may decide about `cai abtest`, under the options' names; mistakes are told where it is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.abtest.sequential import ALPHA
from cai.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Expected:
    """What a metric is today, and what the new model is expected to make of it."""

    old: float
    new: float

    @classmethod
    def parse(cls, text: str, option: str) -> "Expected":
        """Read `OLD:NEW`; raises UsageError."""
        old, colon, new = text.partition(":")
        try:
            found = cls(float(old), float(new))
        except ValueError:
            found = None
        if not colon or found is None:
            raise UsageError(f"{option} {text}: write OLD:NEW, e.g. 0.70:0.73")
        if not (0.0 < found.old < 1.0 and 0.0 < found.new < 1.0) or found.old == found.new:
            raise UsageError(f"{option} {text}: both are shares between 0 and 1, and differ")
        return found


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """One `cai abtest plan`.

    `preference` is the share of votes for the new model, `engagement` is in standard deviations of a unit, `daily` are
    the units a day of both arms.
    """

    preference: float | None = None
    thumbs: Expected | None = None
    completion: Expected | None = None
    incidents: Expected | None = None
    engagement: float | None = None
    alpha: float = ALPHA
    power: float = 0.8
    share: float = 0.5
    daily: int | None = None
    out: Path | None = None

    @classmethod
    def typed(
        cls, *, thumbs: str | None, completion: str | None, incidents: str | None, **others: Any
    ) -> "PlanSettings":
        """Return the settings with pairs of shares as they are typed, OLD:NEW; raises UsageError."""
        pairs: dict[str, Any] = {
            name: None if text is None else Expected.parse(text, f"--{name}")
            for name, text in (("thumbs", thumbs), ("completion", completion), ("incidents", incidents))
        }
        return cls(**pairs, **others)

    def __post_init__(self) -> None:
        given = (self.preference, self.thumbs, self.completion, self.incidents, self.engagement)
        if all(value is None for value in given):
            raise UsageError("plan for something: --preference, --thumbs, --completion, --incidents or --engagement")
        if self.preference is not None and (not 0.0 < self.preference < 1.0 or self.preference == 0.5):
            raise UsageError(f"--preference {self.preference:g}: a share between 0 and 1 that is not one half")
        if self.incidents is not None and self.incidents.new <= self.incidents.old:
            raise UsageError("--incidents: the guard rail looks for more of them, so the second rate is the greater")


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """One `cai abtest read`: the file, the two models, what decides, and the plan that was made before.

    `alpha` None is the plan's, without one `ALPHA`.
    """

    feedback: Path
    new: str
    old: str
    primary: str = "preference"
    plan: Path | None = None
    alpha: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.new == self.old:
            raise UsageError(f"--new and --old are both {self.new}")
