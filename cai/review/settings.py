"""What a person may decide about a review, under the options' names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.core.addresses import DataSource
from cai.models.spec import ModelSpec

Order = Literal["random", "uncertainty", "disagreement"]
"""Which item is next: any; the one that the judge is least sure of; the one that people or judges disagree on."""


@dataclass(frozen=True, slots=True)
class ReviewSettings:
    """One `cai review DATA`.

    With names in `annotator` nobody else may say anything; without, people name themselves on the page.
    `annotator_groups` is a table of what people are beside their `name` (role, language). `overlap` is the share of
    items in [0, 1] that every annotator is asked. `constitution` None means the run's own, or general criteria. `talk`
    are the models to talk to, two at most. `port` 0 means any that is free.
    """

    data: DataSource
    annotator: tuple[str, ...] = ()
    annotator_groups: Path | None = None
    overlap: float = 0.0
    order: Order = "random"
    seed: int = 0
    constitution: str | None = None
    shape: str | None = None
    talk: tuple[ModelSpec, ...] = ()
    port: int = 0
    open_browser: bool = True
