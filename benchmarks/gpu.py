"""`python -m benchmarks.gpu`: SFT and DPO of a large random-weights Llama on a GPU, beside plain TRL.

Both sides train one epoch of the same examples at equal settings: bfloat16 arithmetic, batches of 8, no checkpointing
of activations; all weights held in float32, or LoRA of rank 16 on every linear layer over weights in bfloat16, or the
same over weights in 4 bits (QLoRA); `cai` without a test split and with one checkpoint, at the end, as TRL's. FLOPs
utilisation is the arithmetic that the tokens need over the device's peak: 6 operations a parameter and token (2
forward, 4 backward: Kaplan et al., arXiv 2001.08361, section 2.1), 4 where the weights are frozen and so have no
gradient, and 2 more for DPO's reference. A checkpoint holds weights and optimiser: all weights of 8 billion parameters
want 200 GB of disk in TMPDIR. The sides take turns, each first in every other run, and medians are told. What does not
fit into the device's memory is told as a failure of that side, which is not tried again, and ends nothing.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import click
import orjson
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from benchmarks.device import peak_operations, watched_memory
from benchmarks.examples import Method, useful_tokens, write_examples
from benchmarks.llama import SHAPES, write_llama
from benchmarks.processes import MeasuringError
from benchmarks.trainers import PACKAGES, Took, Work, train_with_cai, train_with_trl
from benchmarks.where import taken

RESULTS = Path(__file__).parent / "gpu.json"
METHODS: tuple[Method, ...] = ("sft", "dpo")
Side = Literal["trl", "cai"]
SIDES: tuple[Side, ...] = ("trl", "cai")
Trained = Literal["all", "lora", "qlora"]
_TARGETS = ("--lora_target_modules", "all-linear", "--dtype", "bfloat16")
_LORA = ("--use_peft", "--lora_r", "16", "--lora_alpha", "32", "--lora_dropout", "0", *_TARGETS)
_FOUR_BITS = ("--load_in_4bit", "--use_bnb_nested_quant", "--bnb_4bit_quant_type", "nf4")
TRAINED: Mapping[Trained, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "all": ("all weights", (), ()),
    "lora": ("LoRA", _LORA, ("--adapter", "lora")),
    "qlora": ("QLoRA", (*_LORA, *_FOUR_BITS), ("--adapter", "lora", "--quantize")),
}
"""What is trained: its name, and what it adds to the command lines of TRL and of cai."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a training: `took` is None when it failed, and `failure` says how.

    Memory is in bytes, utilisation a share.
    """

    method: Method
    trained: Trained
    side: Side
    took: Took | None
    failure: str | None
    memory: int
    utilisation: float | None


def options(side: Side, *, trained: Trained, device: str) -> list[str]:
    """Return what is added to a side's defaults."""
    _, trl, ours = TRAINED[trained]
    if side == "trl":
        equal = ["--gradient_checkpointing", "False", "--per_device_train_batch_size", "8"]
        return [*equal, *trl, *(["--use_cpu"] if device == "cpu" else [])]
    return ["--batch-size", "8", "--test-share", "0", "--evaluations", "1", "--device", device, *ours]


def train(side: Side, work: Work, *, trained: Trained, device: str) -> Took:
    """Train with a side; raises MeasuringError when it fails."""
    run = train_with_trl if side == "trl" else train_with_cai
    return run(work, options(side, trained=trained, device=device))


