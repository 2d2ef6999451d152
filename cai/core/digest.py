"""Parquet files that tell whether they are whole: a digest of all other bytes lies between the pages and the footer.

Whoever reads Parquet goes by the offsets in the footer and passes over these bytes. So the digest is part of the file:
no kill can come between the two, and wherever a file is copied, a URL included, it takes its digest along.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal

from cai.core.paths import open_file

State = Literal["whole", "damaged", "unsealed"]

MARK = b"cai blake2b:"
_DIGEST_SIZE = 16
_SEAL_SIZE = len(MARK) + _DIGEST_SIZE
_MAGIC = b"PAR1"
_BLOCK = 1 << 20


def add_digest(path: Path) -> None:
    """Put the digest into a Parquet file that was written just now; raises OSError.

    A kill meanwhile leaves a file that is not whole, so `path` is a temporary name.
    """
    with path.open("r+b") as file:
        start = _footer_start(file)
        assert start is not None, f"{path} is no Parquet file"  # noqa: S101  (the caller has just written it)
        digest = _digest(file, start, start)
        file.seek(start)
        footer = file.read()
        file.seek(start)
        file.write(MARK + digest + footer)


def check_digest(path: Path) -> State:
    """Tell whether a file is as `add_digest` left it; `unsealed`: without a digest, or no Parquet. Raises OSError."""
    with open_file(path) as file:
        start = _footer_start(file)
        if start is None or start < len(_MAGIC) + _SEAL_SIZE:
            return "unsealed"
        file.seek(start - _SEAL_SIZE)
        seal = file.read(_SEAL_SIZE)
        if not seal.startswith(MARK):
            return "unsealed"
        return "whole" if seal == MARK + _digest(file, start - _SEAL_SIZE, start) else "damaged"


def is_whole(path: Path) -> bool:
    """Tell whether a file is as `add_digest` left it, without reading it twice in a process; raises OSError."""
    status = path.stat()
    return _is_whole(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 20)
def _is_whole(path: Path, _size: int, _changed: int) -> bool:
    return check_digest(path) == "whole"


def _footer_start(file: BinaryIO) -> int | None:
    """Return where the footer begins: its length and the magic bytes are the last eight. None: no Parquet."""
    size = file.seek(0, os.SEEK_END)
    if size < 2 * len(_MAGIC) + 4:
        return None
    file.seek(-8, os.SEEK_END)
    tail = file.read(8)
    start = size - 8 - int.from_bytes(tail[:4], "little")
    return start if tail[4:] == _MAGIC and start >= len(_MAGIC) else None


def _digest(file: BinaryIO, pages_end: int, footer_start: int) -> bytes:
    """Return the digest of everything but the bytes between the two places."""
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    file.seek(0)
    left = pages_end
    while left and (block := file.read(min(left, _BLOCK))):
        digest.update(block)
        left -= len(block)
    file.seek(footer_start)
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.digest()
