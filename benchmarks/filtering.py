"""`python -m benchmarks.filtering`: what quality filters do to what is learnt, on the embedded model, by its oracle.

One run of `cai generate` is exported with the default filters, with the strict ones, and with none. From each export
SFT and then DPO learn, with the loop's settings, and the oracle reads the models' answers to prompts that no stage has
seen. What is finished in --out is not done again. Writes benchmarks/filtering.json.
"""

import asyncio
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.pairs_cost import DPO, KINDS, evaluation_prompts, read_answers, run

RESULTS = Path(__file__).parent / "filtering.json"
QUALITIES = ("none", "default", "strict")


def measure(out: Path, quality: str, evaluated: int) -> dict[str, Any]:
    """Export the run with these filters, train on what is exported, and return counts and what the oracle reads."""
    place = out / quality
    exported = run("export", str(out / "run"), "--quality", quality)
    for name in ("sft", "preference"):
        shutil.copytree(out / "run" / name, place / name, dirs_exist_ok=True)
    sft, dpo = place / "model-sft", place / "model-dpo"
    run("train", "sft", "--data", str(place / "sft"), "--model", "tiny", "--out", str(sft))
    run("train", "dpo", "--data", str(place / "preference"), "--model", str(sft), "--out", str(dpo), *DPO)
    prompts = evaluation_prompts(evaluated)
    learnt = {label: asyncio.run(read_answers(str(model), prompts)) for label, model in (("sft", sft), ("dpo", dpo))}
    return {"sft": exported["sft"], "preference": exported["preference"], "learnt": learnt}


def show(console: Console, measured: dict[str, Any]) -> None:
    """Print a line for each setting of the filters."""
    table = Table("filters", "examples", "pairs", "SFT good: harmful / benign", "DPO good: harmful / benign", box=None)
    for name, found in measured.items():
        shares = [
            " / ".join(f"{found['learnt'][label][kind]['value']:.1%}" for kind in KINDS) for label in ("sft", "dpo")
        ]
        counts = [f"{found[kind]['train'] + found[kind]['test']:,}" for kind in ("sft", "preference")]
        table.add_row(name, *counts, *shares)
    console.print(table)


@click.command()
@click.option("--limit", type=click.IntRange(1), default=400, show_default=True, help="Prompts to make data from.")
@click.option("--evaluated", type=click.IntRange(1), default=400, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
def main(limit: int, evaluated: int, out: Path) -> None:
    """Make data once, filter it in three ways, train on each, and compare."""
    run(
        "generate", "--constitution", "medical", "--prompts", "tiny", "--limit", str(limit), "--judge-principles", "4",
        "--max-tokens", "128", "--no-judge-check", "--out", str(out / "run"),
    )  # fmt: skip
    measured: dict[str, Any] = {}
    for quality in QUALITIES:
        kept = out / f"{quality}.json"
        if not kept.exists():
            kept.write_bytes(orjson.dumps(measure(out, quality, evaluated)))
        measured[quality] = orjson.loads(kept.read_bytes())
    show(Console(width=140), measured)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    report = {"date": date, "cores": os.cpu_count(), "prompts": limit, "evaluated": evaluated, "filters": measured}
    RESULTS.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
