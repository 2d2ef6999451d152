"""What a person may decide about advice, under the options' names."""

from dataclasses import dataclass

from cai.core.addresses import DataSource
from cai.models.settings import DEFAULT_MODEL
from cai.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class AdviseSettings:
    """One `cai advise DATA`: the data, its split where it has several, the model that would be trained, and where."""

    data: DataSource
    model: ModelSpec = DEFAULT_MODEL
    split: str | None = None
    device: str = "auto"
