"""`python -m benchmarks.training`: how fast `cai train` learns beside plain TRL, method by method, at equal settings.

Both sides train one epoch of the same examples in this process, in turn, several times; medians count. Equal is what
decides the work: model, examples, batch of 8 (64 answers, 8 a prompt, where they are drawn), precision, no gradient
checkpointing, no evaluation. A side's speed is the tokens that it trained on, prompts and answers without padding, over
the seconds of its loop. TRL's loop holds DPO's and KTO's reference pass, so ours, which comes before it, is counted
with it, and nothing of it comes from an earlier run's cache. Where answers are drawn, each side's own count.

TRL's side is the code of its commands (`trl METHOD`), and for ORPO, which has none, its trainer. PPO has no peer there.
On a CPU the model is the embedded one, on a GPU a Llama of 1 billion random weights.
"""

import contextlib
import importlib
import io
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click
import datasets
import orjson
import torch
import transformers
from rich.console import Console
from rich.table import Table

from benchmarks import orpo
from benchmarks.clocks import Clock
from benchmarks.embedded.train import CHECKPOINT
from benchmarks.examples import ONLINE, Method, useful_tokens, write_examples
from benchmarks.llama import SHAPES, write_llama
from benchmarks.processes import MeasuringError
from benchmarks.trainers import PACKAGES
from benchmarks.where import taken
from cai.cli.main import cai as cai_command

RESULTS = Path(__file__).parent / "training.json"
METHODS: tuple[Method, ...] = ("sft", "dpo", "kto", "orpo", "reward", "grpo", "rloo")
TARGET = 1.0
GROUP, BATCH, DRAWN_BATCH, ANSWER = 8, 8, 64, 128
Side = Literal["trl", "cai"]
SIDES: tuple[Side, ...] = ("trl", "cai")


@dataclass(frozen=True, slots=True)
class Work:
    """One epoch of a method: the model, the examples' file, alone in its folder, their tokens, and a reward model."""

    method: Method
    model: Path
    data: Path
    tokens: int
    reward_model: Path
    device: str


@dataclass(frozen=True, slots=True)
class Took:
    """What one training took; see `Clock`."""

    tokens: int
    loop: float
    memory: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both sides took for one method, run by run."""

    method: Method
    trl: tuple[Took, ...]
    cai: tuple[Took, ...]

    def speed(self, side: Side) -> float:
        """Return a side's tokens a second, the median of its runs."""
        return statistics.median(took.tokens / took.loop for took in self._runs(side))

    def memory(self, side: Side) -> float:
        """Return the bytes that a side's training added, the median of its runs."""
        return statistics.median(took.memory for took in self._runs(side))

    def _runs(self, side: Side) -> tuple[Took, ...]:
        return self.trl if side == "trl" else self.cai

    @property
    def ratio(self) -> float:
        """Cai's speed over TRL's."""
        return self.speed("cai") / self.speed("trl")

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as what JSON can say."""
        medians = {side: {"tokens/s": self.speed(side), "memory": self.memory(side)} for side in SIDES}
        return asdict(self) | {"ratio": self.ratio, "medians": medians}


def trl_arguments(work: Work, out: Path) -> list[str]:
    """Return the arguments of `trl METHOD`."""
    online = work.method in ONLINE
    arguments = {
        "--model_name_or_path": work.model,
        "--dataset_name": work.data.parent,
        "--output_dir": out,
        "--num_train_epochs": 1,
        "--bf16": work.device == "cuda",
        "--gradient_checkpointing": False,
        "--per_device_train_batch_size": DRAWN_BATCH if online else BATCH,
        "--report_to": "none",
        **({"--use_cpu": True} if work.device == "cpu" else {}),
    }
    if online:
        arguments |= {
            "--reward_model_name_or_path": work.reward_model,
            "--num_generations": GROUP,
            "--max_completion_length": ANSWER,
            "--beta": 0.04,
        }
    return [str(part) for pair in arguments.items() for part in pair]


def cai_arguments(work: Work, out: Path) -> list[str]:
    """Return the arguments of `cai` that mean the same."""
    online = work.method in ONLINE
    arguments = {
        "--model": work.model,
        "--data": work.data,
        "--out": out,
        "--epochs": 1,
        "--batch-size": DRAWN_BATCH if online else BATCH,
        "--test-share": 0,
        "--evaluations": 1,
        "--device": work.device,
    }
    if online:
        arguments |= {"--reward-model": work.reward_model, "--group": GROUP, "--max-tokens": ANSWER}
        arguments |= {"--kl-penalty": 0.04}
    if work.method == "dpo":
        arguments |= {"--labels": "hard"}
    return ["train", work.method, *(str(part) for pair in arguments.items() for part in pair), "--json"]


def run_trl(work: Work, out: Path) -> None:
    """Train with TRL."""
    script: Any = orpo if work.method == "orpo" else importlib.import_module(f"trl.scripts.{work.method}")
    settings = script.make_parser().parse_args_and_config(trl_arguments(work, out), fail_with_unknown_args=True)
    script.main(*settings)


def run_cai(work: Work, out: Path) -> None:
    """Train with cai; raises MeasuringError unless all of the examples were trained on."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        cai_command.main(cai_arguments(work, out), standalone_mode=False)
    summary = orjson.loads(said.getvalue())
    if summary["status"] != "done" or (work.method not in ONLINE and summary["left_out"]):
        raise MeasuringError(f"cai did not train on all of it: {summary}")


