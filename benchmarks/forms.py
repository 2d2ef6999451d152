"""`python -m benchmarks.forms MODEL DIALOGUES.jsonl`: what a form of asking gives on a real model, and what it costs.

Dialogues are lines with `id` and `prompt`, a list of messages that ends with the user's. Each gets responses, which are
revised as in the paper (drawn principles, no gate) in each form. Told are revisions and SFT examples that are junk by
`cai.method.junk`, requests, and tokens; first responses are the same in all forms and are not counted. With `--tries 1`
nothing is asked for again. Results and texts are written to benchmarks/forms.json.
"""

import asyncio
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from cai.constitution import RevisionPlan, load_constitution
from cai.core.records import Prompt, Provenance, Row, Trace, Usage
from cai.data.export.sft import sft_examples
from cai.data.quality import count_left_out
from cai.evaluate.attacking import PrefilledEngine
from cai.method import critique
from cai.method.critique import Method, respond_and_revise
from cai.method.junk import KINDS, Asked, find_junk
from cai.method.templates import Templates
from cai.models import open_engine
from cai.models.base import Completion, Engine, Request, Sampling
from cai.models.meter import Meter, UsageCounter
from cai.models.spec import ModelSpec

RESULTS = Path(__file__).parent / "forms.json"
CONSTITUTION, SAMPLES, ROUNDS, MAX_TOKENS = "harmless", 2, 2, 128
FORMS = ("continued", "anew")


def read_dialogues(path: Path, limit: int) -> list[Prompt]:
    """Return the first prompts of a file."""
    lines = path.read_bytes().splitlines()[:limit]
    rows = [orjson.loads(line) for line in lines]
    return [Prompt(row["id"], number, tuple(row["prompt"])) for number, row in enumerate(rows)]


class PrefilledRevisions(PrefilledEngine):
    """An engine whose revisions alone begin with a given text: the requests that a method's critiques precede."""

    __slots__ = ("_asking",)

    def __init__(self, engine: Engine, method: Method, prefill: str) -> None:
        super().__init__(engine, prefill)
        self._asking = {method.templates.revision(principle) for principle in method.constitution.principles}

    async def complete(self, request: Request) -> Completion:
        """Complete; a revision's text has its beginning."""
        first, last = request.messages[0], request.messages[-1]
        if last["content"] in self._asking or first["role"] == "system":
            return await super().complete(request)
        return await self._engine.complete(request)


async def measure(model: str, prompts: list[Prompt], method: Method, prefill: str) -> dict[str, Any]:
    """Revise responses to the prompts, and return what came out and what it cost."""
    engine: Engine = await open_engine(ModelSpec.parse(model))
    if prefill:
        engine = PrefilledRevisions(engine, method, prefill)
    first, whole = UsageCounter(), UsageCounter()
    unrevised = replace(method, plan=RevisionPlan(rounds=0))
    asked = [(prompt, sample) for prompt in prompts for sample in range(SAMPLES)]
    await asyncio.gather(*(respond_and_revise(Meter(engine, first), unrevised, *item) for item in asked))
    started = time.monotonic()
    traces = await asyncio.gather(*(respond_and_revise(Meter(engine, whole), method, *item) for item in asked))
    seconds = time.monotonic() - started
    await engine.close()
    usage = whole.usage - first.usage
    return {**counts(prompts, traces), **asdict(usage), "seconds": round(seconds, 1)}


def counts(prompts: list[Prompt], traces: list[Trace]) -> dict[str, Any]:
    """Return how much is junk, and the texts."""
    left_out: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    revisions = junk = examples = junk_examples = 0
    nobody = Provenance("", "", "", "", "", "", "", 0, 0)
    for number, prompt in enumerate(prompts):
        own = tuple(traces[number * SAMPLES : (number + 1) * SAMPLES])
        row = Row(prompt, own, (), Usage(), nobody)
        for trace in own:
            for turn in trace.rounds:
                found = find_junk(
                    turn.revision or "", Asked(prompt.messages, critique=turn.critique or ""), truncated=turn.truncated
                )
                kinds.update(found)
                revisions += 1
                junk += bool(found)
        for example in sft_examples(row, False, count_left_out(left_out)):
            examples += 1
            junk_examples += bool(find_junk(example["completion"][0]["content"], Asked(prompt.messages)))
    rounds = [asdict(turn) for trace in traces for turn in trace.rounds]
    asked = 3 * sum(len(trace.rounds) for trace in traces)
    return {
        "junk": {
            "revisions": revisions,
            "junk_revisions": junk,
            "examples": examples,
            "junk_examples": junk_examples,
            "kinds": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
        },
        "left_out": dict(left_out),
        "requests_without_tries": asked,
        "rounds": rounds,
    }


def show(console: Console, measured: dict[str, dict[str, Any]]) -> None:
    """Print a line for each form."""
    table = Table("", "junk revisions", "clean SFT", "prompt", "cached", "completion", "seconds", "kinds", box=None)
    for name, one in measured.items():
        junk = one["junk"]
        table.add_row(
            name,
            f"{junk['junk_revisions']} of {junk['revisions']}",
            f"{junk['examples'] - junk['junk_examples']} of {junk['examples']}",
            *(f"{one[key]:,}" for key in ("prompt_tokens", "cached_tokens", "completion_tokens")),
            f"{one['seconds']:,.0f}",
            ", ".join(f"{kind} {count}" for kind, count in junk["kinds"].items()),
        )
    console.print(table)


@click.command()
@click.argument("model")
@click.argument("dialogues", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--form", "forms", type=click.Choice(FORMS), multiple=True, default=FORMS, show_default=True)
@click.option("--revise-temperature", type=float, default=1.0, show_default=True)
@click.option("--tries", type=click.IntRange(1), default=critique.REVISION_TRIES, show_default=True)
@click.option("--few-shot", is_flag=True)
@click.option("--prefill", default="", help="How a revision begins; dialogues must have no system turn.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(
    model: str,
    dialogues: Path,
    limit: int,
    forms: tuple[str, ...],
    revise_temperature: float,
    tries: int,
    few_shot: bool,
    prefill: str,
    results: Path,
) -> None:
    """Measure forms of asking on MODEL with the dialogues of a file."""
    prompts, critique.REVISION_TRIES = read_dialogues(dialogues, limit), tries
    constitution, templates = load_constitution(CONSTITUTION), Templates.load("en")
    sampling = Sampling(max_tokens=MAX_TOKENS)
    measured = orjson.loads(results.read_bytes()) if results.exists() else {}
    for form in forms:
        plan = RevisionPlan.model_validate({"schedule": "sample", "rounds": ROUNDS, "gate": False, "form": form})
        method = Method(constitution, templates, plan, sampling, few_shot, 0)
        method = replace(method, revising=replace(sampling, temperature=revise_temperature))
        name = f"{form}{', few-shot' if few_shot else ''}, temperature {revise_temperature}, {tries} tries"
        name += f", begun with {prefill!r}" if prefill else ""
        measured[name] = asyncio.run(measure(model, prompts, method, prefill)) | {
            "model": model,
            "dialogues": len(prompts),
        }
        results.write_bytes(orjson.dumps(measured, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    show(Console(width=200), measured)


if __name__ == "__main__":
    main()
