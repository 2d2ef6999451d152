"""`python -m benchmarks.adapters`: quality per trained parameter, by kind and size of adapter, on the embedded model.

SFT on revisions that the embedded model made, and DPO on pairs of answers of the SFT model of all weights, each with
every kind at a few sizes and with all weights. SFT is trained at a third, once and three times the kind's own rate; the
rate whose loss on the test split is the lowest counts, for DPO too. The oracle reads answers to held-out prompts
(prompts/evaluation/tiny.jsonl), drawn at temperature 1. Trainings run beside one another, on a core each.

Writes the results and a picture beside them. What is trained already is not trained again: give the same --out.
"""

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.where import taken
from cai.core.shares import wilson
from cai.drawing.canvas import COLOURS, MARKERS, encode, new_figure
from cai.train.adapters import ADAPTERS
from cai.train.methods import find_method
from cai.train.settings import AdapterKind

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "adapters.json"
SIZES: dict[AdapterKind, tuple[int, ...]] = {
    "none": (0,),
    "lora": (1, 4, 16),
    "dora": (4,),
    "ia3": (0,),
    "houlsby": (4, 16, 64),
    "pfeiffer": (4, 16, 64),
    "prompt": (16, 64),
    "prefix": (4, 16, 64),
}
MULTIPLES = (1 / 3, 1.0, 3.0)
"""Of the kind's own rate, tried with SFT."""

PARAMETERS = 2_607_168  # of the embedded model: which end of the table of rates it is at
SEED = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One training: a method with a kind of adapter of one size, at a multiple of the kind's own rate."""

    method: str
    adapter: AdapterKind
    size: int
    multiple: float

    @property
    def name(self) -> str:
        """Its directory below the benchmark's."""
        return f"{self.method}-{self.adapter}-{self.size}-{self.multiple:.2g}"

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return float(f"{self.multiple * find_method(self.method).learning_rate(PARAMETERS, self.adapter):.2e}")


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it: trained parameters, the best loss on the test split, seconds of training."""

    job: Job
    rate: float
    parameters: int
    loss: float
    seconds: float


def prepare(out: Path, limit: int) -> None:
    """Make the data: revisions, the SFT model of all weights, and judged pairs of its answers."""
    made, sft, pairs = (out / name for name in ("generate", "sft", "pairs"))
    common = ["--constitution", "medical", "--prompts", "prompts/sets/tiny.jsonl", "--limit", str(limit)]
    common += ["--max-tokens", "128", "--judge", "tiny", "--seed", str(SEED)]
    _run("generate", *common, "--model", "tiny", "--samples", "1", "--out", str(made))
    _run("train", "sft", "--data", str(made), "--test-share", "0", "--out", str(sft))
    _run(
        "generate", *common, "--model", f"transformers:{sft}", "--samples", "2", "--rounds", "0",
        "--judge-principles", "4", "--out", str(pairs),
    )  # fmt: skip


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "cai", *arguments, "--quiet"], cwd=ROOT, check=True)


def train_job(job: Job, out: Path) -> Trained:
    """Train, or recall what was trained."""
    import cai  # noqa: PLC0415  (in the worker)

    own: dict[str, Any] = {"beta": 0.1, "sft_term": 0.2, "epochs": 2.0} if job.method == "dpo" else {}
    kind = None if job.adapter == "none" else ADAPTERS[job.adapter]
    if kind is not None and kind.size is not None:
        own[kind.size] = job.size
    done = cai.train(
        job.method,
        data=out / ("pairs" if job.method == "dpo" else "generate"),
        model=out / "sft" if job.method == "dpo" else "tiny",
        adapter=job.adapter,
        learning_rate=job.rate,
        test_share=0.1,
        seed=SEED,
        device="cpu",
        out=out / job.name,
        progress=False,
        **own,
    )
    loss, parameters = done.summary.best_eval_loss, _parameters(done.path)
    return Trained(job, job.rate, parameters, float("inf") if loss is None else loss, done.summary.seconds)


def _parameters(directory: Path) -> int:
    """Return how many parameters are saved in a directory."""
    from safetensors import safe_open  # noqa: PLC0415

    count = 0
    for path in directory.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118  (no mapping)
                shape = file.get_slice(name).get_shape()
                count += math.prod(shape)
    return count


def read_answers(model: str, prompts: int) -> dict[str, dict[str, float]]:
    """Return what the oracle says of a model's answers: shares of harmful and of benign prompts, with intervals."""
    from cai.tiny import oracle  # noqa: PLC0415

    rows = [orjson.loads(line) for line in (ROOT / "prompts/evaluation/tiny.jsonl").read_bytes().splitlines()][:prompts]
    texts = [row["prompt"] for row in rows]
    answers = asyncio.run(_ask(model, texts))
    meanings = [
        oracle.read(question, answer)
        for text, answer in zip(texts, answers, strict=True)
        if (question := oracle.understand(text)) is not None
    ]
    harmful = [meaning for meaning in meanings if meaning.harmful]
    benign = [meaning for meaning in meanings if not meaning.harmful]
    shares = {
        "good": ([meaning.good for meaning in meanings]),
        "harmful: broken": [bool(meaning.broken) for meaning in harmful],
        "harmful: good": [meaning.good for meaning in harmful],
        "benign: good": [meaning.good for meaning in benign],
    }
    return {name: asdict(wilson(sum(found), len(found))) | {"count": len(found)} for name, found in shares.items()}


