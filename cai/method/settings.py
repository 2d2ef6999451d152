"""What a person may decide about how texts are drawn and pairs are judged, under the options' names."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cai.models.base import NOT_THINKING, Sampling, Thinking, ThinkingMode


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How the tokens of the model's own texts are drawn; see `Sampling`."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()

    def sampling(self, max_tokens: int) -> Sampling:
        """Return them with the limit on a text's tokens."""
        return Sampling(max_tokens=max_tokens, **asdict(self))


@dataclass(frozen=True, slots=True)
class RevisionSettings:
    """How critiques and revisions are drawn; None: as the responses are, as in the paper."""

    revise_temperature: float | None = None
    revise_top_p: float | None = None
    critique_thinking: ThinkingMode | None = None

    def resolved(self, sampling: Sampling, thinking: ThinkingMode) -> "RevisionSettings":
        """Return them with what is None taken from the responses."""
        return RevisionSettings(
            sampling.temperature if self.revise_temperature is None else self.revise_temperature,
            sampling.top_p if self.revise_top_p is None else self.revise_top_p,
            self.critique_thinking or thinking,
        )


@dataclass(frozen=True, slots=True)
class ThinkingSettings:
    """Whether the model thinks before its responses; `auto` is its own default. `thinking_budget` is for all stages."""

    thinking: ThinkingMode = "auto"
    thinking_budget: int | None = None


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How pairs are judged.

    `judge_principles`: how many are drawn per comparison. `judge_orders`: `one` shows each pair once, in a drawn order:
    half the cost, and the position's influence stays in the label. `judge_by`: `text` reads the letter from the answer,
    for servers without log-probabilities. `judge_reasoning`: the judge writes down reasons before it decides.
    """

    judge_principles: int = 1
    judge_orders: Literal["both", "one"] = "both"
    judge_by: Literal["logprobs", "text"] = "logprobs"
    judge_reasoning: bool = False

    def identity(self) -> dict[str, str]:
        """Return them as an identity names them: what must stay the same while one directory is filled."""
        return identity(asdict(self))


@dataclass(frozen=True, slots=True)
class StageThinking:
    """Whether the models think before a response, before critiques and revisions, and before gates and judgements."""

    response: Thinking = field(default_factory=Thinking)
    revising: Thinking = field(default_factory=Thinking)
    judging: Thinking = NOT_THINKING


def identity(settings: dict[str, Any]) -> dict[str, str]:
    """Return settings as an identity names them, in the command line's words."""
    return {name.replace("_", "-"): str(value) for name, value in settings.items()}
