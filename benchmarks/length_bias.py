"""`python -m benchmarks.length_bias`: reward models from labels that favour length, with it held apart and without.

Pairs of the embedded model's answers, of which the oracle knows the better. A share of the labels does not ask it and
takes the longer answer. Reward models of several seeds learn from them as they are, and with `--debias-length`; the
oracle says on pairs of other prompts how often each ranks right, where the better answer is longer and where it is not.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

import cai
from benchmarks.overoptimisation import ROOT, Bench, make_pairs, read_prompts, score_texts
from benchmarks.where import taken
from cai.core.identity import derive_seed
from cai.core.shares import Proportion
from cai.train.trainers.reward_measuring import ScoredPair, accuracies

RESULTS = Path(__file__).parent / "length_bias.json"


def favour_length(pairs: Sequence[Any], share: float, seed: int) -> list[Any]:
    """Return the pairs, a share of which takes the longer answer, whichever is the better."""
    random = np.random.default_rng(derive_seed(seed, "length"))
    turned = []
    for pair in pairs:
        by_length = random.random() < share
        wrong = by_length and len(pair["chosen"]) < len(pair["rejected"])
        turned.append({**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]} if wrong else pair)
    return turned


def train_and_score(pairs: str, tested: Sequence[Any], out: str, seed: int, debias: bool) -> list[ScoredPair]:
    """Train a reward model, and return what it says of the pairs that it is tested on."""
    cai.train(
        "reward", data=pairs, model="tiny", out=out, seed=seed, test_share=0.0, epochs=2, debias_length=debias,
        device="cpu", progress=False,
    )  # fmt: skip
    prompts = [pair["prompt"] for pair in tested]
    scores = score_texts(out, prompts, [[pair["chosen"], pair["rejected"]] for pair in tested])
    lengths = [(len(pair["chosen"]), len(pair["rejected"])) for pair in tested]
    return [ScoredPair.of(told, sizes, True) for told, sizes in zip(scores, lengths, strict=True)]


@click.command()
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes of one thread each.")
@click.option("--pairs", default=400, show_default=True, help="Prompts that pairs to learn from are made of.")
@click.option("--tests", default=300, show_default=True, help="Prompts that pairs to test with are made of.")
@click.option("--seeds", default=3, show_default=True, help="Reward models of each kind.")
@click.option("--share", multiple=True, type=float, default=(0.0, 0.5), show_default=True, help="Labels by length.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(jobs: int, pairs: int, tests: int, seeds: int, share: tuple[float, ...], results: Path) -> None:
    """Measure, print and write down."""
    began, context = perf_counter(), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        bench = Bench(pool, jobs, Path(place))
        asked = read_prompts(ROOT / "prompts/sets/tiny.jsonl", pairs, 0)
        learned = make_pairs(asked, bench.answers(asked, 3), 0.0, 0)
        asked = read_prompts(ROOT / "prompts/evaluation/tiny.jsonl", tests, 1)
        tested = make_pairs(asked, bench.answers(asked, 3), 0.0, 0)
        waiting = {}
        for part in share:
            file = Path(place, f"{part}.jsonl")
            file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in favour_length(learned, part, 0)))
            for debias in (False, True):
                for seed in range(seeds):
                    out = str(Path(place, f"{part}-{debias}-{seed}"))
                    waiting[part, debias, seed] = pool.submit(train_and_score, str(file), tested, out, seed, debias)
        found = {name: one.result() for name, one in waiting.items()}
    rows = []
    for part in share:
        for debias in (False, True):
            told = [accuracies(found[part, debias, seed])["accuracy"] for seed in range(seeds)]
            rows.append({"labels by length": part, "debias": debias, "accuracy": told})
    result = {
        **taken(("cai", "torch", "transformers", "trl")),
        "settings": {"pairs": len(learned), "tests": len(tested), "seeds": seeds, "jobs": jobs},
        "rows": rows,
        "minutes": (perf_counter() - began) / 60,
    }
    results.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    show(Console(width=120), result)


def show(console: Console, result: Any) -> None:
    """Print a row a kind of reward model: all its seeds' comparisons together."""
    groups = list(result["rows"][0]["accuracy"][0])
    table = Table("labels by length", "debiased", *groups, box=None)
    for row in result["rows"]:
        cells = []
        for group in groups:
            told = [one[group] for one in row["accuracy"] if group in one]
            whole = Proportion(sum(one["part"] for one in told), sum(one["of"] for one in told))
            each = ", ".join(f"{100 * one['value']:.0f}" for one in told)
            cells.append(f"{100 * whole.part / whole.of:.1f} % of {whole.of:,} ({each})")
        table.add_row(f"{row['labels by length']:.0%}", "yes" if row["debias"] else "no", *cells)
    console.print(table, f"{result['minutes']:.1f} minutes")


if __name__ == "__main__":
    main()
