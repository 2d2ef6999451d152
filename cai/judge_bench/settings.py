"""What a person may decide about a bench of judges, under the options' names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.core.addresses import DataSource
from cai.method.settings import JudgeSettings
from cai.models.settings import EngineSettings
from cai.models.spec import LabelledModel

JudgeVariant = Literal["plain", "averaged", "reasoning", "gates", "rubric"]
"""How a judge is asked to compare: as the settings say; under every principle that applies, averaged; with reasons.

Or about each answer by itself, which gets a score: how far it keeps the principles; how far it meets the criteria.
"""

ScoreVariant = Literal["gates", "rubric"]
"""The variants that give every answer a score; also those selectors' names."""


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """One `cai judge bench DATA`; None for `split` and `shape` means what the data says itself.

    Every judge is asked in each of the `variant`s. `limit` items are drawn from the seed. `calibrate`: write down how
    sure each judge may be.
    """

    data: DataSource
    judge: tuple[LabelledModel, ...]
    constitution: str
    variant: tuple[JudgeVariant, ...] = ("plain",)
    engine: EngineSettings = EngineSettings()
    judging: JudgeSettings = JudgeSettings()
    split: str | None = None
    shape: str | None = None
    limit: int | None = None
    calibrate: bool = False
    seed: int = 0
    max_tokens: int = 512
    thinking_budget: int | None = None
    prompts_dir: Path | None = None
    out: Path | None = None
    fresh: bool = False
    retry_failed: bool = False
