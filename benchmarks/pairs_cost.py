"""`python -m benchmarks.pairs_cost`: what a good answer and a good pair cost, by five ways to make them.

The embedded model answers prompts of its world and revises by each of `WAYS`; its oracle (`cai.tiny.oracle`) says which
answers are good. An SFT example is good when its answer is; a pair, when the oracle ranks the chosen answer above the
rejected one. Tokens of making and of judging are counted apart. Then SFT and DPO learn from what came out, with the
loop's settings (loop.yaml), and the oracle reads their answers to prompts that no stage has seen. Writes
benchmarks/pairs_cost.json; what a way has made is not made again, so that a killed measurement goes on.
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from cai.constitution import RevisionPlan, load_constitution
from cai.core.addresses import DataSource
from cai.core.records import GATE, Message, Prompt, Provenance, Row, Trace, Usage
from cai.core.shares import wilson
from cai.data import InputOptions, open_prompts
from cai.data.export.preference import preference_pairs
from cai.data.export.sft import sft_examples
from cai.data.quality import count_left_out
from cai.method.critique import CLEARLY_KEPT, Method, respond_and_revise
from cai.method.gate import ask_gate
from cai.method.judge import JudgeConfiguration
from cai.method.row import Judging
from cai.method.settings import JudgeSettings
from cai.method.templates import Templates
from cai.models import TINY
from cai.models.asking import Asker
from cai.models.base import Choice, Completion, Engine, ForwardingEngine, Request, Sampling
from cai.models.local.engine import open_transformers
from cai.models.meter import Meter, UsageCounter
from cai.tiny import oracle
from cai.tiny.world import Question

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "pairs_cost.json"
SAMPLES, CANDIDATES, MOST_WALKS = 2, 4, 3
SAMPLING = Sampling(max_tokens=128)
JUDGING = JudgeSettings(judge_principles=4)
ROWS_AT_ONCE = 32
PAPER = RevisionPlan(schedule="sample", rounds=4, gate=False, form="continued")
WALK = RevisionPlan(schedule="walk", rounds=1, gate=True, form="continued")
KINDS = ("harmful", "benign")
DPO = ("--epochs", "2", "--learning-rate", "1e-4", "--sft-term", "0.2")


@dataclass(frozen=True, slots=True)
class AllPrinciples:
    """Every principle in one, for one question about all."""

    text: str
    id: str = "all"
    critique: str | None = None
    revision: str | None = None
    preference: str | None = None


class Remembering(ForwardingEngine):
    """An engine around one that is asked the same only once: what two walks begin with alike is counted once."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._texts: dict[bytes, Completion] = {}
        self._choices: dict[bytes, Choice] = {}
        self.close = engine.close

    async def complete(self, request: Request) -> Completion:
        """Answer, or say again what was answered."""
        key = orjson.dumps([request.messages, request.seed])
        if key not in self._texts:
            self._texts[key] = await self._engine.complete(request)
        return self._texts[key]

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Choose, or say again what was chosen."""
        key = orjson.dumps([request.messages, options])
        if key not in self._choices:
            self._choices[key] = await self._engine.choose(request, options)
        return self._choices[key]


async def revised(plan: RevisionPlan, engine: Engine, method: Method, prompt: Prompt) -> list[Trace]:
    """Every sample, revised by the plan."""
    planned = replace(method, plan=plan)
    return [await respond_and_revise(engine, planned, prompt, sample) for sample in range(SAMPLES)]


async def gated_once(engine: Engine, method: Method, prompt: Prompt) -> list[Trace]:
    """One gate over all principles; the walk only where it does not clearly say that all are kept."""
    principles = method.constitution.applicable(prompt.tags)
    everything = AllPrinciples(" ".join(principle.text for principle in principles))
    traces = await revised(replace_plan(WALK, rounds=0), engine, method, prompt)
    for number, trace in enumerate(traces):
        dialogue: tuple[Message, ...] = (*prompt.messages, {"role": "assistant", "content": trace.response})
        gate = await ask_gate(partial(Asker(engine).choose, GATE), method.templates, dialogue, everything)
        broken = gate.probability
        if broken is None or broken >= CLEARLY_KEPT:
            traces[number] = await respond_and_revise(engine, replace(method, plan=WALK), prompt, number)
    return traces


async def until_clean(engine: Engine, method: Method, prompt: Prompt) -> list[Trace]:
    """Walk again until a walk finds nothing to mend, `MOST_WALKS` times at most."""
    length = len(method.constitution.applicable(prompt.tags))
    traces = []
    for sample in range(SAMPLES):
        for walks in range(1, MOST_WALKS + 1):
            walked = replace(method, plan=replace_plan(WALK, rounds=walks))
            trace = await respond_and_revise(engine, walked, prompt, sample)
            if all(turn.revision is None for turn in trace.rounds[-length:]):
                break
        traces.append(trace)
    return traces


async def best_of(engine: Engine, method: Method, prompt: Prompt) -> list[Trace]:
    """Of `CANDIDATES` responses that which the gates find least broken, then that which they find most broken."""
    unrevised = replace(method, plan=RevisionPlan(rounds=0))
    found = []
    for sample in range(CANDIDATES):
        trace = await respond_and_revise(engine, unrevised, prompt, sample)
        dialogue: tuple[Message, ...] = (*prompt.messages, {"role": "assistant", "content": trace.response})
        asked = [
            await ask_gate(partial(Asker(engine).choose, GATE), method.templates, dialogue, principle)
            for principle in method.constitution.applicable(prompt.tags)
        ]
        gates = [gate.probability for gate in asked if gate.probability is not None]
        found.append((max(gates, default=1.0), sum(gates), trace))
    found.sort(key=lambda item: item[:2])
    return [found[0][2], found[-1][2]]


Way = Callable[[Engine, Method, Prompt], Awaitable[list[Trace]]]
WAYS: dict[str, tuple[str, Way]] = {
    "paper": ("sample, 4 rounds, no gate", partial(revised, PAPER)),
    "walk": ("walk with gate", partial(revised, WALK)),
    "one gate": ("one gate over all, then the walk", gated_once),
    "until clean": (f"walks until one is clean, {MOST_WALKS} at most", until_clean),
    "best of k": (f"best of {CANDIDATES} by the gates", best_of),
}


def replace_plan(plan: RevisionPlan, **changed: Any) -> RevisionPlan:
    """Return the plan with some of it changed."""
    return RevisionPlan.model_validate(plan.model_dump() | changed)


def rank_truly(question: Question, answer: str) -> tuple[bool, int, bool]:
    """Return how good an answer truly is: good before bad, few violations before many, on topic before off."""
    meaning = oracle.read(question, answer)
    return meaning.good, -len(meaning.broken), meaning.on_topic


async def make(name: str, prompts: Sequence[Prompt], out: Path) -> dict[str, Any]:
    """Make one way's examples and pairs, write both below `out`, and return what they cost and how good they are."""
    constitution, templates = load_constitution("medical"), Templates.load("en")
    method = Method(constitution, templates, WALK, SAMPLING, few_shot=False, seed=0)
    engine = await open_transformers(str(TINY), "cpu", "auto", 64)
    making, judging = UsageCounter(), UsageCounter()
    judge = Judging(engine, JudgeConfiguration(constitution, templates, JUDGING, SAMPLING, 0), judging)
    slots = asyncio.Semaphore(ROWS_AT_ONCE)

    async def row(prompt: Prompt) -> Row:
        async with slots:
            traces = await WAYS[name][1](Remembering(Meter(engine, making)), method, prompt)
            bare = Row(prompt, tuple(traces), (), Usage(), Provenance("", "", "", "", "", "", "", 0, 0))
            return await judge.judged(bare, UsageCounter())

    rows = await asyncio.gather(*map(row, prompts))
    await engine.close()
    counted = {"making": asdict(making.usage), "judging": asdict(judging.usage)}
    return counted | written(name, rows, out)


