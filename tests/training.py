"""A narrow random model on disk and files to train it on, for tests of whole training runs."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import transformers

from cai.core.addresses import DataSource
from cai.models.spec import ModelSpec
from cai.train.outcome import TrainSummary
from cai.train.plan import plan_train
from cai.train.quiet import silent_libraries
from cai.train.run import train as train_plan
from cai.train.settings import (
    AdapterSettings,
    DataSettings,
    FitSettings,
    TrainSettings,
)
from tests.train_context import BAD, CHECKPOINT, GOOD, make_model

WORDS = ("rest", "tea", "walk", "sleep", "cough", "fever", "doctor", "water", "soup", "nap", "cold", "throat", "voice")


def save_model(directory: Path) -> Path:
    """Write the random model with the embedded tokenizer."""
    with silent_libraries():
        model = make_model()
        model.save_pretrained(directory)
        transformers.AutoTokenizer.from_pretrained(CHECKPOINT).save_pretrained(directory)
    return directory


def write_rows(path: Path, count: int, method: str) -> Path:
    """Write examples of many lengths."""
    draw = random.Random(7)
    with path.open("wb") as file:
        for number in range(count):
            question = f"{number}: " + " ".join(draw.choices(WORDS, k=draw.randint(2, 20)))
            row: dict[str, Any] = {"prompt": question, "completion": GOOD}
            if method != "sft":
                probability = draw.choice((0.6, 0.8, 1.0))
                row = {"prompt": question, "chosen": GOOD, "rejected": BAD, "chosen_probability": probability}
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return path


def make_settings(
    directory: Path,
    method: str = "sft",
    *,
    out: str = "out",
    model: str | None = None,
    adapter: AdapterSettings | None = None,
    own: Any = None,
    test_share: float = 0.1,
    fresh: bool = False,
    rows: int = 96,
    seed: int = 0,
    **fit: Any,
) -> TrainSettings:
    """Return settings for a run in `directory`, whose model and data are made when they are missing."""
    data = directory / f"{method}-{rows}.jsonl"
    if not data.exists():
        write_rows(data, rows, method)
    if model is None and not (directory / "model").exists():
        save_model(directory / "model")
    numbers: dict[str, Any] = {"max_steps": 12, "batch_size": 8, "learning_rate": 3e-3, "device": "cpu"}
    return TrainSettings(
        method=method,
        model=ModelSpec.checkpoint(model or str(directory / "model")),
        out=directory / out,
        data=DataSettings((DataSource.parse(str(data)),), test_share=test_share),
        adapter=adapter or AdapterSettings(),
        fit=FitSettings(**{**numbers, **fit}),
        own=own,
        seed=seed,
        fresh=fresh,
    )


def train(settings: TrainSettings, say: Callable[[str], None] = lambda _: None) -> TrainSummary:
    """Plan and train."""
    return train_plan(plan_train(settings), say)


def command(settings: TrainSettings) -> list[str]:
    """Return the arguments of `cai` that mean the settings, as far as these tests change them."""
    fit = settings.fit
    words = {
        "--data": settings.data.data[0],
        "--test-share": settings.data.test_share,
        "--model": settings.model,
        "--out": settings.out,
        "--max-steps": fit.max_steps,
        "--batch-size": fit.batch_size,
        "--learning-rate": fit.learning_rate,
        "--evaluations": fit.evaluations,
        "--device": fit.device,
    }
    return ["train", settings.method, *(str(part) for pair in words.items() for part in pair)]


def curve(out: Path, name: str = "loss") -> list[tuple[int, float]]:
    """Return (step, value) of one measure, line by line of metrics.jsonl."""
    entries = [orjson.loads(line) for line in (out / "metrics.jsonl").read_bytes().splitlines()]
    return [(entry["step"], entry[name]) for entry in entries if name in entry]


def approximately(points: list[tuple[int, float]]) -> list[Any]:
    """Return the points to be compared within floating-point rounding."""
    return [(step, pytest.approx(value, rel=1e-5, abs=1e-6)) for step, value in points]
