"""`python -m benchmarks.loops`: the loop on the embedded model over seeds, and all methods on one seed's data.

Every figure is the oracle's, at temperature 1, on prompts of prompts/evaluation/tiny.jsonl: no stage was trained on
them. The loops are those of `make loop` (loop.yaml); the methods start from the first seed's SFT model and learn from
its pairs, or from its prompts. Writes benchmarks/loops.json, and takes about forty minutes on two cores.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from cai.evaluate.chart import ChartRow, draw_chart
from cai.evaluate.results import Measurement
from cai.train.methods import find_method

ROOT = Path(__file__).parent.parent
RECIPE = Path(__file__).parent / "loop.yaml"
RESULTS = Path(__file__).parent / "loops.json"
METHODS: dict[str, Sequence[str]] = {
    "kto": ("kto", "--data {pairs}", "--epochs 2", "--learning-rate 1e-4"),
    "orpo": ("orpo", "--data {pairs}", "--epochs 2", "--learning-rate 1e-4"),
    "dpo-no-sft-term": ("dpo", "--data {pairs}", "--epochs 2", "--learning-rate 1e-4"),
    "dpo-hard-labels": ("dpo", "--data {pairs}", "--epochs 2", "--learning-rate 1e-4", "--labels hard --sft-term 0.2"),
    "grpo-judge": ("grpo", "--data {prompts}", "--constitution medical", "--judge tiny", "--max-steps 30"),
    "rloo-judge": ("rloo", "--data {prompts}", "--constitution medical", "--judge tiny", "--max-steps 30"),
    "ppo-judge": ("ppo", "--data {prompts}", "--constitution medical", "--judge tiny", "--max-steps 30"),
    "reward": ("reward", "--data {pairs}", "--epochs 2"),
    "grpo-reward-model": ("grpo", "--data {prompts}", "--reward-model {reward}", "--max-steps 60"),
    "ppo-reward-model": ("ppo", "--data {prompts}", "--reward-model {reward}", "--max-steps 60"),
}  # fmt: skip
"""`cai train`'s arguments by row of the table; `reward` has no row, it serves those behind it.

Methods that draw responses have the same number of them with the same number of steps.
"""

FIGURES = (
    "oracle: breaks something, harmful",
    "oracle: good, harmful",
    "oracle: good, benign",
    "oracle: refuses, benign",
    "oracle: on topic",
    "distinct-2",
)


def run(*arguments: str) -> Any:
    """Run a `cai` command and return what it tells as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "cai", *arguments, "--json"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return orjson.loads(done.stdout)


def figures(evaluation: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the figures of interest, by model and name."""
    return {
        model["label"]: {figure["name"]: figure for figure in model["measurements"] if figure["name"] in FIGURES}
        for model in evaluation["models"]
    }


def measure_loops(out: Path, seeds: int) -> list[dict[str, Any]]:
    """Run the loop once a seed; those that are there are not run again."""
    loops = []
    for seed in range(seeds):
        directory = out / f"seed-{seed}"
        told = run("loop", "--config", str(RECIPE), "--seed", str(seed), "--out", str(directory))
        began = orjson.loads((directory / "generate" / "run.json").read_bytes())["started"]
        minutes = (datetime.fromisoformat(told["finished"]) - datetime.fromisoformat(began)).total_seconds() / 60
        loops.append({"seed": seed, "minutes": minutes, "models": figures(told)})
    return loops


def measure_methods(out: Path) -> dict[str, Any]:
    """Train every method from the first seed's SFT model, and evaluate all of them on the same prompts."""
    base, directory = out / "seed-0", out / "methods"
    places = {"pairs": base / "pairs-1", "prompts": ROOT / "prompts/sets/tiny.jsonl", "reward": directory / "reward"}
    minutes = {"sft": _minutes(base / "sft"), "dpo": _minutes(base / "dpo-1")}
    models = [f"sft=transformers:{base}/sft", f"dpo=transformers:{base}/dpo-1"]
    for name, (method, *options) in METHODS.items():
        trained = directory / name
        given = " ".join(options).format(**places).split()
        start = ["--model", str(base / "sft"), "--out", str(trained), "--max-tokens", "128"]
        if not find_method(method).draws_responses:
            start = [*start[:4], "--test-share", "0"]
        run("train", method, *given, *start)
        minutes[name] = _minutes(trained)
        if method != "reward":
            models.append(f"{name}=transformers:{trained}")
    reward = minutes.pop("reward")
    for name in ("grpo-reward-model", "ppo-reward-model"):
        minutes[name] += reward
    told = run(
        "evaluate", *models, "--baseline", "base=tiny", "--judge", "tiny", "--constitution", "medical",
        "--prompts", "tiny", "--limit", "400", "--max-tokens", "128", "--out", str(directory / "evaluation"),
    )  # fmt: skip
    return {"minutes": minutes, "models": figures(told)}


def _minutes(trained: Path) -> float:
    seconds = orjson.loads((trained / "train.json").read_bytes())["seconds"]
    return float(seconds) / 60


def show(console: Console, loops: Sequence[dict[str, Any]], methods: dict[str, Any]) -> None:
    """Print both tables: mean and range over seeds; methods with their intervals."""
    minutes = ", ".join(f"{loop['minutes']:.1f}" for loop in loops)
    console.print(f"{len(loops)} seeds, mean (range); minutes: {minutes}")
    table = Table("", *FIGURES, box=None)
    for label in loops[0]["models"]:
        values = [[loop["models"][label][name]["value"] for loop in loops] for name in FIGURES]
        table.add_row(label, *(f"{mean(value):.1%} ({min(value):.1%} to {max(value):.1%})" for value in values))
    console.print(table)
    if methods:
        table = Table("", "minutes", *FIGURES, box=None)
        for label, found in methods["models"].items():
            told = [f"{f['value']:.1%} [{f['low']:.1%}, {f['high']:.1%}]" for f in (found[name] for name in FIGURES)]
            table.add_row(label, f"{methods['minutes'].get(label, 0):.1f}", *told)
        console.print(table)


def draw(path: Path, loops: Sequence[dict[str, Any]]) -> None:
    """Draw the loops: means over the seeds, from the least to the greatest."""
    rows = []
    for name in FIGURES[:4]:
        values = {label: [loop["models"][label][name]["value"] for loop in loops] for label in loops[0]["models"]}
        shown = {label: Measurement(name, mean(of), min(of), max(of), len(of)) for label, of in values.items()}
        rows.append(ChartRow(name, shown))
    caption = f"medical.yaml, embedded model, 400 held-out prompts, temperature 1; mean and range of {len(loops)} seeds"
    for form, data in draw_chart(rows, caption).items():
        path.with_suffix(f".{form}").write_bytes(data)


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--methods/--no-methods", default=True, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "loops", show_default=True)
def main(seeds: int, methods: bool, out: Path) -> None:
    """Measure the loop over seeds, then every method on the first seed's data."""
    loops = measure_loops(out, seeds)
    compared = measure_methods(out) if methods else {}
    show(Console(width=200), loops, compared)
    draw(RESULTS.with_suffix(".png"), loops)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    report = {"date": date, "cores": os.cpu_count(), "loops": loops, "methods": compared}
    RESULTS.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
