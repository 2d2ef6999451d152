"""`python -m benchmarks.generation`: how fast `cai generate` runs on a GPU, in each engine of this process.

A Llama with random weights and words of its own (`wordllama.py`), in bfloat16, answers, critiques, revises and judges
prompts: the paper's way, four requests a row. Its layers are those of Llama 3.1 8B or 3.2 1B, its vocabulary is small:
7 of the 8 billion parameters are there. Figures are of the command's own clock, which starts when the model is open,
and of the device while the whole command ran, loading included. An engine that is not installed is told as such. On any
machine, `--device cpu --billions 0.1` shows that it works.
"""

import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import click
import orjson
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.device import watched_memory, watched_use
from benchmarks.llama import SHAPES as LARGE
from benchmarks.processes import SHORT_ROW, MeasuringError, timed
from benchmarks.prompts import write_prompts
from benchmarks.where import taken
from benchmarks.wordllama import SHAPE, vocabulary, write_word_llama
from cai.constitution import load_constitution

RESULTS = Path(__file__).parent / "generation.json"
SHAPES = {"0.1": SHAPE, **{str(billions): shape for billions, shape in LARGE.items()}}
ENGINES = ("transformers", "vllm")
_PACKAGES = ("cai", "torch", "transformers")
_LONGEST = 512
_MEAN_WORDS = 128
_CONSTITUTION = "harmless"
_METHOD = (f"--constitution={_CONSTITUTION}", *SHORT_ROW)


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine's run; rates are tokens a second. `failure` says why there are none."""

    engine: str
    failure: str | None = None
    rows: int = 0
    generated: float = 0.0
    total: float = 0.0
    seconds: float = 0.0
    whole_seconds: float = 0.0
    busy_share: float | None = None
    memory: int = 0


def measure(engine: str, model: Path, prompts: Path, out: Path, device: str) -> Measured:
    """Run `cai generate` once; what goes wrong there is the result's `failure`."""
    if engine == "vllm" and find_spec("vllm") is None:
        return Measured(engine, "vLLM is not installed")
    command = [sys.executable, "-m", "cai", "generate", *_METHOD, f"--model={engine}:{model}", "--dtype=bfloat16"]
    command += [f"--prompts={prompts}", f"--out={out}", f"--max-tokens={_LONGEST}", "--json"]
    if engine == "transformers":
        command.append(f"--device={device}")
    with watched_use() as use, watched_memory() as memory:
        try:
            done = timed(command)
        except MeasuringError as error:
            return Measured(engine, str(error).strip().splitlines()[-1])
    summary = orjson.loads(done.output)
    seconds, written = summary["seconds"], summary["completion_tokens"]
    return Measured(
        engine=engine,
        rows=summary["done"],
        generated=written / seconds,
        total=(summary["prompt_tokens"] + written) / seconds,
        seconds=seconds,
        whole_seconds=done.seconds,
        busy_share=use.share,
        memory=memory.used,
    )


def print_measured(measured: list[Measured]) -> None:
    """Print a table of the engines."""
    table = Table(box=None, pad_edge=False)
    table.add_column("engine")
    for name in ("rows", "generated tokens/s", "all tokens/s", "GPU busy", "memory GiB", "seconds", "whole command s"):
        table.add_column(name, justify="right")
    for run in (run for run in measured if run.failure is None):
        busy = "unknown" if run.busy_share is None else f"{run.busy_share:.0%}"
        cells = (f"{run.rows:,}", f"{run.generated:,.0f}", f"{run.total:,.0f}", busy, f"{run.memory / 2**30:.1f}")
        table.add_row(run.engine, *cells, f"{run.seconds:.1f}", f"{run.whole_seconds:.1f}")
    console = Console()
    if table.rows:
        console.print(table)
    for run in measured:
        if run.failure is not None:
            console.print(f"{run.engine}: {run.failure}", markup=False, soft_wrap=True)


@click.command()
@click.option("--billions", type=click.Choice(list(SHAPES)), default="8", show_default=True)
@click.option("--rows", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--engine", "engines", type=click.Choice(ENGINES), multiple=True, default=ENGINES, show_default=True)
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(billions: str, rows: int, engines: tuple[str, ...], device: str, results: Path) -> None:
    """Measure generation on the first GPU; without one, say so and end with 2."""
    if device == "cuda" and not torch.cuda.is_available():
        click.echo("Nothing was measured: torch finds no usable CUDA device here.", err=True)
        raise click.exceptions.Exit(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_prompts(folder / "prompts.jsonl", rows)
        words, shape = vocabulary(load_constitution(_CONSTITUTION)), SHAPES[billions]
        parameters = write_word_llama(folder / "model", words, _MEAN_WORDS, shape, device, torch.bfloat16)
        if device == "cuda":
            torch.cuda.empty_cache()
        measured = [measure(one, folder / "model", folder / "prompts.jsonl", folder / one, device) for one in engines]
    print_measured(measured)
    where = torch.cuda.get_device_name(0) if device == "cuda" else device
    report = taken(_PACKAGES) | {"device": where, "parameters": parameters, "runs": [asdict(run) for run in measured]}
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
