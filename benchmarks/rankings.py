"""`python -m benchmarks.rankings`: what ranking a prompt's answers finds, and what a budget saves, by the oracle.

The embedded model gives each prompt of its world several answers and compares every two of them. From these verdicts
every way to choose the best answer is replayed: at random, by one comparison of the first two, by Bradley and Terry
over all comparisons, and over as many as a budget allows. The oracle says which answer truly is the best; prompts whose
answers are all equally good tell nothing and are left out. Writes benchmarks/rankings.json.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.pairs_cost import SAMPLING, rank_truly
from cai.constitution import RevisionPlan, load_constitution
from cai.core.addresses import DataSource
from cai.core.records import Prompt, Trace, Usage
from cai.core.shares import wilson
from cai.data import InputOptions, open_prompts
from cai.method.comparing import Turns, comparisons
from cai.method.critique import Method, respond_and_revise
from cai.method.judge import JudgeConfiguration, judge
from cai.method.ranking import Outcome, rank
from cai.method.row import to_be_judged
from cai.method.settings import JudgeSettings, RankingSettings
from cai.method.templates import Templates
from cai.method.verdicts import ranked_outcome
from cai.models import TINY
from cai.models.base import Engine
from cai.models.local.engine import open_transformers
from cai.models.meter import Meter, UsageCounter
from cai.tiny import oracle

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "rankings.json"
ROWS_AT_ONCE = 32
SEED = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """A prompt with its answers, what they truly are worth, and each comparison's outcome and tokens."""

    prompt: Prompt
    traces: tuple[Trace, ...]
    worth: tuple[Any, ...]
    outcomes: dict[tuple[str, str], float | None]
    tokens: dict[tuple[str, str], int]

    def number(self, source: str) -> int:
        """Return which answer a source is."""
        return int(source.partition(":")[2])


async def judged(engine: Engine, prompt: Prompt, samples: int, principles: int) -> Judged | None:
    """Answer a prompt and compare every two answers; None where the oracle does not know the question."""
    question = oracle.understand(prompt.messages[-1]["content"])
    if question is None:
        return None
    constitution, templates = load_constitution("medical"), Templates.load("en")
    method = Method(constitution, templates, RevisionPlan(rounds=0), SAMPLING, few_shot=False, seed=SEED)
    configuration = JudgeConfiguration(constitution, templates, JudgeSettings(principles), SAMPLING, SEED)
    traces = tuple([await respond_and_revise(engine, method, prompt, sample) for sample in range(samples)])
    outcomes: dict[tuple[str, str], float | None] = {}
    tokens: dict[tuple[str, str], int] = {}
    for one in comparisons(prompt, traces, every=True):
        counter = UsageCounter()
        metered = Meter(engine, counter)
        verdicts = [
            await judge(metered, configuration, comparison, principle, prompt.id)
            for comparison, principle in to_be_judged(configuration, prompt, [one])
        ]
        outcomes[one.a_source, one.b_source] = ranked_outcome(verdicts)
        tokens[one.a_source, one.b_source] = _total(counter.usage)
    worth = tuple(rank_truly(question, trace.response) for trace in traces)
    return Judged(prompt, traces, worth, outcomes, tokens)


def _total(usage: Usage) -> int:
    return usage.prompt_tokens + usage.completion_tokens


def chosen(row: Judged, budget: int | None) -> tuple[int, int, int, int]:
    """Return the best and the worst answer by a ranking within a budget, and its comparisons and tokens."""
    turns = Turns(RankingSettings(rank=True, rank_budget=budget), SEED, row.prompt, row.traces)
    outcomes, tokens, count = [], 0, 0
    while turn := turns.next():
        for one in turn:
            sources = one.a_source, one.b_source
            probability = row.outcomes[sources]
            turns.note(sources, probability)
            count += 1
            tokens += row.tokens[sources]
            if probability is not None:
                outcomes.append(Outcome(row.number(one.a_source), row.number(one.b_source), probability))
    order = rank(len(row.traces), outcomes).order
    return order[0], order[-1], count, tokens


def one_comparison(row: Judged) -> tuple[int, int, int, int]:
    """Return the better and the worse of the first two answers; the first where the judge abstains."""
    sources = "response:0", "response:1"
    second = (row.outcomes[sources] or 0.5) < 0.5
    return int(second), int(not second), 1, row.tokens[sources]


