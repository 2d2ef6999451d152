"""What a person may decide about how texts are drawn and pairs are judged, under the options' names."""

from dataclasses import asdict, dataclass, fields, replace
from math import comb
from pathlib import Path
from typing import Any, Literal

from cai.core.errors import UsageError
from cai.models.base import NOT_THINKING, Sampling, Thinking, ThinkingMode


@dataclass(frozen=True, slots=True)
class StageThinking:
    """Whether the models think before a response, before critiques and revisions, and before gates and judgements."""

    response: Thinking = Thinking()
    revising: Thinking = Thinking()
    judging: Thinking = NOT_THINKING


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How the tokens of responses, critiques and revisions are drawn; see `Sampling`.

    A judge writes and thinks at their temperature and top-p; the rest is the model's alone.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(self.stop):
            raise UsageError("--stop is empty, which is how every text begins: give the text to end before")

    def of_texts(self, max_tokens: int) -> Sampling:
        """Return how the model's texts of so many tokens at most are drawn."""
        return Sampling(max_tokens=max_tokens, **asdict(self))

    def of_judge(self, max_tokens: int) -> Sampling:
        """Return how what a judge says before it decides is drawn."""
        return Sampling(self.temperature, self.top_p, max_tokens)


@dataclass(frozen=True, slots=True)
class RevisionSettings:
    """How critiques and revisions are drawn; None: as the responses are, as in the paper."""

    revise_temperature: float | None = None
    revise_top_p: float | None = None
    critique_thinking: ThinkingMode | None = None

    def resolved(self, sampling: SamplingSettings, thinking: ThinkingMode) -> "RevisionSettings":
        """Return them with what is None taken from the responses."""
        return RevisionSettings(
            sampling.temperature if self.revise_temperature is None else self.revise_temperature,
            sampling.top_p if self.revise_top_p is None else self.revise_top_p,
            self.critique_thinking or thinking,
        )

    def of_texts(self, sampling: SamplingSettings, max_tokens: int) -> Sampling:
        """Return how critiques and revisions of so many tokens at most are drawn."""
        own = self.resolved(sampling, "auto")
        assert own.revise_temperature is not None and own.revise_top_p is not None  # noqa: S101, PT018  (resolved)
        return replace(sampling.of_texts(max_tokens), temperature=own.revise_temperature, top_p=own.revise_top_p)


@dataclass(frozen=True, slots=True)
class ThinkingSettings:
    """Whether the model thinks before its responses; `auto` is its own default. `thinking_budget` is for all stages."""

    thinking: ThinkingMode = "auto"
    thinking_budget: int | None = None

    def of_stages(self, judge: ThinkingMode, critique: ThinkingMode | None = None) -> StageThinking:
        """Return them with what is said of the other stages."""
        response, revising, judging = (
            Thinking(mode, self.thinking_budget) for mode in (self.thinking, critique or self.thinking, judge)
        )
        return StageThinking(response, revising, judging)


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How pairs are judged.

    `judge_principles`: how many are drawn per comparison. `judge_orders`: `one` shows each pair once, in a drawn order:
    half the cost, and the position's influence stays in the label. `judge_by`: `text` reads the letter from the answer,
    for servers without log-probabilities. `judge_reasoning`: the judge writes down reasons before it decides.
    `judge_thinking`: whether a model that thinks does so before a judgement or a gate. `judge_calibration`: a file that
    says how sure the judge may be (`cai.method.label_calibration`); its content is in the identity, not its name.
    """

    judge_principles: int = 1
    judge_orders: Literal["both", "one"] = "both"
    judge_by: Literal["logprobs", "text"] = "logprobs"
    judge_reasoning: bool = False
    judge_thinking: ThinkingMode = "off"
    judge_calibration: Path | None = None

    def identity(self) -> dict[str, str]:
        """Return how pairs are asked about, as an identity names it: what stays the same in one directory."""
        return identity({name: value for name, value in asdict(self).items() if name != "judge_calibration"})


@dataclass(frozen=True, slots=True)
class RankingSettings:
    """Whether every answer of a prompt is compared with every other (`rank`), in so many comparisons at most."""

    rank: bool = False
    rank_budget: int | None = None

    def __post_init__(self) -> None:
        if self.rank_budget is not None and not self.rank:
            raise UsageError("--rank-budget needs --rank: without it a prompt has only the comparisons that it needs")

    def comparisons(self, responses: int, *, revised: bool) -> int:
        """Return how many comparisons a prompt with so many responses has at most, all of them `revised` or none."""
        if not self.rank:
            return comb(responses, 2) + (responses if revised else 0)
        every = comb(responses * 2 if revised else responses, 2)
        return every if self.rank_budget is None else min(every, self.rank_budget)

    def require_enough(self, responses: int, *, revised: bool) -> None:
        """Raise UsageError where the budget is too small to connect the answers of a prompt."""
        answers = responses * 2 if revised else responses
        if self.rank_budget is not None and self.rank_budget < answers - 1:
            told = f"{responses} responses and their revisions" if revised else f"{responses} responses"
            raise UsageError(
                f"--rank-budget {self.rank_budget} is too little to rank {told}: give at least {answers - 1}, so that "
                "every answer is compared with some other"
            )


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Whether the judge is tested before the first row, and whether one that is found unfit is refused (`strict`)."""

    judge_check: bool = True
    strict: bool = False


def identity(settings: dict[str, Any]) -> dict[str, str]:
    """Return settings as an identity names them, in the command line's words."""
    return {name.replace("_", "-"): str(value) for name, value in settings.items()}


def take_writing(options: dict[str, Any]) -> dict[str, Any]:
    """Move how texts are drawn out of a verb's options; return it as fields of the verb's settings.

    Critiques and revisions are only among them where the verb makes some.
    """
    groups: dict[str, type[SamplingSettings | RevisionSettings | ThinkingSettings]] = {
        "sampling": SamplingSettings,
        "revising": RevisionSettings,
        "thinking": ThinkingSettings,
    }
    names = {group: [field.name for field in fields(kind)] for group, kind in groups.items()}
    return {
        group: kind(**{name: options.pop(name) for name in names[group]})
        for group, kind in groups.items()
        if names[group][0] in options
    }