def train(side: Side, work: Work) -> Took:
    """Train once with a side."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as name, _quiet(), _caches(Path(name)), clock.running(work.device):
        (run_trl if side == "trl" else run_cai)(work, Path(name, "out"))
    return Took(clock.drawn if work.method in ONLINE else work.tokens, clock.loop, clock.memory)


@contextlib.contextmanager
def _caches(folder: Path) -> Iterator[None]:
    """Keep what is kept between runs in the folder: nothing may come from an earlier one."""
    before, datasets.config.HF_DATASETS_CACHE = datasets.config.HF_DATASETS_CACHE, folder / "datasets"
    kept = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = before
        os.environ.pop("XDG_CACHE_HOME")
        if kept is not None:
            os.environ["XDG_CACHE_HOME"] = kept


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def compare(work: Work, runs: int) -> Comparison:
    """Train `runs` times with each side, in turn, after one training of each that does not count."""
    took: dict[Side, list[Took]] = {"trl": [], "cai": []}
    for run in range(runs + 1):
        for side in SIDES if run % 2 else reversed(SIDES):
            one = train(side, work)
            if run:
                took[side].append(one)
    return Comparison(work.method, tuple(took["trl"]), tuple(took["cai"]))


def prepare(folder: Path, device: str, *, rewarded: bool) -> tuple[Path, Path]:
    """Return where the model is written, and, where asked for, a reward model of it with random weights on top."""
    model, reward = folder / "model", folder / "reward"
    if device == "cuda":
        write_llama(model, SHAPES[1], "cuda")
    else:
        shutil.copytree(CHECKPOINT, model)
    if not rewarded:
        return model, reward
    torch.manual_seed(0)
    head = transformers.AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    head.config.pad_token_id = transformers.AutoTokenizer.from_pretrained(model).pad_token_id
    head.save_pretrained(reward)
    transformers.AutoTokenizer.from_pretrained(model).save_pretrained(reward)
    return model, reward


def print_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Print a table of speeds, ratios and memory."""
    table = Table(title="tokens a second, and the memory that training adds", box=None, pad_edge=False)
    for name in ("method", "trl", "cai", "ratio", "trl MiB", "cai MiB", "ratio"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for one in comparisons:
        colour = "green" if one.ratio >= TARGET else "red"
        memory = [one.memory(side) for side in SIDES]
        table.add_row(
            one.method,
            *(f"{one.speed(side):,.0f}" for side in SIDES),
            f"[{colour}]{one.ratio:.2f}[/{colour}]",
            *(f"{used / 2**20:,.0f}" for used in memory),
            f"{memory[1] / max(memory[0], 1):.2f}",
        )
    console.print(table)


@click.command()
@click.option("--method", "methods", multiple=True, type=click.Choice(METHODS), help="Of all methods, only these.")
@click.option("--examples", type=click.IntRange(16), default=300, show_default=True, help="Examples a method.")
@click.option("--prompts", type=click.IntRange(8, 200), default=32, show_default=True, help="Where answers are drawn.")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Runs of each side that count.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(methods: tuple[Method, ...], examples: int, prompts: int, runs: int, device: str, results: Path) -> None:
    """Measure training beside plain TRL; ends with 1 when cai is the slower anywhere.

    Takes a quarter of an hour on two cores; for figures worth keeping, leave the machine to it.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    comparisons: list[Comparison] = []
    with tempfile.TemporaryDirectory() as name:
        model, reward = prepare(Path(name), device, rewarded=bool(set(ONLINE) & set(methods or METHODS)))
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        for method in methods or METHODS:
            data = write_examples(Path(name, method), method, prompts if method in ONLINE else examples)
            tokens = useful_tokens(data, method, tokenizer)
            comparisons.append(compare(Work(method, model, data, tokens, reward, device), runs))
            print_comparisons(Console(), comparisons[-1:])
    print_comparisons(Console(), comparisons)
    report = taken(PACKAGES) | {
        "device": torch.cuda.get_device_name(0) if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "examples": examples,
        "prompts": prompts,
        "runs": runs,
        "comparisons": [comparison.as_json() for comparison in comparisons],
    }
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    slower = [f"{one.method}: {one.ratio:.2f}" for one in comparisons if one.ratio < TARGET]
    if slower:
        raise click.ClickException(f"cai is slower than plain TRL: {'; '.join(slower)}")


if __name__ == "__main__":
    main()