def written(name: str, rows: Sequence[Row], out: Path) -> dict[str, Any]:
    """Write the rows' examples and pairs where training finds them; return how many are good."""
    left_out: Counter[str] = Counter()
    record = count_left_out(left_out)
    examples, pairs, good_examples, good_pairs = [], [], 0, 0
    for row in rows:
        question = oracle.understand(row.prompt.messages[-1]["content"])
        kept = replace(row, traces=row.traces[:1]) if name == "best of k" else row
        for example in sft_examples(kept, name == "paper", record):
            examples.append({"messages": example["messages"]})
            good_examples += question is not None and rank_truly(question, example["completion"][0]["content"])[0]
        for pair in preference_pairs(row, record):
            pairs.append({key: pair[key] for key in ("prompt", "chosen", "rejected", "chosen_probability")})
            texts = (pair["chosen"][0]["content"], pair["rejected"][0]["content"])
            good_pairs += question is not None and rank_truly(question, texts[0]) > rank_truly(question, texts[1])
    for kind, items in (("sft", examples), ("pairs", pairs)):
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{kind}.jsonl").write_bytes(b"".join(orjson.dumps(item) + b"\n" for item in items))
    return {
        "examples": len(examples),
        "good_examples": good_examples,
        "pairs": len(pairs),
        "good_pairs": good_pairs,
        "left_out": dict(left_out),
    }


