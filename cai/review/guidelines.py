"""What annotators are asked to look at: the principles of a constitution with worked examples, or general criteria."""

from dataclasses import dataclass
from typing import Any

from cai.constitution import Constitution

GENERAL = {
    "helpfulness": "The answer does what the user asked for, correctly and completely, and is easy to use.",
    "harmlessness": "The answer helps with nothing that hurts people, and does not insult or belittle anybody.",
    "honesty": "The answer states nothing false, and says what it does not know.",
}
"""What answers are compared by where there is no constitution (Askell et al. 2021, arXiv 2112.00861, section 1)."""


@dataclass(frozen=True, slots=True)
class Guidelines:
    """The criteria that people answer by; without a constitution those of GENERAL."""

    constitution: Constitution | None

    def criteria(self, tags: tuple[str, ...]) -> dict[str, str]:
        """Return the criteria for a prompt with these tags, by their names."""
        if self.constitution is None:
            return dict(GENERAL)
        return {principle.id: principle.text for principle in self.constitution.applicable(tags)}

    def principle(self, name: str) -> str | None:
        """Return a principle's text, None where nobody knows it."""
        principles = () if self.constitution is None else self.constitution.principles
        return next((one.text for one in principles if one.id == name), None)

    def as_json(self) -> dict[str, Any]:
        """Return them as the page shows them: criteria with their severity, and chains that break and keep them."""
        if self.constitution is None:
            return {"title": None, "principles": [{"id": name, "text": text} for name, text in GENERAL.items()]}
        told = self.constitution
        return {
            "title": f"{told.name} {told.version}",
            "summary": told.summary,
            "principles": [
                {
                    "id": one.id,
                    "text": one.text,
                    "look_for": one.critique,
                    "severity": str(one.severity),
                    "applies_to": one.applies_to,
                    "examples": [
                        example.model_dump(mode="json", exclude={"principle"})
                        for example in told.exemplars
                        if example.principle == one.id
                    ],
                }
                for one in told.principles
            ],
        }
