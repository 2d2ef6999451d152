"""The mark of a directory that cai fills: the first line of `.cai/record.jsonl` in it.

A directory is cai's by this mark and by nothing else: other tools write a `run.json` or a `train.json` too, and a name
says nothing about who wrote what lies under it. Knows nothing of what is in such a directory; `cai.store.claim` leaves
the mark, whoever reads other people's files asks for it.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Literal

FOLDER = ".cai"
RECORD = "record.jsonl"
FORMAT = 1

Kind = Literal["run", "training", "evaluation", "loop"]
KINDS: dict[str, Kind] = {"run": "run", "training": "training", "evaluation": "evaluation", "loop": "loop"}

_LONGEST = 4096  # bytes; a mark takes a hundred


def mark(kind: Kind, version: str) -> bytes:
    """Return the line that marks a directory of this kind, made by this version of cai."""
    return json.dumps({"cai": kind, "format": FORMAT, "version": version}).encode() + b"\n"


def parse_mark(data: bytes) -> Kind | None:
    """Return the kind of directory that a record begins with the mark of, or None when it begins with none."""
    line, newline, _ = data[:_LONGEST].partition(b"\n")
    with suppress(ValueError, RecursionError):
        value = json.loads(line)
        if newline and isinstance(value, dict) and value.get("format") == FORMAT:
            return KINDS.get(str(value.get("cai")))
    return None


def kind_of(directory: Path) -> Kind | None:
    """Return what kind of directory of cai's this is, or None when it is none; follows no link inside of it."""
    with suppress(OSError, ValueError):
        descriptor = open_record(directory, os.O_RDONLY)
        try:
            return parse_mark(os.pread(descriptor, _LONGEST, 0))
        finally:
            os.close(descriptor)
    return None


def open_record(directory: Path, flags: int) -> int:
    """Open a directory's record, an ordinary file in an ordinary folder; raises OSError for anything else."""
    folder = os.open(directory / FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Without O_NONBLOCK a pipe of that name would be waited for.
        descriptor = os.open(RECORD, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644, dir_fd=folder)
    finally:
        os.close(folder)
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{directory / FOLDER / RECORD} is no file")
    return descriptor
