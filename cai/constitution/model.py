"""The nouns of a constitution: `Constitution`, `Principle`, `RevisionPlan`, `RubricCriterion`, `Exemplar`.

Frozen, and closed to keys that are not theirs. Their field descriptions are the text of `constitutions/schema.json`.
They know nothing of files, templates or models; `load.py` turns YAML into them.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints

from cai.core.identity import fingerprint
from cai.core.records import Criterion

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_UNSEEN = r"\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=rf"^[^\s./\\{_UNSEEN}][^\s/\\{_UNSEEN}]*$")
]
"""Names become parts of paths and columns: no spaces, no slashes, no characters that nobody sees, no leading dot."""


class Severity(StrEnum):
    """How bad it is to break a principle, worst first."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Principle(_Closed):
    """One rule that responses are held to."""

    id: Name = Field(description="The principle's name, unique in the constitution; every record carries it.")
    text: Text = Field(
        description="The rule, as one statement about the response. All requests are built from it where the three "
        "optional texts below are absent."
    )
    critique: Text | None = Field(None, description="A question that points the critique at what breaks the rule.")
    revision: Text | None = Field(None, description="What a revision should do about it, as an instruction.")
    preference: Text | None = Field(None, description="The rule as the judge reads it, instead of `text`.")
    weight: Annotated[float, Field(strict=True, gt=0, le=1_000_000, allow_inf_nan=False)] = Field(
        1.0, description="How often the principle is drawn, relative to the others, where principles are sampled."
    )
    severity: Severity = Field(
        Severity.MAJOR, description="How bad it is to break it; the `walk` schedule mends the most severe first."
    )
    applies_to: tuple[Text, ...] | None = Field(
        None, description="Tags of the prompts it applies to, any one of them; absent: every prompt."
    )


class RevisionPlan(_Closed):
    """How responses are critiqued and revised."""

    schedule: Literal["walk", "sample"] = Field(
        "walk",
        description="walk: every applicable principle, most severe first; sample: principles drawn by weight, as in "
        "the Constitutional AI paper.",
    )
    rounds: Annotated[StrictInt, Field(ge=0, le=100)] = Field(
        1,
        description="walk: how many times through all of them; sample: how many are drawn; 0: nothing is revised, "
        "responses are only judged.",
    )
    gate: StrictBool = Field(
        True, description="Ask first whether the response breaks the principle, and skip the round when it does not."
    )
    form: Literal["auto", "anew", "continued"] = Field(
        "auto",
        description="How a revision is asked for. anew: the prompt is asked again, under the principle and the "
        "critique; continued: the conversation goes on, as in the paper; auto: anew, or the form that the model's "
        "config.json says it was trained on (`revision_form`).",
    )


class Exemplar(_Closed):
    """One worked chain, shown to base models before their own."""

    prompt: Text = Field(description="What the user says.")
    response: Text = Field(description="A first response that breaks the principle.")
    principle: Name = Field(description="The id of the principle it breaks.")
    critique: Text = Field(description="What in the response breaks it.")
    revision: Text = Field(description="The response, mended.")


class RubricCriterion(_Closed):
    """One thing that answers are to have, or not to have, and what that is worth."""

    criterion: Text = Field(description="What a response meets or does not, as one statement that is true or false.")
    points: Annotated[float, Field(strict=True, ge=-1_000_000, le=1_000_000, allow_inf_nan=False)] = Field(
        description="What meeting it is worth, relative to the others; below zero where meeting it is bad."
    )


class Constitution(_Closed):
    """Principles, and how they are applied.

    As `load_constitution` returns it, `extends` is resolved: the principles and exemplars of the constitutions it names
    are included, and every exemplar's principle is there.
    """

    name: Name = Field(description="The constitution's name; runs are written to runs/<name>.")
    version: Text = Field(description="Your version of it, such as 1.0.0 (text: put plain numbers in quotes).")
    summary: Text | None = Field(None, description="What it is for, in one sentence.")
    language: Text = Field(
        "en", description="The language of the templates that models are asked in: en, ko, or one of your own."
    )
    extends: tuple[Text, ...] = Field(
        (),
        description="Constitutions to build on: paths relative to this file, or shipped names. Their principles come "
        "first; a principle with the same id replaces theirs in its place.",
    )
    prompts: Name | None = Field(None, description="The seed prompt set that is used when none is given.")
    revision: RevisionPlan = Field(RevisionPlan(), description="How responses are critiqued and revised.")
    principles: tuple[Principle, ...] = Field((), description="The rules, in the order they are read.")
    rubric: tuple[RubricCriterion, ...] = Field(
        (),
        description="Criteria with points for every response, beside those that a prompt carries; principles say what "
        "must not be broken, criteria what an answer is worth.",
    )
    exemplars: tuple[Exemplar, ...] = Field((), description="Worked chains for base models (--few-shot).")

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name the content, however it was put together; computed anew each time."""
        unused = {"extends", "summary"} if self.rubric else {"extends", "summary", "rubric"}
        return fingerprint(self.model_dump(mode="json", exclude=unused))

    @property
    def label(self) -> str:
        """How records name it: a person reads the name and the version, a machine the fingerprint."""
        return f"{self.name} {self.version} {self.fingerprint}"

    def criteria(self, own: tuple[Criterion, ...] = ()) -> tuple[Criterion, ...]:
        """Return the criteria for answers to a prompt: the constitution's, then the prompt's `own`."""
        return (*(Criterion(one.criterion, one.points) for one in self.rubric), *own)

    def applicable(self, tags: Collection[str]) -> tuple[Principle, ...]:
        """Return the principles that apply to a prompt with `tags`, in the constitution's order."""
        return tuple(
            [
                principle
                for principle in self.principles
                if principle.applies_to is None or any(tag in tags for tag in principle.applies_to)
            ]
        )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a constitution file, by which editors complete and check it."""
    schema = Constitution.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
