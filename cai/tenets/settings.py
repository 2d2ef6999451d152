"""What a person may decide about the drafting of tenets, under the options' names."""

from dataclasses import dataclass
from pathlib import Path

from cai.method.settings import SamplingSettings, ThinkingSettings
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class TenetsSettings:
    """One `cai constitution tenets`: `scenarios` are drafted for each tenet; None for `out` is NAME-tenets.yaml."""

    constitution: str
    model: ModelSpec
    scenarios: int = 10
    engine: EngineSettings = EngineSettings()
    seed: int = 0
    sampling: SamplingSettings = SamplingSettings()
    thinking: ThinkingSettings = ThinkingSettings()
    max_tokens: int = 1024
    prompts_dir: Path | None = None
    out: Path | None = None
