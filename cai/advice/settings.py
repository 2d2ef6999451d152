"""What a person may decide about advice, under the options' names."""

from dataclasses import dataclass

from cai.core.addresses import DataSource
from cai.models.settings import DEFAULT_MODEL
from cai.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class AdviseSettings:
    """One `cai advise DATA`: the data and the model that would be trained, and where.

    `split` is the one that is meant of several, `shape` the layout of a public data set where it cannot be told.
    """

    data: DataSource
    model: ModelSpec = DEFAULT_MODEL
    split: str | None = None
    shape: str | None = None
    device: str = "auto"
