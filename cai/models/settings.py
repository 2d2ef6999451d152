"""What a person may decide about how models are opened and asked, under the options' names."""

from dataclasses import dataclass

from cai.models.spec import ModelSpec

DEFAULT_MODEL = ModelSpec.parse("tiny")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How models are opened and asked; see `cai.models.EngineOptions`."""

    device: str = "auto"
    dtype: str = "auto"
    concurrency: int | None = None
    timeout: float = 600.0
    engine_option: tuple[str, ...] = ()
    template_option: tuple[str, ...] = ()
