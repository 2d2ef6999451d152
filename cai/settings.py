"""What a person may decide about a run: the command line's options as plain values, under the options' names.

Models and places are of types that hide what their addresses carry, so that settings can be written down as they are.
"""

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from cai.addresses import DataSource, Redacted
from cai.modelspec import LabelledModel, ModelSpec

TINY = ModelSpec.parse("tiny")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How models are opened and asked; see `cai.engines.EngineOptions`."""

    device: str = "auto"
    dtype: str = "auto"
    concurrency: int | None = None
    timeout: float = 600.0
    engine_option: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How pairs are judged; see `cai.judge.Rules`."""

    judge_principles: int = 1
    judge_orders: Literal["both", "one"] = "both"
    judge_by: Literal["logprobs", "text"] = "logprobs"
    judge_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Where rows are made: in this process (`cluster` None), or by replicas on a Ray cluster; see `cai.cluster`."""

    cluster: str | None = None
    replicas: int = 1
    gpus_per_replica: float = 0.0


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """One `cai generate`; None means what the constitution says, or for `judge` the model itself."""

    constitution: str
    engine: EngineSettings = EngineSettings()
    judging: JudgeSettings = JudgeSettings()
    cluster: ClusterSettings = ClusterSettings()
    model: ModelSpec = TINY
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
    few_shot: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    prompts_dir: Path | None = None
    out: Path | None = None
    fresh: bool = False
    retry_failed: bool = False
    all_revisions: bool = False


@dataclass(frozen=True, slots=True)
class RejudgeSettings:
    """One `cai judge RUN`; None for `constitution` or `judge` means the ones the run was made with."""

    run: Path
    engine: EngineSettings = EngineSettings()
    judging: JudgeSettings = JudgeSettings()
    judge: ModelSpec | None = None
    constitution: str | None = None
    seed: int = 0
    max_tokens: int = 512
    prompts_dir: Path | None = None
    out: Path | None = None
    fresh: bool = False
    retry_failed: bool = False


TrainMethod = Literal["sft", "dpo", "reward", "kto", "orpo", "grpo", "rloo"]
AdapterKind = Literal["none", "lora", "dora", "prefix"]


@dataclass(frozen=True, slots=True)
class DataSettings:
    """What a trainer reads; see `cai.train.data.examples`.

    `data`: run directories, files, saved datasets, URLs of these, or hub names, each perhaps with `:WEIGHT`.
    `mixing_temperature` evens the parts' sizes out where no weights are given. `revisions`, `labels_from`: what is
    taken from a run.
    """

    data: tuple[DataSource, ...]
    mixing_temperature: float = 1.0
    revisions: Literal["final", "all"] = "final"
    labels_from: Literal["verdicts", "gates"] = "verdicts"
    split: str | None = None
    limit: int | None = None
    test_share: float = 0.05


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Which weights are trained: all, or an adapter of `rank` (prefix: virtual tokens) on a base, 4-bit or not."""

    adapter: AdapterKind = "none"
    rank: int = 16
    quantize: bool = False
    merge: bool = False


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How long and how fast; None is chosen for the method, the model's size and the hardware, and printed.

    `batch_size` counts examples an optimiser step, over all devices; `patience` counts evaluations without a better
    loss before training stops.
    """

    epochs: float | None = None
    max_steps: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    max_length: int | None = None
    packing: bool | None = None
    evaluations: int | None = None
    patience: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreferenceSettings:
    """DPO's and its relatives' own: the reference's hold, what labels say, and the weight of an SFT term."""

    beta: float = 0.1
    labels: Literal["soft", "hard"] = "soft"
    sft_term: float = 0.0


@dataclass(frozen=True, slots=True)
class OnlineSettings:
    """GRPO's and RLOO's own: who rewards (a constitution's judge, or a reward model), and how responses are drawn."""

    constitution: str | None = None
    judge: ModelSpec | None = None
    reward_model: Path | None = None
    group: int = 8
    temperature: float = 1.0
    max_tokens: int = 256
    kl_penalty: float = 0.04


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One `cai train METHOD`; `model` is `tiny`, a directory or a hub id."""

    method: TrainMethod
    model: ModelSpec
    out: Path
    data: DataSettings
    adapter: AdapterSettings = AdapterSettings()
    fit: FitSettings = FitSettings()
    preference: PreferenceSettings = PreferenceSettings()
    online: OnlineSettings = OnlineSettings()
    template: str | None = None
    seed: int = 0
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """One `cai evaluate`; None for `judge` means the baseline, or without one the first model."""

    models: tuple[LabelledModel, ...]
    constitution: str
    engine: EngineSettings = EngineSettings()
    judging: JudgeSettings = JudgeSettings()
    baseline: LabelledModel | None = None
    judge: ModelSpec | None = None
    prompts: DataSource | None = None
    limit: int | None = None
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    prompts_dir: Path | None = None
    out: Path | None = None
    fresh: bool = False
    retry_failed: bool = False


LoopMethod = Literal["dpo", "kto", "orpo", "grpo", "reward-grpo"]


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """One `cai loop`: both stages of Constitutional AI and the measurement; None is chosen as the commands choose it.

    `method` is the second stage's. `sft` and `second` say how long and how fast each stage trains; `pair_samples` are
    the responses a prompt that pairs are made of, `judge_principles` the principles that each pair is judged under.
    """

    constitution: str
    model: ModelSpec = TINY
    judge: ModelSpec | None = None
    method: LoopMethod = "dpo"
    iterations: int = 1
    prompts: DataSource | None = None
    limit: int | None = None
    evaluation_prompts: DataSource | None = None
    evaluation_limit: int | None = None
    seed: int = 0
    samples: int = 2
    pair_samples: int = 4
    judge_principles: int = 1
    max_tokens: int = 512
    engine: EngineSettings = EngineSettings()
    adapter: AdapterSettings = AdapterSettings()
    sft: FitSettings = FitSettings()
    second: FitSettings = FitSettings()
    preference: PreferenceSettings = PreferenceSettings()
    group: int = 8
    template: str | None = None
    prompts_dir: Path | None = None
    out: Path | None = None
    retry_failed: bool = False


def plain(settings: GenerateSettings | RejudgeSettings | TrainSettings | EvaluateSettings) -> dict[str, Any]:
    """Return settings as what JSON can say: groups flattened, paths absolute, models and places without secrets."""
    flat: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        flat.update(_named(value) if is_dataclass(value) else {field.name: value})
    return {name: json_value(value) for name, value in flat.items()}


def _named(group: Any) -> dict[str, Any]:
    return {field.name: getattr(group, field.name) for field in fields(group)}


def json_value(value: Any) -> Any:
    """Return one setting as what JSON can say."""
    match value:
        case Path():
            return str(value.absolute())
        case Redacted() | LabelledModel():
            return str(value)
        case tuple():
            return [json_value(item) for item in value]
    return value
