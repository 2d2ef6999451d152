"""What a person may decide about how pairs are judged, under the options' names."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How pairs are judged; see `cai.method.judge.Rules`."""

    judge_principles: int = 1
    judge_orders: Literal["both", "one"] = "both"
    judge_by: Literal["logprobs", "text"] = "logprobs"
    judge_reasoning: bool = False
