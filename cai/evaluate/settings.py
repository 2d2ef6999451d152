"""What a person may decide about an evaluation, under the options' names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.cluster.settings import ClusterSettings
from cai.core.addresses import DataSource
from cai.evaluate.pairing import PairChoice
from cai.method.settings import CheckSettings, JudgeSettings, SamplingSettings, ThinkingSettings
from cai.models.settings import EngineSettings
from cai.models.spec import LabelledModel, ModelSpec

ExaminationName = Literal["sycophancy", "consistency"]
"""What `--examine` takes: examinations with shipped questions of their own."""


@dataclass(frozen=True, slots=True)
class UsefulnessSettings:
    """What is measured of usefulness beyond the prompts' own answers (`cai.evaluate.usefulness`).

    `heldout` is text that no model was trained on, `bertscore` a model whose embeddings compare answers with
    references, `examine` names examinations, `harness` tasks of lm-eval, several with commas.
    """

    heldout: DataSource | None = None
    bertscore: ModelSpec | None = None
    examine: tuple[ExaminationName, ...] = ()
    harness: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """One `cai evaluate`; None for `judge` means the baseline, or without one the first model.

    Without `prompts` it is the constitution's own set.
    """

    models: tuple[LabelledModel, ...]
    constitution: str
    engine: EngineSettings = EngineSettings()
    judging: JudgeSettings = JudgeSettings()
    checking: CheckSettings = CheckSettings()
    baseline: LabelledModel | None = None
    judge: ModelSpec | None = None
    prompts: tuple[DataSource, ...] = ()
    attack: tuple[str, ...] = ()
    turns: int | None = None
    attacker: ModelSpec | None = None
    tenets: Path | None = None
    pairs: PairChoice = "all"
    usefulness: UsefulnessSettings = UsefulnessSettings()
    limit: int | None = None
    seed: int = 0
    sampling: SamplingSettings = SamplingSettings()
    thinking: ThinkingSettings = ThinkingSettings()
    max_tokens: int = 512
    prompts_dir: Path | None = None
    cluster: ClusterSettings = ClusterSettings()
    format: tuple[str, ...] = ()
    out: Path | None = None
    fresh: bool = False
    retry_failed: bool = False
