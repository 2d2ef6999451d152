"""What a person may decide about a whole loop, under the options' names."""

from dataclasses import dataclass
from pathlib import Path

from cai.core.addresses import DataSource
from cai.method.settings import CheckSettings, RevisionSettings, SamplingSettings, ThinkingSettings
from cai.models.base import ThinkingMode
from cai.models.settings import DEFAULT_MODEL, EngineSettings
from cai.models.spec import ModelSpec
from cai.train.methods.dpo import DPOSettings
from cai.train.settings import AdapterSettings, FitSettings


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """One `cai loop`: both stages of Constitutional AI and the measurement; None is chosen as the commands choose it.

    `method` is the second stage's, one of `cai.train.methods.loop_methods`; it takes of `preference` what it has. `sft`
    and `second` say how long and how fast each stage trains; `pair_samples` are the responses a prompt that pairs are
    made of, `judge_principles` the principles that each pair is judged under. `quality` names the filters
    that all data goes through before it is exported and trained on. `sampling`, `revising` and `thinking` are
    for generating and measuring; training that draws responses has its own.
    """

    constitution: str
    model: ModelSpec = DEFAULT_MODEL
    judge: ModelSpec | None = None
    method: str = "dpo"
    iterations: int = 1
    prompts: DataSource | None = None
    limit: int | None = None
    evaluation_prompts: DataSource | None = None
    evaluation_limit: int | None = None
    quality: str = "default"
    seed: int = 0
    samples: int = 2
    pair_samples: int = 4
    judge_principles: int = 1
    judge_thinking: ThinkingMode = "off"
    judge_calibration: Path | None = None
    sampling: SamplingSettings = SamplingSettings()
    revising: RevisionSettings = RevisionSettings()
    thinking: ThinkingSettings = ThinkingSettings()
    max_tokens: int = 512
    engine: EngineSettings = EngineSettings()
    checking: CheckSettings = CheckSettings()
    adapter: AdapterSettings = AdapterSettings()
    sft: FitSettings = FitSettings()
    second: FitSettings = FitSettings()
    preference: DPOSettings = DPOSettings()
    group: int = 8
    template: str | None = None
    prompts_dir: Path | None = None
    out: Path | None = None
    retry_failed: bool = False
