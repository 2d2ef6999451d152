"""How quick the review page is on a large run: `python -m benchmarks review` (100,000 rows of about 1.5 KB).

What is timed is a request as the page sends it, from the question to the last byte of the answer, the slowest of
several. The client is in the server's process, so its own cost is in the figures.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.store import DIFFERENT, numbered
from tests.reviewing import Page, reviewing
from tests.storage import make_row, open_run, user

ROWS = 100_000
TIMES = 10
PAGE_MS = 150.0


def measure(rows: int = ROWS) -> list[Figure]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder, "run"), rows)
        return asyncio.run(_measured(Path(folder, "run"), rows))


def _fill(directory: Path, rows: int) -> None:
    """Make a run; one row in a thousand has a word and a tag of its own."""
    patterns = [make_row(number) for number in range(DIFFERENT)]
    run = open_run(directory)
    for number in range(rows):
        row = numbered(patterns[number % DIFFERENT], number)
        if number % 1000 == 999:
            asked = user(f"{row.prompt.messages[0]['content']} needle")
            row = replace(row, prompt=replace(row.prompt, messages=(asked,), tags=("rare",)))
        run.commit(row)
    run.close("done")


async def _measured(place: Path, rows: int) -> list[Figure]:
    figures = []
    async with reviewing(place) as page:
        start = time.perf_counter()
        slowest = 0.0
        while not (await page.get("place"))["complete"]:
            slowest = max(slowest, await _timed(partial(page.get, "chains", words="alpha", limit=50)))
        figures.append(Figure(f"all {rows:,} rows read and indexed", time.perf_counter() - start, "s"))
        figures.append(Figure("slowest search while they are read", slowest, "ms"))
        queries: dict[str, dict[str, str | int]] = {
            "first page": {},
            "last page": {"offset": rows - 50},
            "page of a filter that nearly all pass": {"principle": "privacy", "gate": "broken", "verdict": "decided"},
            "page of a rare tag": {"tag": "rare", "gate": "broken"},
            "search for a word in nearly every row": {"words": "alpha"},
            "search for two such words, with a filter": {"words": "beta gamma", "gate": "kept"},
            "search for a rare word": {"words": "needle"},
            "lengths": {"at_least": 100, "at_most": 120},
        }
        for name, query in queries.items():
            figures.append(await _slowest(name, page, "chains", query, rows))
        chains = (f"chains/{number * rows // TIMES}" for number in range(TIMES))
        slowest = max([await _timed(partial(page.get, path)) for path in chains])
        figures.append(Figure("a chain with its word diffs", slowest, "ms", PAGE_MS))
        figures += await _annotating(page)
    return figures


async def _slowest(name: str, page: Page, path: str, query: dict[str, str | int], rows: int) -> Figure:
    """Return the slowest of several, each of another page, so that none was asked for before."""
    times = []
    for number in range(TIMES):
        offset = {"offset": number * 50} if "offset" not in query else {"offset": rows - 50 - number}
        times.append(await _timed(partial(page.get, path, **{**query, **offset}, limit=50)))
    return Figure(name, max(times), "ms", PAGE_MS)


async def _annotating(page: Page) -> list[Figure]:
    start = time.perf_counter()
    found = await page.next()
    opened = time.perf_counter() - start
    times = []
    for _ in range(TIMES):
        before = time.perf_counter()
        found = (await page.say(found, {"overall": "a"}))["next"]
        times.append((time.perf_counter() - before) * 1000)
    return [
        Figure("the first pair to annotate", opened, "s"),
        Figure("an answer kept on the disk and the next pair shown", max(times), "ms", PAGE_MS),
    ]


async def _timed(ask: Callable[[], Awaitable[Any]]) -> float:
    """Return how long a request took, in ms."""
    before = time.perf_counter()
    await ask()
    return (time.perf_counter() - before) * 1000
