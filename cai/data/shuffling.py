"""A permutation of any number of rows in bounded memory.

The rows are written to a temporary file (in $TMPDIR) and read back in the order drawn from the seed, so that every kind
of source is shuffled as a whole and alike. 16 bytes a row stay in memory.
"""

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import orjson

from cai.core.errors import StoreError
from cai.core.identity import derive_seed
from cai.data.drafts import Draft
from cai.data.rows import BrokenRow


def shuffled(rows: Iterable[Draft | BrokenRow], seed: int) -> Iterator[Draft | BrokenRow]:
    """Yield every row once, in an order that depends on the seed and the number of rows only."""
    import numpy as np  # noqa: PLC0415  (those who do not shuffle do not wait for it)

    try:
        with tempfile.TemporaryFile(prefix="cai-shuffle-") as file:
            ends = _write(rows, file)
            # RandomState, because numpy promises its stream for good: an update in mid-run changes no order.
            order = np.random.RandomState(derive_seed(seed, "shuffle")).permutation(len(ends) - 1)
            for index in order:
                file.seek(ends[index])
                yield _read(file, ends[index + 1] - ends[index])
    except OSError as error:
        raise StoreError(f"--shuffle needs room for a copy of the prompts in $TMPDIR: {error.strerror}.") from error


def _write(rows: Iterable[Draft | BrokenRow], file: BinaryIO) -> "array[int]":
    """Append the rows to the file and return where each begins, and where the last ends."""
    ends = array("Q", [0])
    for row in rows:
        data = orjson.dumps((isinstance(row, Draft), tuple(row)))
        file.write(data)
        ends.append(ends[-1] + len(data))
    return ends


def _read(file: BinaryIO, length: int) -> Draft | BrokenRow:
    usable, fields = orjson.loads(file.read(length))
    if not usable:
        return BrokenRow(*fields)
    place, name, messages, tags = fields
    return Draft(place, name, tuple(messages), tuple(tags))
