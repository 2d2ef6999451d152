"""Examples written to a temporary Arrow file as they come, with the little that mixing must know of each in memory.

The file is mapped, not read, so memory does not grow with the texts: about 18 bytes an example stay. The files are
removed when the process ends; nothing is written beside anybody's data.
"""

import atexit
import hashlib
import math
import os
import shutil
import tempfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features, List, Value
from numpy.typing import NDArray

from cai.core.errors import InputError
from cai.core.identity import draw, fingerprint, key
from cai.data.examples.conversations import THINKING, spoken
from cai.data.examples.shaping import COLUMNS, Layout
from cai.data.examples.tables import Example
from cai.data.export.splits import SALT
from cai.data.rows import BrokenRow
from cai.rundir.files import refusal

ROWS_PER_BATCH = 500

CERTAINTY = "certainty"
"""The curriculum of label certainty."""

DUPLICATE = "duplicate"
CONTRADICTED = "both good and bad"
TASK = "task"
"""The column that says which item of `--data` an example is from, counted from 0."""
LENGTH = "length"
"""The column that says how many tokens an example has, once it is prepared."""
DIFFICULTY = "difficulty"
"""The column that says how hard an example is; the easiest has the smallest."""

_PLAIN = {
    "text": "string",
    "label": "bool",
    "score": "float32",
    "chosen_probability": "float32",
    TASK: "int32",
    DIFFICULTY: "float64",
}
_RUBRIC = List({"criterion": Value("string"), "points": Value("float64")})
_ANSWERS = ("messages", "completion", "chosen", "rejected")
_BESIDE = ("rubric", "tags")  # of a prompt, and no turns

PRINCIPLES = "principles"
"""A column that stands beside examples where it is asked for: the principles that a label was given under."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What an example says beside its layout's columns: its task, and with `difficulty` how hard it is.

    `difficulty` is `certainty` (a pair is as hard as its label is doubtful), or a column of numbers.
    """

    task: int
    difficulty: str | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """The examples of one part, and of each: its prompt's and its answer's key, its label and whether it is held out.

    `labels` are meaningless but for labelled examples. `fingerprint` names the content and who is held out. `thoughts`
    counts the examples with an answer that was thought about.
    """

    examples: Dataset
    prompts: NDArray[np.uint64]
    answers: NDArray[np.uint64]
    labels: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    fingerprint: str
    thoughts: int


def features(
    layout: Layout, reasoning: bool = False, also: Collection[str] = (), marks: Marks | None = None
) -> Features:
    """Return the one set of features that all datasets of a layout have, so that they concatenate.

    The columns of `also` hold lists of text.
    """
    turns = List({name: Value("string") for name in ("role", "content", *((THINKING,) if reasoning else ()))})
    kinds = {name: Value(kind) for name, kind in _PLAIN.items()} | {"rubric": _RUBRIC, "tags": List(Value("string"))}
    kinds["answers"] = List({"completion": turns, "rank": Value("int32")})
    kinds |= {name: List(Value("string")) for name in also}
    marked = () if marks is None else (TASK,) if marks.difficulty is None else (TASK, DIFFICULTY)
    return Features({name: kinds.get(name, turns) for name in (*COLUMNS[layout], *also, *marked)})


