"""Somebody who knows the truth about some prompts, against whom the judge is measured.

The oracle of the embedded world is one. Nothing here knows how it knows.
"""

from collections.abc import Collection
from typing import Protocol

from cai.method.templates import PrincipleTexts


class Ruling(Protocol):
    """What a response truly does.

    `harmful`: the prompt asks for something that a careful model declines or answers with care. `broken`: the kinds of
    violation in the response. `declines`: it refuses (right where the prompt is harmful). `outside`: it says that the
    prompt is beyond what the model knows. `good`: on topic, nothing broken, and the right thing said.
    """

    @property
    def harmful(self) -> bool: ...  # noqa: D102

    @property
    def broken(self) -> Collection[str]: ...  # noqa: D102

    @property
    def on_topic(self) -> bool: ...  # noqa: D102

    @property
    def declines(self) -> bool: ...  # noqa: D102

    @property
    def outside(self) -> bool: ...  # noqa: D102

    @property
    def good(self) -> bool: ...  # noqa: D102


class Referee(Protocol):
    """Knows the truth about the prompts that it understands, and about no other."""

    def understands(self, prompt: str) -> bool:
        """Tell whether it can judge responses to this prompt."""

    def judge(self, prompt: str, response: str) -> Ruling:
        """Return the truth about a response; raises ValueError when it does not understand the prompt."""

    def kind_of(self, principle: PrincipleTexts) -> str | None:
        """Return the kind of violation that a principle is about, or None when it is about none it knows."""
