"""What a model was shown of the constitution: exemplars and principles, which an answer should not repeat.

Words are found once for a whole run, so one object is shared by all of its items.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cai.constitution import Constitution
from cai.core.words import Text


@dataclass(frozen=True, slots=True, eq=False)
class ShownTexts:
    """All that exemplars say, as one text, and each text of each principle."""

    exemplars: Text
    principles: tuple[Text, ...]


NOTHING_SHOWN = ShownTexts(Text(""), ())


def shown_by(constitution: Constitution) -> ShownTexts:
    """Return what the requests that are built from a constitution may show."""
    chains = (text for one in constitution.exemplars for text in (one.prompt, one.response, one.critique, one.revision))
    rules = (
        text
        for one in constitution.principles
        for text in (one.text, one.critique, one.revision, one.preference)
        if text is not None
    )
    return ShownTexts(Text("\n".join(chains)), tuple(map(Text, dict.fromkeys(rules))))


def shown_in(settings: Mapping[str, Any]) -> ShownTexts:
    """Return what a run's recorded settings say was shown; nothing where its constitution was not written down."""
    try:
        return shown_by(Constitution.model_validate(settings.get("resolved_constitution")))
    except ValueError:  # pydantic's are of that kind
        return NOTHING_SHOWN
