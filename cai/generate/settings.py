"""What a person may decide about a generation: the command line's options as plain values, under their names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.cluster.settings import ClusterSettings
from cai.core.addresses import DataSource
from cai.method.selectors import Selection
from cai.method.settings import (
    CheckSettings,
    JudgeSettings,
    RankingSettings,
    RevisionSettings,
    SamplingSettings,
    ThinkingSettings,
)
from cai.models.settings import DEFAULT_MODEL, EngineSettings
from cai.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """One `cai generate`; None means what the constitution says, or for `judge` the model itself.

    `responders` answer every prompt beside `model`. `select` chooses one answer a prompt for SFT.
    """

    constitution: str
    engine: EngineSettings = EngineSettings()
    judging: JudgeSettings = JudgeSettings()
    ranking: RankingSettings = RankingSettings()
    checking: CheckSettings = CheckSettings()
    cluster: ClusterSettings = ClusterSettings()
    model: ModelSpec = DEFAULT_MODEL
    responders: tuple[ModelSpec, ...] = ()
    judge: ModelSpec | None = None
    prompts: DataSource | None = None
    prompt_column: str | None = None
    split: str | None = None
    limit: int | None = None
    shuffle: bool = False
    seed: int = 0
    samples: int = 2
    schedule: Literal["walk", "sample"] | None = None
    rounds: int | None = None
    gate: bool | None = None
    form: Literal["auto", "anew", "continued"] | None = None
    few_shot: bool = False
    sampling: SamplingSettings = SamplingSettings()
    revising: RevisionSettings = RevisionSettings()
    thinking: ThinkingSettings = ThinkingSettings()
    max_tokens: int = 512
    prompts_dir: Path | None = None
    out: Path | None = None
    fresh: bool = False
    retry_failed: bool = False
    all_revisions: bool = False
    select: Selection | None = None
