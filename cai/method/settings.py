"""What a person may decide about how pairs are judged, under the options' names."""

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How pairs are judged.

    `judge_principles`: how many are drawn per comparison. `judge_orders`: `one` shows each pair once, in a drawn order:
    half the cost, and the position's influence stays in the label. `judge_by`: `text` reads the letter from the answer,
    for servers without log-probabilities. `judge_reasoning`: the judge thinks before it decides.
    """

    judge_principles: int = 1
    judge_orders: Literal["both", "one"] = "both"
    judge_by: Literal["logprobs", "text"] = "logprobs"
    judge_reasoning: bool = False

    def identity(self) -> dict[str, str]:
        """Return them as an identity names them: what must stay the same while one directory is filled."""
        return {name.replace("_", "-"): str(value) for name, value in asdict(self).items()}
