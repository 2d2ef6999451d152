"""How busy `cai generate` keeps a server while its input and its run directory let it wait.

Twice 2,688 rows of respond, critique, revise and judge (one order) against a fresh stand-in server of 256 slots at 100
ms a token: once from a local file into a local directory, once from an input that takes 50 ms a row to read into a run
at a URL that takes 2 s to answer. The slots must be as busy in both, within two points. The first 288 rows of the slow
input come at once, because no pipeline serves rows that are not there; then it gives half as much again as the slots
need. There are so many rows because a last round of 6 s requests leaves slots empty in either, and not equally many.

`python -m benchmarks.waiting` measures it, in about eight minutes.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import click
import orjson
import uvloop

from benchmarks.costs import Costs
from benchmarks.figures import Figure, print_figures
from benchmarks.pipeline import REQUESTS_PER_ROW
from benchmarks.processes import MeasuringError, read_stats, stand_in, timed
from benchmarks.prompts import write_prompts
from cai.core.addresses import DataSource
from cai.core.records import Failure, Prompt
from cai.core.urls import RemoteFolder
from cai.data import Prompts
from cai.generate.plan import plan_generate
from cai.generate.run import generate
from cai.generate.settings import GenerateSettings
from cai.method.settings import JudgeSettings
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.watch import Watch
from cai.rundir import working_copy

AT_ONCE, LATER = 288, 2_400
"""Rows of the slow input."""

READ_SECONDS, ANSWER_SECONDS = 0.05, 2.0
DECODE_MS = 100
POINTS = 2.0


@dataclass(frozen=True, slots=True)
class SlowPrompts:
    """Prompts that take their time."""

    prompts: Prompts

    def __iter__(self) -> Iterator[Prompt | Failure]:
        for number, item in enumerate(self.prompts):
            if number >= AT_ONCE:
                time.sleep(READ_SECONDS)
            yield item

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prompts, name)


def slowly(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Return what asks a server, with the server taking its time."""

    def asked(*arguments: Any, **options: Any) -> Any:
        time.sleep(ANSWER_SECONDS)
        return ask(*arguments, **options)

    return asked


def measure(rows: int = AT_ONCE + LATER, decode_ms: int = DECODE_MS) -> list[Figure]:
    """Return how busy the slots were either way; raises MeasuringError when a run does not do all its rows."""
    busy = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_prompts(folder / "prompts.jsonl", rows)
        for way in ("local", "slow"):
            with stand_in(Costs(decode_us=1000 * decode_ms)) as address:
                command = [sys.executable, "-m", "benchmarks.waiting", "--run", way, address, name]
                summary = orjson.loads(timed(command, {"XDG_STATE_HOME": str(folder / "state")}).output)
                if (summary["done"], summary["requests"]) != (rows, rows * REQUESTS_PER_ROW):
                    raise MeasuringError(f"{rows} rows of {REQUESTS_PER_ROW} requests were to be made, not {summary}")
                busy[way] = 100 * read_stats(address)["busy_share"]
    return [
        Figure("slots busy, a local file and directory", busy["local"], "%"),
        Figure("slots busy, 50 ms a row and 2 s an answer", busy["slow"], "%", busy["local"] - POINTS, "at least"),
    ]


def run(way: str, address: str, folder: Path) -> None:
    """Generate once in this process, as `benchmarks.pipeline` has the command do it, and print the summary."""
    for method in ("sizes", "read", "get", "put", "write"):
        setattr(RemoteFolder, method, slowly(getattr(RemoteFolder, method)))
    settings = GenerateSettings(
        "harmless",
        engine=EngineSettings(concurrency=Costs().slots),
        judging=JudgeSettings(judge_orders="one"),
        model=ModelSpec.parse(f"openai:mock@{address}/v1"),
        prompts=DataSource.parse(str(folder / "prompts.jsonl")),
        samples=1,
        schedule="sample",
        rounds=1,
        gate=False,
        max_tokens=64,
        out=folder / "run" if way == "local" else working_copy(f"file://{folder}/there/run"),
    )
    plan = plan_generate(settings)
    if way == "slow":
        plan = replace(plan, prompts=cast("Prompts", SlowPrompts(plan.prompts)))
    summary = uvloop.run(generate(plan, Watch()))
    os.write(1, orjson.dumps(summary.as_json()))


@click.command()
@click.option("--run", "way", type=click.Choice(["local", "slow"]), hidden=True)
@click.argument("words", nargs=-1)
def main(way: str | None, words: tuple[str, ...]) -> None:
    """Measure what waiting costs."""
    if way is None:
        print_figures("waiting", measure())
    else:
        run(way, words[0], Path(words[1]))


if __name__ == "__main__":
    main()
