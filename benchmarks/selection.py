"""`python -m benchmarks.selection`: what selecting one answer of each prompt gains, by the oracle, and what it costs.

The embedded model answers prompts of its world that it never trained on, several times, and revises each answer. From
the same answers every selector chooses one; the oracle says whether it is good. Beside them stand the answer that is
drawn, the first response, the last revision of the first sample, and the share of prompts that have a good answer at
all, which nobody can pass. The reward model is trained here on pairs of other prompts. Writes selection.json here.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import orjson
import torch
from rich.console import Console
from rich.table import Table

import cai
from cai.constitution import RevisionPlan, load_constitution
from cai.core.addresses import DataSource
from cai.core.records import Prompt, Provenance, Row, Usage
from cai.core.shares import wilson
from cai.data import InputOptions, open_prompts
from cai.data.export.selecting import preferred
from cai.method.critique import Method, respond_and_revise
from cai.method.judge import JudgeConfiguration
from cai.method.row import Judging
from cai.method.scoring import Scoring
from cai.method.selectors import SelectorName
from cai.method.settings import JudgeSettings, RankingSettings
from cai.method.steps import answers
from cai.method.templates import Templates
from cai.models import TINY
from cai.models.base import Engine, Sampling
from cai.models.local.engine import open_transformers
from cai.models.meter import Meter, UsageCounter
from cai.models.reward_model import RewardModel
from cai.tiny import oracle

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "selection.json"
SAMPLING = Sampling(max_tokens=128)
ROWS_AT_ONCE = 32
SEED = 0
PROVENANCE = Provenance("", "", "", "", "", "", "", SEED, SEED)

Way = tuple[str, SelectorName]


@dataclass(frozen=True, slots=True)
class Made:
    """A prompt's row as each way of selecting sees it."""

    rows: dict[str, Row]

    def is_good(self, text: str) -> bool:
        """Return what the oracle says of an answer."""
        question = oracle.understand(self.rows["judge"].prompt.messages[-1]["content"])
        return question is not None and oracle.read(question, text).good

    def chosen(self, way: str, by: SelectorName) -> str | None:
        """Return the text that is chosen; None where nothing is known to choose by."""
        found = preferred(self.rows[way], by, lambda _entry: None)
        return found[0].step.text if found else None


class Maker:
    """Makes rows and counts what each way of selecting asks more than the answers themselves."""

    def __init__(self, engine: Engine, reward: RewardModel, samples: int, principles: int) -> None:
        constitution, templates = load_constitution("medical"), Templates.load("en")
        plan = RevisionPlan(schedule="walk", rounds=1, gate=True)
        self._method = Method(constitution, templates, plan, SAMPLING, few_shot=False, seed=SEED)
        self._configuration = JudgeConfiguration(constitution, templates, JudgeSettings(principles), SAMPLING, SEED)
        self._engine, self._reward, self._samples = engine, reward, samples
        self._slots = asyncio.Semaphore(ROWS_AT_ONCE)
        self.usage = {name: UsageCounter() for name in ("answers", "judge", "judge, every pair", "gates")}
        self.reward_seconds = 0.0

    async def make(self, prompt: Prompt) -> Made:
        """Return a prompt's rows."""
        async with self._slots:
            answering = Meter(self._engine, self.usage["answers"])
            traces = [await respond_and_revise(answering, self._method, prompt, one) for one in range(self._samples)]
            bare = Row(prompt, tuple(traces), (), Usage(), PROVENANCE)
            rows = {"bare": bare}
            for name, ranking in (("judge", RankingSettings()), ("judge, every pair", RankingSettings(rank=True))):
                judging = Judging(self._engine, self._configuration, self.usage[name], ranking)
                rows[name] = await judging.judged(bare, UsageCounter())
            scoring = Scoring("gates", self._engine, self._configuration, self.usage["gates"])
            rows["gates"] = await scoring.scored(bare, UsageCounter())
            started = perf_counter()
            rows["reward"] = await replace(scoring, by="reward", reward=self._reward).scored(bare, UsageCounter())
            self.reward_seconds += perf_counter() - started
            return Made(rows)


WAYS: Sequence[Way] = (
    ("bare", "random"),
    ("judge", "judge"),
    ("judge, every pair", "judge"),
    ("gates", "gates"),
    ("reward", "reward"),
)


