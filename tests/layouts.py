"""A run whose prompts are of every form that formats treat differently, and what its exports hold, file by file."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cai.core.records import Message, Row
from tests.storage import fill, make_row, user

SYSTEM: Message = {"role": "system", "content": "You are kind."}
TALK: tuple[Message, ...] = (user("hello"), {"role": "assistant", "content": "yes?"}, user("how?\n\nplease"))
PROMPTS: dict[str, tuple[Message, ...]] = {
    "plain": (user("how?"),),
    "system": (SYSTEM, user("how?")),
    "talk": TALK,
    "both": (SYSTEM, *TALK),
    "twice": (user("hello"), user("how?")),
}


def rows(*names: str) -> list[Row]:
    """Return two rows a prompt form, the second with what the model thought before its responses and revisions."""
    made = []
    for number in range(2 * len(names)):
        name = names[number // 2]
        row = make_row(number)
        row = replace(row, prompt=replace(row.prompt, id=f"{name}-{number % 2}", messages=PROMPTS[name]))
        if number % 2:
            row = replace(row, traces=tuple(map(_thinking, row.traces)))
        made.append(row)
    return made


def _thinking(trace: Any) -> Any:
    turns = tuple(replace(turn, revision_reasoning="hm") if turn.revision else turn for turn in trace.rounds)
    return replace(trace, rounds=turns, reasoning="well")


def make_run(directory: Path, *names: str) -> Path:
    fill(directory, rows(*(names or PROMPTS)))
    return directory


def records(directory: Path, folder: str) -> list[dict[str, Any]]:
    """Return what lies in a folder of a format, the train split first."""
    found: list[dict[str, Any]] = []
    for path in sorted((directory / folder).iterdir(), key=lambda path: path.name, reverse=True):
        found += _read(path) if path.is_file() else ()
    return found


def _read(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        yield from pq.read_table(path).to_pylist()
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)
    elif path.suffix == ".json":
        yield from json.loads(path.read_text(encoding="utf-8"))
    else:
        # Not splitlines: text in JSON may hold other line ends than \n.
        yield from map(json.loads, path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
