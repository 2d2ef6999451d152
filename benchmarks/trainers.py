"""The two sides of a comparison: `trl` and `cai`, each as a user starts it, and what their training took."""

import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.examples import Method
from benchmarks.processes import Finished, MeasuringError, timed

TRL = str(Path(sys.executable).with_name("trl"))
PACKAGES = ("cai", "torch", "transformers", "trl", "peft", "accelerate", "datasets")

_RUNTIME = re.compile(rb"'train_runtime': '?([0-9.e+-]+)")


@dataclass(frozen=True, slots=True)
class Took:
    """What one training took.

    `loop` is the seconds of the training itself, evaluations, checkpoints and DPO's reference pass included; `wall`
    those of the whole command, `processor` its seconds of processor time. `tokens` went through the model, padding and
    evaluations not counted.
    """

    tokens: int
    loop: float
    wall: float
    processor: float


@dataclass(frozen=True, slots=True)
class Work:
    """One epoch of a method on a model: `data` is the examples' file, alone in its folder, `tokens` what it holds."""

    method: Method
    model: Path
    data: Path
    tokens: int


def trl_command(work: Work, out: Path, more: Sequence[str] = ()) -> list[str]:
    """Return TRL's command: its defaults, but for `more` and the one epoch."""
    command = [TRL, work.method, "--model_name_or_path", str(work.model), "--dataset_name", str(work.data.parent)]
    return [*command, "--output_dir", str(out), "--num_train_epochs", "1", *more]


def cai_arguments(work: Work, out: Path, more: Sequence[str] = ()) -> list[str]:
    """Return the arguments of `cai`: its defaults, but for `more` and the one epoch."""
    command = ["train", work.method, "--model", str(work.model), "--data", str(work.data)]
    return [*command, "--out", str(out), "--epochs", "1", "--json", *more]


def train_with_trl(work: Work, more: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Took:
    """Train with TRL; raises MeasuringError when it fails."""
    with tempfile.TemporaryDirectory() as name:
        done = _run(trl_command(work, Path(name, "out"), more), Path(name), environment)
    runtime = _RUNTIME.search(done.output)
    if runtime is None:
        raise MeasuringError("trl did not say how long it trained")
    return Took(work.tokens, float(runtime[1]), done.seconds, done.processor_seconds)


def train_with_cai(work: Work, more: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Took:
    """Train with cai; raises MeasuringError when it fails.

    What it holds out for measuring is not among the tokens that it is credited with.
    """
    with tempfile.TemporaryDirectory() as name:
        clock = Path(name, "reference")
        command = [sys.executable, "-m", "benchmarks.reference", str(clock)]
        done = _run(command + cai_arguments(work, Path(name, "out"), more), Path(name), environment)
        reference = float(clock.read_text())
    summary = orjson.loads(done.output)
    return Took(summary["tokens"], summary["seconds"] + reference, done.seconds, done.processor_seconds)


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None) -> Finished:
    """Run without a network, and without what an earlier run may have left in a cache."""
    alone = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets"), "TMPDIR": str(folder)}
    alone["XDG_CACHE_HOME"] = str(folder / "caches")
    return timed(command, alone | dict(environment or {}))