def train_reward(directory: Path, prompts: int) -> Path:
    """Train a reward model on the judge's labels about the world's other prompts; return where it is."""
    run = cai.generate(
        constitution="medical", prompts="tiny", limit=prompts, max_tokens=128, judge_principles=4,
        out=directory / "run", judge_check=False, progress=False, shuffle=True,
    )  # fmt: skip
    cai.train("reward", model="tiny", data=run, out=directory / "reward", progress=False)
    return directory / "reward"


def share(good: Sequence[bool]) -> dict[str, Any]:
    """Return the share with its interval."""
    found = wilson(sum(good), len(good))
    return {"share": found.value, "low": found.low, "high": found.high, "prompts": len(good)}


async def measure(prompts: Sequence[Prompt], reward: Path, samples: int, principles: int) -> dict[str, Any]:
    """Return what each way chooses and costs."""
    engine = await open_transformers(str(TINY), "cpu", "auto", 64)
    maker = Maker(engine, RewardModel(reward, torch.device("cpu")), samples, principles)
    made = [one for one in await asyncio.gather(*map(maker.make, prompts)) if len(answers(one.rows["bare"].traces)) > 1]
    await engine.close()
    found: dict[str, Any] = {
        "first response": share([one.is_good(one.rows["bare"].traces[0].response) for one in made]),
        "last revision": share([one.is_good(one.rows["bare"].traces[0].final) for one in made]),
    }
    for way, by in WAYS:
        texts = [one.chosen(way, by) for one in made]
        chosen = [one.is_good(text) for one, text in zip(made, texts, strict=True) if text is not None]
        named = "random" if by == "random" else way
        found[named] = share(chosen) | {"nothing chosen": texts.count(None)}
        if way in maker.usage:
            usage = maker.usage[way].usage
            found[named] |= {"tokens": usage.prompt_tokens + usage.completion_tokens, "requests": usage.requests}
    any_good = [any(one.is_good(step.text) for step in answers(one.rows["bare"].traces).values()) for one in made]
    found["any good answer"] = share(any_good)
    return {
        "ways": found,
        "answers": sum(len(answers(one.rows["bare"].traces)) for one in made) / len(made),
        "one answer": len(prompts) - len(made),
        "making": asdict(maker.usage["answers"].usage),
        "reward_seconds": maker.reward_seconds,
    }


@click.command()
@click.option("--limit", default=150, show_default=True, help="Prompts that are answered.")
@click.option("--samples", default=4, show_default=True, help="Responses a prompt.")
@click.option("--principles", default=4, show_default=True, help="Principles a comparison is judged under.")
@click.option("--train", default=300, show_default=True, help="Prompts whose pairs the reward model learns from.")
@click.option("--reward", type=click.Path(path_type=Path), help="A reward model that is trained already.")
def main(limit: int, samples: int, principles: int, train: int, reward: Path | None) -> None:
    """Measure, print and write down."""
    source = DataSource.parse(str(ROOT / "prompts" / "evaluation" / "tiny.jsonl"))
    items = open_prompts(source, InputOptions(limit=limit, shuffle=True, seed=SEED))
    prompts = [item for item in items if isinstance(item, Prompt)]
    with tempfile.TemporaryDirectory() as directory:
        model = reward or train_reward(Path(directory), train)
        result = asyncio.run(measure(prompts, model, samples, principles))
    learned = train if reward is None else None  # of a model that was given it is not known
    settings = {"limit": limit, "samples": samples, "principles": principles, "train": learned}
    result |= {"when": datetime.now(UTC).isoformat(timespec="seconds"), "settings": settings, "cpus": os.cpu_count()}
    RESULTS.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    table = Table("selected by", "good answers", "nothing chosen", "tokens more a prompt", box=None)
    for name, one in result["ways"].items():
        tokens = f"{one['tokens'] / one['prompts']:,.0f}" if "tokens" in one else ""
        good = f"{100 * one['share']:.0f} % [{100 * one['low']:.0f}, {100 * one['high']:.0f}] of {one['prompts']}"
        table.add_row(name, good, str(one.get("nothing chosen", "")), tokens)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