def collect(
    examples: Iterable[Example | BrokenRow],
    layout: Layout,
    test_share: float,
    left_out: Counter[str],
    *,
    reasoning: bool = False,
    also: Collection[str] = (),
    marks: Marks | None = None,
) -> Collected:
    """Write the examples down; where an example does not say whether it is held out, its prompt's hash does.

    Rows that give none are counted in `left_out` by reason. What was thought before answers is written only with
    `reasoning`. What stands beside an example in the columns of `also` is kept where it is a list of text, and what
    `marks` say with them; raises InputError where an example does not say how hard it is.

    The hash is that of `cai export` for prompts without an id of their own, so that a prompt is a test prompt
    everywhere. Raises StoreError when the disk refuses.
    """
    shape = features(layout, reasoning, also, marks)
    task = {} if marks is None else {TASK: marks.task}
    thoughts = 0
    prompts, answers, labels, held = array("Q"), array("Q"), array("B"), array("B")
    digest = hashlib.blake2b(digest_size=8)
    waiting: list[Mapping[str, Any]] = []
    try:
        number, path = tempfile.mkstemp(dir=_folder(), suffix=".arrow")
        with os.fdopen(number, "wb") as file, pa.ipc.new_stream(file, shape.arrow_schema) as writer:
            for item in examples:
                if isinstance(item, BrokenRow):
                    # What a cause has in parentheses is about this one row, and reasons are counted.
                    left_out[item.cause.partition(" (")[0]] += 1
                    continue
                given = item.values
                plain = {name: _plain(name, value) for name, value in given.items()}
                thoughts += any(turn.get(THINKING) for name in _ANSWERS for turn in given.get(name, ()))
                example = {**(given if reasoning else plain), **_hard(item, marks)}
                prompt = fingerprint(_prompt(plain, layout))
                side = draw(SALT, "split", prompt) < test_share if item.held_out is None else item.held_out
                prompts.append(key(prompt))
                answers.append(key(prompt + fingerprint(example.get("completion"))))
                labels.append(bool(example.get("label")))
                held.append(side)
                digest.update(orjson.dumps([example, side], option=orjson.OPT_SORT_KEYS) + b"\n")
                waiting.append({**example, **task, **{name: _texts(item.about.get(name)) for name in also}})
                if len(waiting) == ROWS_PER_BATCH:
                    writer.write_batch(pa.RecordBatch.from_pylist(waiting, schema=shape.arrow_schema))
                    waiting = []
            writer.write_batch(pa.RecordBatch.from_pylist(waiting, schema=shape.arrow_schema))
    except OSError as error:
        raise refusal(Path(tempfile.gettempdir()), error) from error
    return Collected(
        Dataset.from_file(path, info=DatasetInfo(features=shape)),
        np.frombuffer(prompts, np.uint64),
        np.frombuffer(answers, np.uint64),
        np.frombuffer(labels, np.bool_),
        np.frombuffer(held, np.bool_),
        digest.hexdigest(),
        thoughts,
    )


def distinct(collected: Collected) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return which examples stay when an answer counts once and one that is good and bad not at all, and what does not.

    Examples that are nothing but a prompt are told apart by it.
    """
    _, first, inverse = np.unique(collected.answers, return_index=True, return_inverse=True)
    good = np.bincount(inverse, collected.labels, len(first))
    all_of_it = np.bincount(inverse, minlength=len(first))
    contradicted = ((good > 0) & (good < all_of_it))[inverse]
    keep = np.zeros(len(inverse), np.bool_)
    keep[first] = True
    keep &= ~contradicted
    counts = {CONTRADICTED: int(contradicted.sum()), DUPLICATE: int((~keep & ~contradicted).sum())}
    return keep, {reason: count for reason, count in counts.items() if count}


def _prompt(example: Mapping[str, Any], layout: Layout) -> Any:
    """Return what an example answers: all before the assistant's last turn, or the text itself where there is none."""
    if layout == "text":
        return example["text"]
    if layout != "messages":
        return example["prompt"]
    turns = example["messages"]
    return turns[: max(place for place, turn in enumerate(turns) if turn["role"] == "assistant")]


def _plain(name: str, value: Any) -> Any:
    """Return a column's value without what was thought before answers; of ranked answers, what is learned from."""
    if name == "answers":
        return [{"completion": spoken(answer["completion"]), "rank": answer["rank"]} for answer in value]
    return spoken(value) if name not in _BESIDE and isinstance(value, list | tuple) else value


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []


def _hard(example: Example, marks: Marks | None) -> dict[str, float]:
    return {} if marks is None or marks.difficulty is None else {DIFFICULTY: _difficulty(example, marks.difficulty)}


def _difficulty(example: Example, source: str) -> float:
    """Return how hard an example is: how doubtful its label is, from 0 to 1, or what its row has in the column."""
    if source == CERTAINTY:
        if "chosen_probability" not in example.values:
            raise InputError(f"--curriculum certainty is that of pairs' labels, and {example.place} is no pair.")
        return 1.0 - abs(2.0 * float(example.values["chosen_probability"]) - 1.0)
    value = example.about.get(source)
    try:
        number = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{example.place} has no number in the column {source}, which --curriculum orders by.")
    return number


@cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="cai-examples-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
