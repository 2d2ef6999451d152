"""Shares in which a prompt counts once, however many answers, rounds or verdicts it has.

Answers to one prompt are not independent. So each prompt gives the mean of its yes and no, and the interval is Wilson's
over prompts, as if each was one observation: wider than one over all answers, and never narrower than is true. Where
people said of some answers what is true, the share is corrected by these (`cai.core.corrected`).
"""

from dataclasses import dataclass, field

from cai.core.corrected import CaseLabel, CorrectedShare, LabelledSample, correct_share
from cai.core.shares import Interval95, is_enough, wilson


@dataclass(slots=True)
class PromptShare:
    """A share over prompts: `answered` of the `asked` questions of `prompts` prompts; `total` adds up probabilities.

    `sample` has the answers of which people said what is true, each once.
    """

    means: float = 0.0
    prompts: int = 0
    answered: int = 0
    asked: int = 0
    total: float = 0.0
    sample: LabelledSample = field(default_factory=LabelledSample)

    @property
    def interval(self) -> Interval95 | None:
        """The share with its interval; None where too few were answered to tell (`cai.core.shares.is_enough`)."""
        if not self.prompts or not is_enough(self.answered, self.asked):
            return None
        return wilson(self.means, self.prompts)

    @property
    def corrected(self) -> CorrectedShare | None:
        """The share as people's labels correct it; None where it may not be told itself, or nobody labelled any."""
        sample = self.sample.confusion
        if self.interval is None or not sample.labels:
            return None
        return correct_share(self.means, self.prompts, sample)

    @property
    def mean(self) -> float | None:
        """The mean of all probabilities, each answer counted; None where too few were answered."""
        return self.total / self.answered if self.answered and is_enough(self.answered, self.asked) else None


class PromptShares:
    """Shares by name; `add` takes what one prompt says, None for a question that was not answered."""

    def __init__(self) -> None:
        self._found: dict[str, PromptShare] = {}
        self._waiting: dict[str, list[float | None]] = {}

    def add(self, name: str, probability: float | None, label: CaseLabel | None = None) -> None:
        """Take in one answer of the present prompt: how likely it is yes; above one half it is.

        `label` is what people say, None where they do not.
        """
        if probability is not None and label is not None:
            self._found.setdefault(name, PromptShare()).sample.add(label, said=probability > 0.5)
        self._waiting.setdefault(name, []).append(probability)

    def end_prompt(self) -> None:
        """Let what was added since the last time be one prompt's."""
        for name, values in self._waiting.items():
            share = self._found.setdefault(name, PromptShare())
            known = [value for value in values if value is not None]
            share.asked += len(values)
            share.answered += len(known)
            if known:
                share.prompts += 1
                share.means += sum(value > 0.5 for value in known) / len(known)
                share.total += sum(known)
        self._waiting = {}

    def __getitem__(self, name: str) -> PromptShare:
        """Return a share, an empty one where nothing was asked under the name."""
        return self._found.get(name, PromptShare())

    def below(self, beginning: str) -> list[tuple[str, PromptShare]]:
        """Return what follows `beginning` in names that begin so, with the shares, by name."""
        return [
            (name.removeprefix(beginning), self._found[name])
            for name in sorted(self._found)
            if name.startswith(beginning)
        ]
