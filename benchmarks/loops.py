"""`python -m benchmarks.loops`: the loop on the embedded model, and every method on its data, over seeds.

Every figure is the oracle's, at temperature 1, on prompts of prompts/evaluation/tiny.jsonl: no stage was trained on
them. The loops are those of `make loop` (loop.yaml); the methods start from their seed's SFT model and learn from its
pairs, or from its prompts. What was finished is not run again. Writes loops.json and loops.png; three seeds take an
hour on two cores. With `--parallel` so many commands run at once, the machine's cores shared among them: their minutes
are then to be compared with one another alone.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from benchmarks.where import taken
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
    "rloo-reward-model": ("rloo", "--data {prompts}", "--reward-model {reward}", "--max-steps 60"),
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

Figures = dict[str, dict[str, dict[str, Any]]]
"""Figures of interest as an evaluation tells them, by model and name."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Runs `cai` commands, so many at once; each has its share of the cores."""

    pool: ThreadPoolExecutor
    parallel: int

    def start(self, *arguments: str) -> Future[Any]:
        """Start a command when there is a place for it; what comes is what it tells as JSON."""
        return self.pool.submit(self._run, arguments)

    def _run(self, arguments: Sequence[str]) -> Any:
        cores = len(os.sched_getaffinity(0))
        done = subprocess.run(
            [sys.executable, "-m", "cai", *arguments, "--json", "--quiet"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": str(max(1, cores // self.parallel))},
        )
        return orjson.loads(done.stdout)


def figures(evaluation: Any) -> Figures:
    """Return an evaluation's figures of interest."""
    return {
        model["label"]: {figure["name"]: figure for figure in model["measurements"] if figure["name"] in FIGURES}
        for model in evaluation["models"]
    }


def measure_seed(workers: Workers, out: Path, seed: int, methods: bool) -> dict[str, Any]:
    """Run the seed's loop, and every method on its data; returns their figures and the minutes they took."""
    directory = out / f"seed-{seed}"
    told = workers.start("loop", "--config", str(RECIPE), "--seed", str(seed), "--out", str(directory)).result()
    began = orjson.loads((directory / "generate" / "run.json").read_bytes())["started"]
    minutes = (datetime.fromisoformat(told["finished"]) - datetime.fromisoformat(began)).total_seconds() / 60
    loop = {"seed": seed, "minutes": minutes, "models": figures(told)}
    return loop | ({"methods": measure_methods(workers, directory, seed)} if methods else {})


def measure_methods(workers: Workers, base: Path, seed: int) -> dict[str, Any]:
    """Train every method from the seed's SFT model, and evaluate all of them on the same prompts."""
    directory = base / "methods"
    places = {"pairs": base / "pairs-1", "prompts": ROOT / "prompts/sets/tiny.jsonl", "reward": directory / "reward"}

    def train(name: str) -> Future[Any]:
        method, *options = METHODS[name]
        start = ["--model", str(base / "sft"), "--out", str(directory / name), "--seed", str(seed)]
        start += ["--max-tokens", "128"] if find_method(method).draws_responses else ["--test-share", "0"]
        return workers.start("train", method, *" ".join(options).format(**places).split(), *start)

    rewarded = [name for name, options in METHODS.items() if any("{reward}" in option for option in options)]
    started = [train(name) for name in METHODS if name not in rewarded and name != "reward"]
    train("reward").result()
    for trained in started + [train(name) for name in rewarded]:
        trained.result()
    models = {"sft": base / "sft", "dpo": base / "dpo-1"} | {name: directory / name for name in METHODS}
    minutes = {name: _minutes(trained) for name, trained in models.items()}
    reward = minutes.pop("reward")
    told = workers.start(
        "evaluate", *(f"{name}=transformers:{models[name]}" for name in minutes), "--baseline", "base=tiny",
        "--judge", "tiny", "--constitution", "medical", "--prompts", "tiny", "--limit", "400", "--max-tokens", "128",
        "--seed", str(seed), "--out", str(directory / "evaluation"),
    ).result()  # fmt: skip
    return {
        "minutes": {name: spent + (reward if name in rewarded else 0) for name, spent in minutes.items()},
        "models": figures(told),
    }


def _minutes(trained: Path) -> float:
    seconds = orjson.loads((trained / "train.json").read_bytes())["seconds"]
    return float(seconds) / 60


def over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of a share over seeds, and the ends of its 95 % interval (Student's t, cut to shares)."""
    middle = mean(values)
    if len(values) == 1:
        return middle, 0.0, 1.0
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return middle, max(0.0, middle - half), min(1.0, middle + half)


def show(console: Console, seeds: Sequence[Mapping[str, Any]]) -> None:
    """Print the loops' table and the methods': the mean over seeds, with its interval."""
    console.print(f"{len(seeds)} seeds, mean [95 %]; minutes of a loop: {_each(seeds, lambda one: one['minutes'])}")
    _print_table(console, [one["models"] for one in seeds], None)
    if "methods" in seeds[0]:
        found = [one["methods"] for one in seeds]
        _print_table(console, [one["models"] for one in found], [one["minutes"] for one in found])


def _each(seeds: Sequence[Any], number: Callable[[Any], float]) -> str:
    return ", ".join(f"{number(one):.1f}" for one in seeds)


def _print_table(console: Console, seeds: Sequence[Figures], minutes: Sequence[Mapping[str, float]] | None) -> None:
    table = Table("", *([] if minutes is None else ["minutes"]), *FIGURES, box=None)
    for label in seeds[0]:
        cells = [] if minutes is None else [_each(minutes, lambda one: one.get(label, 0.0))]  # noqa: B023
        for name in FIGURES:
            middle, low, high = over_seeds([models[label][name]["value"] for models in seeds])
            cells.append(f"{middle:.1%} [{low:.1%}, {high:.1%}]")
        table.add_row(label, *cells)
    console.print(table)


def draw(path: Path, loops: Sequence[Mapping[str, Any]]) -> None:
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
@click.option("--parallel", type=click.IntRange(1), default=1, show_default=True, help="Commands at once.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "loops", show_default=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(seeds: int, methods: bool, parallel: int, out: Path, results: Path) -> None:
    """Measure the loop, and every method on its data, over seeds."""
    with ThreadPoolExecutor(parallel) as pool, ThreadPoolExecutor(seeds) as measuring:
        workers = Workers(pool, parallel)
        measured = list(measuring.map(lambda seed: measure_seed(workers, out, seed, methods), range(seeds)))
    show(Console(width=220), measured)
    draw(results.with_suffix(".png"), measured)
    report = taken(("cai", "torch", "transformers", "trl")) | {"parallel": parallel, "seeds": measured}
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
