"""All chains of a place, to be listed, filtered and searched: an SQLite database in a temporary folder.

It is filled once, in a thread, while it is read: what is in already can be looked at. Chains are numbered in the order
of the data, from 0. A page of a hundred thousand chains takes milliseconds (`python -m benchmarks review`).
"""

import re
import sqlite3
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event, Lock
from typing import Any

import orjson

from cai.review.chains import Chain, texts_of

PER_TRANSACTION = 500
LONGEST_VALUE = 200
REMEMBERED_COUNTS = 64

_WORD = re.compile(r"\w+")

_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE chains (number INTEGER PRIMARY KEY, id TEXT, title TEXT, length INTEGER, document BLOB);
CREATE INDEX ids ON chains (id);
CREATE TABLE facts (name TEXT, value TEXT, number INTEGER, PRIMARY KEY (name, value, number)) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (texts, content = '', detail = full);
"""


@dataclass(frozen=True, slots=True)
class ChainQuery:
    """Which chains are meant: those with all of these facts, words and lengths; nothing given: all."""

    facts: frozenset[tuple[str, str]] = frozenset()
    words: str = ""
    at_least: int | None = None
    at_most: int | None = None


class ChainIndex:
    """The database; `fill` is called once, from one thread, everything else from any."""

    def __init__(self, folder: Path) -> None:
        """Make the database in a folder that is removed by whoever made it."""
        self._path = folder / "chains.sqlite"
        self._reader = self._connect()
        self._reader.executescript(_TABLES)
        self._lock = Lock()
        self._counts: OrderedDict[tuple[ChainQuery, int], int] = OrderedDict()
        self._facts: Counter[tuple[str, str]] = Counter()
        self._stop = Event()
        self.filled = 0
        self.complete = False

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)

    def fill(self, chains: Iterable[Chain]) -> None:
        """Take in all chains; ends early when the index is closed. Raises what reading them raises."""
        writer = self._connect()
        try:
            numbered = enumerate(chains)
            while several := list(islice(numbered, PER_TRANSACTION)):
                if self._stop.is_set():
                    return
                self._take_in(writer, several)
            self.complete = True
        finally:
            writer.close()

    def _take_in(self, writer: sqlite3.Connection, several: Iterable[tuple[int, Chain]]) -> None:
        chains, facts, words = [], [], []
        for number, chain in several:
            data = zlib.compress(orjson.dumps(chain.document), 1)
            chains.append((number, chain.id, chain.title, chain.length, data))
            facts += [(name, value[:LONGEST_VALUE], number) for name, value in chain.facts]
            words.append((number, texts_of(chain.document)))
        writer.execute("BEGIN")
        writer.executemany("INSERT INTO chains VALUES (?, ?, ?, ?, ?)", chains)
        writer.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?, ?)", facts)
        writer.executemany("INSERT INTO words (rowid, texts) VALUES (?, ?)", words)
        writer.execute("COMMIT")
        self._facts.update((name, value) for name, value, _ in facts)
        self.filled += len(chains)

    def page(self, query: ChainQuery, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """Return how many chains are meant, and those from `offset` on, at most `limit`: number, id, title, length."""
        where, values = _conditions(query)
        listing = f"SELECT number, id, title, length FROM chains{where} ORDER BY number LIMIT ? OFFSET ?"  # noqa: S608
        with self._lock:
            rows = self._reader.execute(listing, (*values, limit, offset)).fetchall()
            total = self._count(query, where, values)
        return total, [dict(zip(("number", "id", "title", "length"), row, strict=True)) for row in rows]

    def _count(self, query: ChainQuery, where: str, values: list[Any]) -> int:
        if query == ChainQuery():
            return self.filled
        name = query, self.filled
        if name not in self._counts:
            counting = f"SELECT count(*) FROM chains{where}"  # noqa: S608  (conditions are ours, values are bound)
            self._counts[name] = self._reader.execute(counting, values).fetchone()[0]
            if len(self._counts) > REMEMBERED_COUNTS:
                self._counts.popitem(last=False)
        return self._counts[name]

    def chain(self, number: int) -> dict[str, Any] | None:
        """Return the document of a chain, None where there is none of that number."""
        return self._document("number", number)

    def find(self, name: str) -> dict[str, Any] | None:
        """Return the document of the first chain of an id, None where there is none."""
        return self._document("id", name)

    def _document(self, column: str, value: int | str) -> dict[str, Any] | None:
        finding = f"SELECT number, document FROM chains WHERE {column} = ? ORDER BY number LIMIT 1"  # noqa: S608
        with self._lock:
            row = self._reader.execute(finding, (value,)).fetchone()
        return None if row is None else {"number": row[0], **orjson.loads(zlib.decompress(row[1]))}

    def facets(self) -> Mapping[str, dict[str, int]]:
        """Return the values of each filter with how many chains have them, the most frequent first."""
        found: dict[str, dict[str, int]] = {}
        for (name, value), count in Counter(dict(self._facts)).most_common():
            found.setdefault(name, {})[value] = count
        return found

    def close(self) -> None:
        """Stop filling, and let go of the database."""
        self._stop.set()
        with self._lock:
            self._reader.close()


def _conditions(query: ChainQuery) -> tuple[str, list[Any]]:
    """Return a query as SQL: what was typed is only ever bound, or words that are searched."""
    conditions: list[str] = []
    values: list[Any] = []
    for fact in sorted(query.facts):
        conditions.append("number IN (SELECT number FROM facts WHERE name = ? AND value = ?)")
        values += fact
    if words := _WORD.findall(query.words):
        conditions.append("number IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(" ".join(f'"{word}"*' for word in words))
    if query.at_least is not None:
        conditions.append("length >= ?")
        values.append(query.at_least)
    if query.at_most is not None:
        conditions.append("length <= ?")
        values.append(query.at_most)
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values