def reason(error: MeasuringError) -> str:
    """Return the line that says why a command failed: the trainer's own, where a launcher's traceback follows it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = [
        line for line in lines if "memory" in line.lower() or ("Error: " in line and "CalledProcessError" not in line)
    ]
    return (own or lines)[-1]


def operations(method: Method, parameters: int, trained: Trained) -> int:
    """Return the arithmetic that one token needs."""
    return parameters * ((6 if trained == "all" else 4) + (2 if method == "dpo" else 0))


def measure(
    folder: Path, billions: int, examples: int, runs: int, methods: Sequence[Method], kinds: Sequence[Trained]
) -> Iterator[Measured]:
    """Yield both sides' trainings, method by method."""
    parameters = write_llama(folder / "model", SHAPES[billions], "cuda")
    torch.cuda.empty_cache()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    peak = peak_operations(torch.cuda.get_device_name(0))
    for method in methods:
        data = write_examples(folder / method, method, examples)
        work = Work(method, folder / "model", data, useful_tokens(data, method, tokenizer))
        for trained in kinds:
            failed: set[Side] = set()
            for run in range(runs):
                for side in SIDES[:: -1 if run % 2 else 1]:
                    if side not in failed:
                        measured = _measure_one(work, trained, side, parameters, peak)
                        failed |= {side} if measured.took is None else set()
                        yield measured


def _measure_one(work: Work, trained: Trained, side: Side, parameters: int, peak: float | None) -> Measured:
    """Return one training; `peak` are the device's operations a second, where they are known."""
    with watched_memory() as memory:
        try:
            took = train(side, work, trained=trained, device="cuda")
        except MeasuringError as error:
            return Measured(work.method, trained, side, None, reason(error), memory.used, None)
    utilisation = None
    if peak is not None:
        utilisation = took.tokens / took.loop * operations(work.method, parameters, trained) / peak
    return Measured(work.method, trained, side, took, None, memory.used, utilisation)


def print_measured(console: Console, measured: list[Measured]) -> None:
    """Print a table of the trainings, medians of their runs; the memory is the most of them."""
    table = Table(box=None, pad_edge=False)
    table.add_column("training")
    for name in ("side", "runs", "tokens/s", "of peak FLOPs", "memory GiB", "whole command s"):
        table.add_column(name, justify="right")
    for method, trained, side in dict.fromkeys((row.method, row.trained, row.side) for row in measured):
        rows = [row for row in measured if (row.method, row.trained, row.side) == (method, trained, side)]
        all_took = [row.took for row in rows if row.took is not None]
        shares = [row.utilisation for row in rows if row.utilisation is not None]
        cells = ["failed", "", "", ""]
        if all_took:
            cells = [
                f"{median(took.tokens / took.loop for took in all_took):,.0f}",
                f"{median(shares):.0%}" if shares else "unknown",
                f"{max(row.memory for row in rows) / 2**30:.1f}",
                f"{median(took.wall for took in all_took):.0f}",
            ]
        table.add_row(f"{method}, {TRAINED[trained][0]}", side, str(len(all_took)), *cells)
    console.print(table)
    for failure in dict.fromkeys(row.failure for row in measured if row.failure is not None):
        console.print(f"failed: {failure}", markup=False)


@click.command()
@click.option("--billions", type=click.Choice([str(size) for size in SHAPES]), default="1", show_default=True)
@click.option("--examples", type=click.IntRange(64), default=2000, show_default=True, help="Examples a method.")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Runs of each side.")
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True, default=METHODS, show_default=True)
@click.option("--trained", "kinds", type=click.Choice(list(TRAINED)), multiple=True, default=list(TRAINED)[:2])
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(
    billions: str, examples: int, runs: int, methods: tuple[Method, ...], kinds: tuple[Trained, ...], results: Path
) -> None:
    """Measure training on the first GPU beside plain TRL; without one, say so and end with 2."""
    if not torch.cuda.is_available():
        click.echo("Nothing was measured: torch finds no usable CUDA device here.", err=True)
        raise click.exceptions.Exit(2)
    with tempfile.TemporaryDirectory() as name:
        measured = list(measure(Path(name), int(billions), examples, runs, methods, kinds))
    print_measured(Console(), measured)
    report: dict[str, Any] = taken(PACKAGES) | {
        "device": torch.cuda.get_device_name(0),
        "billions": int(billions),
        "examples": examples,
        "trainings": [asdict(row) for row in measured],
    }
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
