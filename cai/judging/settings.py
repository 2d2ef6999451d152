"""What a person may decide about judging, under the options' names."""

from dataclasses import dataclass
from pathlib import Path

from cai.cluster.settings import ClusterSettings
from cai.core.addresses import DataSource
from cai.method.settings import CheckSettings, JudgeSettings, RankingSettings
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class RejudgeSettings:
    """One `cai judge DATA`; None for `constitution` or `judge` means the ones that a run was made with.

    `quality` names filters; what they make of the texts is judged, and exported. None: texts are judged as they are.
    """

    data: DataSource
    engine: EngineSettings = EngineSettings()
    judging: JudgeSettings = JudgeSettings()
    ranking: RankingSettings = RankingSettings()
    checking: CheckSettings = CheckSettings()
    split: str | None = None
    shape: str | None = None
    judge: ModelSpec | None = None
    constitution: str | None = None
    quality: str | None = None
    seed: int = 0
    max_tokens: int = 512
    thinking_budget: int | None = None
    cluster: ClusterSettings = ClusterSettings()
    prompts_dir: Path | None = None
    out: Path | None = None
    fresh: bool = False
    retry_failed: bool = False