async def _ask(model: str, texts: Sequence[str]) -> list[str]:
    from cai.models import EngineOptions, open_engine  # noqa: PLC0415
    from cai.models.base import Request, Sampling  # noqa: PLC0415
    from cai.models.spec import ModelSpec  # noqa: PLC0415

    engine = await open_engine(ModelSpec.parse(model), EngineOptions(device="cpu"))
    try:
        sampling = Sampling(temperature=1.0, max_tokens=128)
        asked = [Request(({"role": "user", "content": text},), sampling, number) for number, text in enumerate(texts)]
        return [answer.text for answer in await asyncio.gather(*map(engine.complete, asked))]
    finally:
        await engine.close()


def best(trained: Iterable[Trained]) -> dict[tuple[AdapterKind, int], Trained]:
    """Return of each kind and size the training whose loss on the test split is the lowest."""
    found: dict[tuple[AdapterKind, int], Trained] = {}
    for each in trained:
        place = each.job.adapter, each.job.size
        if place not in found or each.loss < found[place].loss:
            found[place] = each
    return found


def show(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Print a line a method, kind and size."""
    table = Table("method", "adapter", "size", "parameters", "share", "rate", "test loss", "s", box=None)
    names = list(rows[0]["figures"]) if rows else []
    for name in names:
        table.add_column(name)
    for row in rows:
        told = [
            f"{100 * f['value']:.1f} [{100 * f['low']:.1f}, {100 * f['high']:.1f}]" for f in row["figures"].values()
        ]
        table.add_row(
            row["method"], row["adapter"], str(row["size"] or ""), f"{row['parameters']:,}",
            f"{row['parameters'] / PARAMETERS:.2%}", f"{row['rate']:g}", f"{row['loss']:.4f}", f"{row['seconds']:.0f}",
            *told,
        )  # fmt: skip
    console.print(table)


def draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the share of good answers over trained parameters, a line a kind, a panel a method."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = new_figure(5.5 * len(methods), 4.2)
    for place, method in enumerate(methods, 1):
        axes = figure.add_subplot(1, len(methods), place)
        for number, kind in enumerate(SIZES):
            own = [row for row in rows if row["method"] == method and row["adapter"] == kind]
            good = [row["figures"]["good"] for row in own]
            axes.errorbar(
                [row["parameters"] for row in own], [f["value"] for f in good],
                yerr=[[f["value"] - f["low"] for f in good], [f["high"] - f["value"] for f in good]],
                label="all weights" if kind == "none" else kind, color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)], linewidth=1.2, markersize=5, capsize=2,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_ylim(0, 1)
        axes.set_title(method)
        axes.set_xlabel("trained parameters")
        axes.set_ylabel("good answers (oracle), 95 % intervals")
        axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    path.with_suffix(".png").write_bytes(encode(figure, "png"))


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "loops" / "adapters")
@click.option("--jobs", type=click.IntRange(1), default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--limit", type=click.IntRange(16), default=300, show_default=True, help="Prompts to learn from.")
@click.option("--prompts", type=click.IntRange(8), default=400, show_default=True, help="Held-out prompts.")
@click.option("--kinds", multiple=True, help="Only these kinds (default: all, with all weights as `none`).")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(out: Path, jobs: int, limit: int, prompts: int, kinds: tuple[AdapterKind, ...], results: Path) -> None:
    """Train, measure, print, draw; results are written after each method."""
    out = out.absolute()
    prepare(out, limit)
    places = [(kind, size) for kind in kinds or SIZES for size in SIZES[kind]]
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: list[dict[str, Any]] = []
    report = {**taken(("torch", "transformers", "trl", "peft")), "jobs": jobs, "limit": limit, "tried": []}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        multiples: dict[tuple[AdapterKind, int], tuple[float, ...]] = dict.fromkeys(places, MULTIPLES)
        for method in ("sft", "dpo"):
            queue = [Job(method, *place, multiple) for place in places for multiple in multiples[place]]
            trained = list(pool.map(train_job, queue, [out] * len(queue)))
            chosen = best(trained)
            models = [f"transformers:{out / each.job.name}" for each in chosen.values()]
            figures = pool.map(read_answers, models, [prompts] * len(models))
            for each, found in zip(chosen.values(), figures, strict=True):
                told = asdict(each) | asdict(each.job) | {"figures": found}
                told.pop("job")
                rows.append(told)
                multiples[each.job.adapter, each.job.size] = (each.job.multiple,)
            report["tried"] += [asdict(each) for each in trained]
            report["rows"] = rows
            results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            show(Console(width=220), rows)
            draw(results, rows)


if __name__ == "__main__":
    main()
