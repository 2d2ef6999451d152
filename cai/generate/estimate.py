"""What a run will ask of a model, before it asks: requests and tokens, expected and between two bounds.

The run is rehearsed on its first prompts. The least: no principle is broken, every text is one token, and no two
answers differ, so that none are judged. The most: every principle is broken and every text reaches its limit. A run
whose rows all succeed lies between the two, for certain where it has no more prompts than were rehearsed.

What is expected is what the rows finished so far took; where there are none yet, one gate in `BROKEN_GATE` and texts of
`TEXT_TOKENS` tokens, which is an assumption and called one wherever it is shown. What a prefix cache saves is not taken
off.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from cai.core.records import Failure, Prompt, Usage
from cai.generate.dry_run import Cast, Course, Load, rehearse
from cai.pipeline.filling import Summary

SAMPLED_PROMPTS = 64
TEXT_TOKENS = 150
BROKEN_GATE = 7


@dataclass(frozen=True, slots=True)
class Measured:
    """What finished rows of the same run took."""

    rows: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Estimate:
    """The least, the expected and the most that `rows` rows ask for; `whole` says whether these are all that are left.

    They are not where the input does not tell its size: then they are the rows that were rehearsed. `basis` says in
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
    prompts: Iterable[Prompt | Failure], rows: int | None, cast: Cast, measured: Measured | None = None
) -> Estimate:
    """Estimate what the rows of an input ask for that are not finished yet.

    `rows` is the input's number of rows where it is known; raises InputError when the input cannot be read.
    """
    items = list(islice(prompts, SAMPLED_PROMPTS))
    if len(items) < SAMPLED_PROMPTS:
        rows = len(items)
    sample = [item for item in items if isinstance(item, Prompt)]
    length = min(TEXT_TOKENS, cast.method.sampling.max_tokens)
    least = rehearse(sample, cast, Course(broken=0, alike=True)).load(1)
    expected = rehearse(sample, cast, Course(broken=BROKEN_GATE, alike=False)).load(length)
    most = rehearse(sample, cast, Course(broken=1, alike=False)).load(cast.method.sampling.max_tokens)
    finished = 0
    if measured is not None and measured.rows:
        finished, usage = measured.rows, measured.usage
        taken = Load(usage.requests, usage.prompt_tokens, usage.completion_tokens)
        expected = taken.scaled(len(items) / finished)
    found = Estimate(len(items), rows is not None, least, expected, most, _basis(cast, length, finished))
    return found if rows is None else found.scaled(max(0, rows - finished))


def _basis(cast: Cast, length: int, finished: int) -> tuple[str, ...]:
    gate = cast.method.plan.gate
    if finished:
        expected = f"what the {finished:,} rows finished so far took"
    else:
        broken = f"one gate in {BROKEN_GATE} finding its principle broken and " if gate else ""
        expected = f"assuming {broken}texts of {length} tokens, until a run has finished some rows"
    return (
        *dict.fromkeys((cast.counter.basis, cast.judge_counter.basis)),
        f"least: {'no principle broken, ' if gate else ''}texts of one token, no two answers that differ",
        f"expected: {expected}",
        f"most: {'every principle broken, ' if gate else ''}texts of {cast.method.sampling.max_tokens} tokens",
        "what a prefix cache saves is not taken off",
    )