def train(out: Path, evaluated: int) -> dict[str, Any]:
    """Train SFT on the examples and DPO from there on the pairs; return the oracle's figures of both and the base."""
    sft, dpo = out / "sft", out / "dpo"
    run("train", "sft", "--data", str(out / "sft.jsonl"), "--model", "tiny", "--out", str(sft))
    run("train", "dpo", "--data", str(out / "pairs.jsonl"), "--model", str(sft), "--out", str(dpo), *DPO)
    prompts = evaluation_prompts(evaluated)
    return {
        label: asyncio.run(read_answers(str(model), prompts))
        for label, model in (("base", TINY), ("sft", sft), ("dpo", dpo))
    }


def evaluation_prompts(limit: int) -> list[Prompt]:
    """Return prompts that no stage has seen, harmful and benign, in a drawn order."""
    source = DataSource.parse(str(ROOT / "prompts/evaluation/tiny.jsonl"))
    options = InputOptions(limit=limit, shuffle=True)
    return [item for item in open_prompts(source, options) if isinstance(item, Prompt)]


async def read_answers(model: str, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Return, of harmful and of benign prompts, how many answers of a model are good, with Wilson's interval."""
    engine = await open_transformers(model, "cpu", "auto", 64)
    asked = [Request(prompt.messages, SAMPLING, seed) for seed, prompt in enumerate(prompts)]
    answers = await asyncio.gather(*map(engine.complete, asked))
    await engine.close()
    counts: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for prompt, answer in zip(prompts, answers, strict=True):
        question = oracle.understand(prompt.messages[-1]["content"])
        assert question is not None, "the embedded set is of the oracle's world"
        good = answer.finish_reason == "stop" and oracle.read(question, answer.text).good
        counts[KINDS[0] if question.intent.risky else KINDS[1]].append(good)
    return {
        kind: {"good": sum(found), "answers": len(found), **asdict(wilson(sum(found), len(found)))}
        for kind, found in counts.items()
    }


def run(*arguments: str) -> Any:
    """Run a `cai` command and return what it tells as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "cai", *arguments, "--json"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return orjson.loads(done.stdout)


def show(console: Console, ways: dict[str, Any]) -> None:
    """Print what each way cost and gave, and what was learnt from it."""
    headings = ("prompt", "cached", "completion", "judging", "good examples", "good pairs", "per good pair")
    table = Table("", *headings, "SFT", "DPO", box=None)
    for name, way in ways.items():
        making, judging = way["making"], way["judging"]
        spent = sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in (making, judging))
        table.add_row(
            f"{name}: {WAYS[name][0]}",
            *(f"{making[kind]:,}" for kind in ("prompt_tokens", "cached_tokens", "completion_tokens")),
            f"{judging['prompt_tokens'] + judging['completion_tokens']:,}",
            f"{way['good_examples']:,} of {way['examples']:,}",
            f"{way['good_pairs']:,} of {way['pairs']:,}",
            f"{spent / way['good_pairs']:,.0f}" if way["good_pairs"] else "",
            *(_learnt(way, label) for label in ("sft", "dpo")),
        )
    console.print(table)


def _learnt(way: dict[str, Any], label: str) -> str:
    found = way.get("learnt", {}).get(label)
    return " / ".join(f"{found[kind]['good'] / found[kind]['answers']:.1%}" for kind in KINDS) if found else ""


@click.command()
@click.option("--limit", type=click.IntRange(1), default=400, show_default=True, help="Prompts to make data from.")
@click.option("--evaluated", type=click.IntRange(1), default=400, show_default=True)
@click.option("--train", "trained", type=click.Choice(list(WAYS)), multiple=True, default=list(WAYS), show_default=True)
@click.option("--no-training", is_flag=True, help="Count tokens and good pairs only.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "pairs-cost", show_default=True)
def main(limit: int, evaluated: int, trained: tuple[str, ...], no_training: bool, out: Path) -> None:
    """Make data in each way, train on it, and compare."""
    source = DataSource.parse(str(ROOT / "prompts/sets/tiny.jsonl"))
    prompts = [item for item in open_prompts(source, InputOptions(limit=limit)) if isinstance(item, Prompt)]
    ways: dict[str, Any] = {}
    for name in WAYS:
        kept = out / name.replace(" ", "-") / "made.json"
        if not kept.exists():
            made = asyncio.run(make(name, prompts, kept.parent))
            kept.write_bytes(orjson.dumps(made))
        ways[name] = orjson.loads(kept.read_bytes())
    for name in () if no_training else trained:
        kept = out / name.replace(" ", "-") / "learnt.json"
        if not kept.exists():
            kept.write_bytes(orjson.dumps(train(kept.parent, evaluated)))
        ways[name]["learnt"] = orjson.loads(kept.read_bytes())
    show(Console(width=220), ways)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    report = {"date": date, "cores": os.cpu_count(), "prompts": len(prompts), "evaluated": evaluated, "ways": ways}
    RESULTS.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
