"""What a person may decide about training: the command line's options as plain values, under their names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cai.core.addresses import DataSource
from cai.models.spec import ModelSpec

AdapterKind = Literal["none", "lora", "dora", "ia3", "houlsby", "pfeiffer", "prompt", "prefix"]
Activation = Literal["relu", "gelu", "silu"]


@dataclass(frozen=True, slots=True)
class DataSettings:
    """What a trainer reads; see `cai.train.data.examples`.

    `data`: run directories, files, saved datasets, URLs of these, or hub names, each perhaps with `:WEIGHT`.
    `mixing_temperature` evens the parts' sizes out where no weights are given. `revisions`, `labels_from`: what is
    taken from a run; `quality`: what filters leave of that, a name or a file; `shape`: the layout of tables where it
    cannot be told. `limit` bounds the examples to train on, and those to measure with. `reasoning`: what was thought
    before answers is learned, too.
    """

    data: tuple[DataSource, ...]
    mixing_temperature: float = 1.0
    revisions: Literal["final", "all"] = "final"
    labels_from: Literal["verdicts", "gates"] = "verdicts"
    quality: str = "default"
    split: str | None = None
    shape: str | None = None
    limit: int | None = None
    test_share: float = 0.05
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Which weights are trained: all, or an adapter on a base, 4-bit or not.

    How large it is says `rank` (lora, dora), `virtual_tokens` (prompt, prefix) or `bottleneck`, the width inside
    (houlsby, pfeiffer, which have an `activation`, too); None is the kind's default, or that it has no such size.
    """

    adapter: AdapterKind = "none"
    rank: int | None = None
    virtual_tokens: int | None = None
    bottleneck: int | None = None
    activation: Activation | None = None
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
    packing: bool = False
    evaluations: int | None = None
    patience: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """How tasks, each an item of `--data`, share one training, and the order of their examples; see `cai.train.tasks`.

    `schedule`: what a step holds (None: as the mixture comes, or with PCGrad every task equally). `task_weight`: the
    weight of each task's loss, in the order of `--data`. `task_gradients`: the tasks' gradients are added up, measured
    against one another at every evaluation, too, or projected where they conflict. `curriculum`: what makes an example
    hard: `length`, `loss`, `certainty`, or a column of numbers; `pace` and `pace_share`: how soon hard ones come in.
    """

    schedule: Literal["proportional", "alternating", "balanced"] | None = None
    task_weight: tuple[float, ...] = ()
    task_gradients: Literal["summed", "measured", "pcgrad"] = "summed"
    curriculum: str | None = None
    pace: Literal["sqrt", "linear"] = "sqrt"
    pace_share: float = 0.5


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One `cai train METHOD`; `method` is a name in `cai.train.methods`, `model` is `tiny`, a directory or a hub id.

    `own` are the method's own settings, such as `cai.train.methods.dpo.DPOSettings`; None leaves them all open.
    """

    method: str
    model: ModelSpec
    out: Path
    data: DataSettings
    adapter: AdapterSettings = AdapterSettings()
    fit: FitSettings = FitSettings()
    tasks: TaskSettings = TaskSettings()
    own: Any = None
    template: str | None = None
    seed: int = 0
    fresh: bool = False
