"""The mark of a directory that cai fills: the first line of `.cai/record.jsonl` in it.

A directory is cai's by this mark and by nothing else: other tools write a `run.json` or a `train.json` too, and a name
says nothing about who wrote what lies under it. A run at a URL has the mark in `.cai/record-<series>.jsonl`, a file of
each working copy. Knows nothing of what is in such a place; `cai.rundir` leaves the mark, whoever reads other people's
files asks for it.
"""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Literal, get_args

FOLDER = ".cai"
RECORD = "record.jsonl"
FORMAT = 1

Kind = Literal["run", "training", "evaluation", "loop", "check", "judge-bench"]
KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}

LONGEST = 4096
"""Bytes at the beginning of a record that its mark is looked for in; it takes a hundred."""

_RECORD_NAME = re.compile(rf"(?:(.+)/)?{re.escape(FOLDER)}/(record(?:-[0-9]+)?\.jsonl)", re.DOTALL)


def mark(kind: Kind, version: str) -> bytes:
    """Return the line that marks a directory of this kind, made by this version of cai."""
    return json.dumps({"cai": kind, "format": FORMAT, "version": version}).encode() + b"\n"


def parse_mark(data: bytes) -> Kind | None:
    """Return the kind of directory that a record begins with the mark of, or None when it begins with none."""
    line, newline, _ = data[:LONGEST].partition(b"\n")
    with suppress(ValueError, RecursionError):
        value = json.loads(line)
        if newline and isinstance(value, dict) and value.get("format") == FORMAT:
            return KINDS.get(str(value.get("cai")))
    return None


def record_at_url(series: int) -> str:
    """Return the name, below the URL of a run, of the record of the working copy of this series."""
    return f"{FOLDER}/record-{series}.jsonl"


def folder_of_record(name: str) -> str | None:
    """Return which folder a file is a record of by its name, "" for the place that names begin at, or None."""
    match = _RECORD_NAME.fullmatch(name)
    return None if match is None else match[1] or ""


def kind_of(directory: Path) -> Kind | None:
    """Return what kind of directory of cai's this is, or None when it is none; follows no link inside of it."""
    return _kind_in(directory, RECORD)


def kind_of_any(directory: Path) -> Kind | None:
    """Do as `kind_of` does, for a directory too that a run at a URL was sent to."""
    with suppress(OSError, ValueError):
        for name in sorted(os.listdir(directory / FOLDER)):  # noqa: PTH208  (raises at once)
            if folder_of_record(f"{FOLDER}/{name}") is not None and (kind := _kind_in(directory, name)) is not None:
                return kind
    return None


def _kind_in(directory: Path, name: str) -> Kind | None:
    with suppress(OSError, ValueError):
        descriptor = open_record(directory, os.O_RDONLY, name)
        try:
            return parse_mark(os.pread(descriptor, LONGEST, 0))
        finally:
            os.close(descriptor)
    return None


def open_record(directory: Path, flags: int, name: str = RECORD) -> int:
    """Open a directory's record, an ordinary file in an ordinary folder; raises OSError for anything else."""
    folder = os.open(directory / FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Without O_NONBLOCK a pipe of that name would be waited for.
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644, dir_fd=folder)
    finally:
        os.close(folder)
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{directory / FOLDER / name} is no file")
    return descriptor
