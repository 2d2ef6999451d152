"""What a person may decide about a report, under the options' names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["en", "ko"]


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """One `cai report DIRECTORY`; `out` None means `report.html` in the directory.

    `seed` decides which examples are drawn. Prices are of a million tokens, in any currency; None: no cost is told.
    """

    directory: Path
    language: Language = "en"
    seed: int = 0
    price_prompt: float | None = None
    price_completion: float | None = None
    out: Path | None = None
