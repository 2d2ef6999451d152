"""What a person may decide about checking a dataset, under the options' names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.core.addresses import DataSource
from cai.models.spec import ModelSpec

LEAST_FLUENT = -4.53
"""Nats a token below which an answer is word salad, as SmolLM2-135M-Instruct reads it: see docs/quality.md."""

CheckedKind = Literal["supervised", "pairs", "labelled", "scored", "prompts"]
"""What examples are read as; ranked answers are read as pairs."""


@dataclass(frozen=True, slots=True)
class DataCheckSettings:
    """One `cai check DATA`; None for `kind` means what the data says most of, for `shape` what its columns tell.

    `tokenizer` and `max_length` say how training would cut its examples; neither: nobody looks.
    `fluency` is the model that looks for word salad, answers below `least_fluency`; None: nobody does.
    `against` are the sets that prompts are compared with, by file or name; none means those that ship with cai.
    """

    data: DataSource
    kind: CheckedKind | None = None
    split: str | None = None
    shape: str | None = None
    against: tuple[DataSource, ...] = ()
    near_duplicates: bool = True
    tokenizer: ModelSpec | None = None
    max_length: int | None = None
    fluency: ModelSpec | None = None
    least_fluency: float = LEAST_FLUENT
    quality: str = "default"
    out: Path | None = None
    fresh: bool = False
