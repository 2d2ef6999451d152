"""What a person may decide about a report, under the options' names."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["en", "ko"]


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """One `cai report DIRECTORY`; `out` None means `report.html` in the directory.

    `seed` decides which examples are drawn. Prices are of a million tokens, in any currency; None: no cost is told.
    `bench` is a directory of `cai judge bench` on the directory's judge; `beside` an earlier evaluation, which this one
    is compared with.
    """

    directory: Path
    language: Language = "en"
    seed: int = 0
    price_prompt: float | None = None
    price_completion: float | None = None
    bench: Path | None = None
    beside: Path | None = None
    out: Path | None = None

    @property
    def options(self) -> str:
        """The options that shape the page, as they are typed behind its directory; empty for none."""
        words = [] if self.language == "en" else [f"--language {self.language}"]
        words += [f"--seed {self.seed}"] if self.seed else []
        words += [] if self.price_prompt is None else [f"--price-prompt {self.price_prompt:g}"]
        words += [] if self.price_completion is None else [f"--price-completion {self.price_completion:g}"]
        words += [] if self.bench is None else [f"--bench {shlex.quote(str(self.bench))}"]
        words += [] if self.beside is None else [f"--beside {shlex.quote(str(self.beside))}"]
        return "".join(f" {word}" for word in words)
