"""All chains of a place, to be listed, filtered and searched: texts in a temporary SQLite database, facts in memory.

The database is a file without a name, so that nothing is left of it when the process is killed. It is filled in a
thread, while it is read: what is in already can be looked at. Chains are numbered in the order in which they come, from
0. A chain takes some 4 bytes a fact in memory; a page of 100,000 takes milliseconds (`python -m benchmarks review`).

Words are found by how they begin. Where words run on without a space or take endings, as in Korean, Japanese and
Chinese, any part of them is: such texts are indexed by every two signs that follow each other.
"""

import os
import re
import sqlite3
import tempfile
import zlib
from array import array
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeAlias
from unicodedata import normalize

import numpy as np
import orjson
from numpy.typing import NDArray

from cai.review.chains import Chain, Fact, texts_of
from cai.rundir.files import refusal

PER_TRANSACTION = 500
LONGEST_VALUE = 200
REMEMBERED = 16
"""Queries whose chains are remembered, so that the next page of them need not search again."""

_WORD = re.compile(r"\w+")
_RUN = re.compile(
    "[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]+"
)
"""Signs of Hangul, kana and Chinese that follow each other."""

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE chains (number INTEGER PRIMARY KEY, id TEXT, title TEXT, length INTEGER, document BLOB);
CREATE INDEX ids ON chains (id);
CREATE VIRTUAL TABLE words USING fts5 (texts, content = '');
"""

Numbers: TypeAlias = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class ChainQuery:
    """Which chains are meant: those with all of these facts, words and lengths; nothing given: all."""

    facts: frozenset[Fact] = frozenset()
    words: str = ""
    at_least: int | None = None
    at_most: int | None = None


class ChainIndex:
    """The index; `fill` is called from one thread, everything else from any."""

    def __init__(self) -> None:
        """Make the database, in the folder for temporary files; raises StoreError when the disk refuses."""
        self._lock = Lock()
        try:
            descriptor, name = tempfile.mkstemp(prefix="cai-review-")
        except OSError as error:
            raise refusal(Path(tempfile.gettempdir()), error) from error
        self._database = sqlite3.connect(name, check_same_thread=False, isolation_level=None)
        self._database.executescript(_TABLES)
        os.close(descriptor)
        os.unlink(name)  # noqa: PTH108  (the database has it open)
        self._facts: defaultdict[Fact, array[int]] = defaultdict(lambda: array("I"))
        self._lengths = array("I")
        self._found: OrderedDict[tuple[ChainQuery, int], Numbers] = OrderedDict()
        self._stop = Event()
        self.complete = False

    @property
    def filled(self) -> int:
        """How many chains are in it."""
        return len(self._lengths)

    def fill(self, chains: Iterable[Chain]) -> None:
        """Take in all chains, behind those that are there; ends early when the index is closed.

        Raises what reading them raises.
        """
        numbered = enumerate(chains, start=self.filled)
        while several := list(islice(numbered, PER_TRANSACTION)):
            if self._stop.is_set():
                return
            self._take_in(several)
        self.complete = True

    def _take_in(self, several: list[tuple[int, Chain]]) -> None:
        chains = [
            (number, chain.id, chain.title, chain.length, zlib.compress(orjson.dumps(chain.document), 1))
            for number, chain in several
        ]
        words = [(number, searchable(texts_of(chain.document))) for number, chain in several]
        with self._lock:
            if self._stop.is_set():
                return
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO chains VALUES (?, ?, ?, ?, ?)", chains)
            self._database.executemany("INSERT INTO words (rowid, texts) VALUES (?, ?)", words)
            self._database.execute("COMMIT")
            for number, chain in several:
                for name, value in chain.facts:
                    self._facts[name, value[:LONGEST_VALUE]].append(number)
                self._lengths.append(chain.length)

    def page(self, query: ChainQuery, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """Return how many chains are meant, and those from `offset` on, at most `limit`: number, id, title, length."""
        with self._lock:
            meant = self._meant(query)
            numbers = meant[offset : offset + limit].tolist()
            places = ",".join("?" * len(numbers))
            listing = f"SELECT number, id, title, length FROM chains WHERE number IN ({places}) ORDER BY number"  # noqa: S608
            rows = self._database.execute(listing, numbers).fetchall()
        return len(meant), [dict(zip(("number", "id", "title", "length"), row, strict=True)) for row in rows]

    def _meant(self, query: ChainQuery) -> Numbers:
        """Return the numbers of the chains that are meant, ascending; the lock is held."""
        name = query, self.filled
        if name in self._found:
            self._found.move_to_end(name)
            return self._found[name]
        # Copies: an array that is looked at by numpy could not grow.
        lengths = np.array(self._lengths, dtype=np.uint32)
        mask = np.ones(len(lengths), dtype=bool)
        for fact in query.facts:
            mask &= _mask(self._facts.get(fact, ()), len(lengths))
        if words := _WORD.findall(normalize("NFC", query.words)):
            searched = " ".join(map(_sought, words))
            rows = self._database.execute("SELECT rowid FROM words WHERE words MATCH ?", (searched,))
            mask &= _mask([number for (number,) in rows], len(lengths))
        if query.at_least is not None:
            mask &= lengths >= query.at_least
        if query.at_most is not None:
            mask &= lengths <= query.at_most
        self._found[name] = np.flatnonzero(mask).astype(np.uint32)
        if len(self._found) > REMEMBERED:
            self._found.popitem(last=False)
        return self._found[name]

    def chain(self, number: int) -> dict[str, Any] | None:
        """Return the document of a chain, None where there is none of that number."""
        return self._document("number", number)

    def find(self, name: str) -> dict[str, Any] | None:
        """Return the document of the first chain of an id, None where there is none."""
        return self._document("id", name)

    def _document(self, column: str, value: int | str) -> dict[str, Any] | None:
        finding = f"SELECT number, document FROM chains WHERE {column} = ? ORDER BY number LIMIT 1"  # noqa: S608
        with self._lock:
            row = self._database.execute(finding, (value,)).fetchone()
        return None if row is None else {"number": row[0], **orjson.loads(zlib.decompress(row[1]))}

    def facets(self) -> Mapping[str, dict[str, int]]:
        """Return the values of each filter with how many chains have them, the most frequent first."""
        with self._lock:
            counts = sorted(((len(numbers), fact) for fact, numbers in self._facts.items()), reverse=True)
        found: dict[str, dict[str, int]] = {}
        for count, (name, value) in counts:
            found.setdefault(name, {})[value] = count
        return found

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the index is closed, which is told."""
        return self._stop.wait(seconds)

    def close(self) -> None:
        """Stop filling, and let go of the database."""
        self._stop.set()
        with self._lock:
            self._database.close()


def searchable(text: str) -> str:
    """Return a text in the words by which it is found, those of `_RUN` as every two signs, and the last alone."""
    if text.isascii():
        return text
    return _RUN.sub(lambda run: f" {' '.join(_pairs(run[0], last=True))} ", normalize("NFC", text))


def _sought(word: str) -> str:
    """Return what finds a word: its parts, one behind the other, the last of which may go on."""
    parts = _RUN.sub(lambda run: f" {' '.join(_pairs(run[0], last=len(run[0]) == 1))} ", word).split()
    return f'"{" ".join(parts)}"*'


def _pairs(run: str, *, last: bool) -> list[str]:
    return [run[place : place + 2] for place in range(len(run) if last else len(run) - 1)]


def _mask(numbers: Iterable[int], count: int) -> NDArray[np.bool_]:
    """Return which of so many numbers are among these; larger ones are of chains that are just taken in."""
    mask = np.zeros(count, dtype=bool)
    found = np.array(numbers, dtype=np.int64)
    mask[found[found < count]] = True
    return mask