def measured(rows: Sequence[Judged], choices: Sequence[tuple[int, int, int, int]]) -> dict[str, Any]:
    """Return how often the best was found, how good what was chosen is, how many pairs are right, and the costs."""
    best = wilson(
        sum(row.worth[first] == max(row.worth) for row, (first, *_) in zip(rows, choices, strict=True)), len(rows)
    )
    pairs = [(row.worth[first], row.worth[last]) for row, (first, last, *_) in zip(rows, choices, strict=True)]
    unequal = [first > last for first, last in pairs if first != last]
    return {
        "best": [best.value, best.low, best.high],
        "good": fmean(first[0] for first, _ in pairs),
        "right_pairs": fmean(unequal),
        "pairs": len(unequal),
        "comparisons": fmean(count for *_, count, _ in choices),
        "tokens": fmean(tokens for *_, tokens in choices),
    }


def compare(rows: Sequence[Judged], budgets: Sequence[int]) -> dict[str, Any]:
    """Return the figures of every way on the prompts whose answers are not all worth the same."""
    telling = [row for row in rows if len(set(row.worth)) > 1]
    random = wilson(sum(row.worth.count(max(row.worth)) / len(row.worth) for row in telling), len(telling))
    ways: dict[str, Any] = {
        "at random": {
            "best": [random.value, random.low, random.high],
            "good": fmean(worth[0] for row in telling for worth in row.worth),
            "comparisons": 0.0,
            "tokens": 0.0,
        },
        "one comparison": measured(telling, list(map(one_comparison, telling))),
    }
    for budget in (*budgets, None):
        name = "all comparisons" if budget is None else f"budget {budget}"
        ways[name] = measured(telling, [chosen(row, budget) for row in telling])
    return {"prompts": len(rows), "telling": len(telling), "ways": ways}


async def measure(prompts: Sequence[Prompt], samples: int, principles: int) -> list[Judged]:
    """Answer and judge all prompts, some at once."""
    engine = await open_transformers(str(TINY), "cpu", "auto", 64)
    slots = asyncio.Semaphore(ROWS_AT_ONCE)

    async def row(prompt: Prompt) -> Judged | None:
        async with slots:
            return await judged(engine, prompt, samples, principles)

    rows = await asyncio.gather(*map(row, prompts))
    await engine.close()
    return [row for row in rows if row is not None]


def show(console: Console, found: dict[str, Any]) -> None:
    """Print the figures."""
    table = Table("", "best found", "chosen good", "best-worst right", "comparisons", "tokens", box=None)
    for name, way in found["ways"].items():
        value, low, high = (f"{share:.1%}" for share in way["best"])
        pairs = f"{way['right_pairs']:.1%} of {way['pairs']:,}" if "pairs" in way else ""
        costs = f"{way['comparisons']:.1f}", f"{way['tokens']:,.0f}"
        table.add_row(name, f"{value} [{low}, {high}]", f"{way['good']:.1%}", pairs, *costs)
    console.print(f"{found['telling']:,} of {found['prompts']:,} prompts have answers of different worth")
    console.print(table)


@click.command()
@click.option("--limit", type=click.IntRange(1), default=300, show_default=True, help="Prompts.")
@click.option("--samples", type=click.IntRange(2), default=4, show_default=True, help="Answers a prompt.")
@click.option("--principles", type=click.IntRange(1), default=4, show_default=True, help="Principles a comparison.")
@click.option("--budget", type=click.IntRange(1), multiple=True, default=(3, 4, 5), show_default=True)
def main(limit: int, samples: int, principles: int, budget: tuple[int, ...]) -> None:
    """Rank, and compare with the oracle."""
    source = DataSource.parse(str(ROOT / "prompts/sets/tiny.jsonl"))
    prompts = [item for item in open_prompts(source, InputOptions(limit=limit)) if isinstance(item, Prompt)]
    found = compare(asyncio.run(measure(prompts, samples, principles)), budget)
    show(Console(width=160), found)
    known = orjson.loads(RESULTS.read_bytes()) if RESULTS.exists() else {}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    known[f"{samples} answers, {principles} principles"] = {"date": date, "cores": os.cpu_count(), **found}
    RESULTS.write_bytes(orjson.dumps(known, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
