"""What a run will ask of a model, before it asks: requests and tokens, expected and between two bounds, and their cost.

The run's first prompts go through one dry run (`dry_run.py`). The least: no principle is broken, every text is one
token, and no two answers differ, so that none are judged. The most: every principle is broken and every text reaches
its limit. A run whose rows all succeed lies between the two, for certain where it has no more prompts than these.

What is expected is what the rows finished so far took; where there are none yet, one gate in `BROKEN_GATE` and texts of
`TEXT_TOKENS` tokens, which is an assumption and called one wherever it is shown. What a prefix cache saves is not taken
off.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cai.core.errors import UsageError
from cai.core.records import Failure, Prompt, Usage
from cai.generate.dry_run import DryRun, Load
from cai.method.critique import REVISION_TRIES
from cai.pipeline.filling import Summary

SAMPLED_PROMPTS = 64
TEXT_TOKENS = 150
BROKEN_GATE = 7

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class RowsSoFar:
    """What finished rows of the same run took."""

    rows: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Estimate:
    """The least, the expected and the most that `rows` rows ask for; `whole` says whether these are all that are left.

    They are not where the input does not tell its size: then they are the rows of the dry run. `basis` says in
    sentences what the numbers rest on.
    """

    rows: int
    whole: bool
    least: Load
    expected: Load
    most: Load
    basis: tuple[str, ...]

    def scaled(self, rows: int) -> "Estimate":
        """Return the estimate for another number of rows of the same input."""
        factor = rows / self.rows if self.rows else 0.0
        return replace(
            self,
            rows=rows,
            least=self.least.scaled(factor),
            expected=self.expected.scaled(factor),
            most=self.most.scaled(factor),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the estimate as what JSON can say."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GenerateSummary(Summary):
    """How a generation ended; `estimate` is what was foreseen for the rows that this process did or failed.

    It is None where nothing was foreseen.
    """

    estimate: Estimate | None = None


def estimate(
    items: Sequence[Prompt | Failure], rows: int | None, run: DryRun, so_far: RowsSoFar | None = None
) -> Estimate:
    """Estimate what the rows of an input ask for that are not finished yet, from the first `SAMPLED_PROMPTS` of them.

    `rows` is the input's number of rows where it is known.
    """
    items = items[:SAMPLED_PROMPTS]
    if len(items) < SAMPLED_PROMPTS:
        rows = len(items)
    limit = run.method.sampling.max_tokens
    length = min(TEXT_TOKENS, limit)
    demands = run.demands([item for item in items if isinstance(item, Prompt)], BROKEN_GATE)
    least, expected, most = (
        demands.least.load(1),
        demands.expected.load(length),
        demands.most.load(limit, thinking=True),
    )
    finished = 0
    if so_far is not None and so_far.rows:
        finished, usage = so_far.rows, so_far.usage
        taken = Load(usage.requests, usage.prompt_tokens, usage.completion_tokens)
        expected = taken.scaled(len(items) / finished)
    found = Estimate(len(items), rows is not None, least, expected, most, _basis(run, length, finished))
    return found if rows is None else found.scaled(max(0, rows - finished))


def _basis(run: DryRun, length: int, finished: int) -> tuple[str, ...]:
    gate, budget = run.method.plan.gate, run.method.thinking.response.budget
    if finished:
        expected = f"what the {finished:,} rows finished so far took"
    else:
        broken = f"one gate in {BROKEN_GATE} finding its principle broken and " if gate else ""
        unthought = "" if run.method.thinking.response.mode == "off" else " without thoughts"
        expected = f"assuming {broken}texts of {length} tokens{unthought}, until a run has finished some rows"
    return (
        *dict.fromkeys(counter.basis for counter in (run.counter, *run.responders, run.judge_counter)),
        f"least: {'no principle broken, ' if gate else ''}texts of one token, no two answers that differ",
        f"expected: {expected}",
        f"most: {'every principle broken, ' if gate else ''}texts of {run.method.sampling.max_tokens} tokens"
        f"{f' after thoughts of {budget}' if budget else ''}, every choice asked twice"
        f"{f', every revision {REVISION_TRIES} times' if run.method.plan.rounds else ''}",
        "what a prefix cache saves is not taken off",
    )


@dataclass(frozen=True, slots=True)
class Rates:
    """Speeds in tokens a second, as `cai models check` measures them; prices of a million tokens, in any currency.

    None where it is not known. Prompt and completion tokens go together: one without the other is a UsageError.
    """

    speed_prompt: float | None = None
    speed_completion: float | None = None
    price_prompt: float | None = None
    price_completion: float | None = None

    def __post_init__(self) -> None:
        for kind, prompt, completion in (
            ("speed", self.speed_prompt, self.speed_completion),
            ("price", self.price_prompt, self.price_completion),
        ):
            if (prompt is None) != (completion is None):
                missing = "completion" if completion is None else "prompt"
                raise UsageError(
                    f"--{kind}-{missing} is missing: prompt tokens and completion tokens are counted apart, give both"
                )

    def seconds(self, load: Load) -> float | None:
        """Return how long the load takes with the model as busy as it was when it was measured; None: not known.

        What a prefix cache saves is not taken off.
        """
        if self.speed_prompt is None or self.speed_completion is None:
            return None
        return load.prompt_tokens / self.speed_prompt + load.completion_tokens / self.speed_completion

    def money(self, load: Load) -> float | None:
        """Return what the load costs, a judge's tokens at the same price; None: not known."""
        if self.price_prompt is None or self.price_completion is None:
            return None
        return (load.prompt_tokens * self.price_prompt + load.completion_tokens * self.price_completion) / _MILLION
