"""Threads at one open run: what they share is whole whenever it is looked at, and nothing is lost or counted twice."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cai.core.keyset import KeySet
from cai.core.records import Usage
from cai.rundir import Run
from cai.rundir import run as run_module
from tests.storage import make_failure, make_row, open_run

ROWS = 240
COMMITTERS = 3


@pytest.fixture(autouse=True)
def racing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have threads change places as often as can be, and everything that is done once in a while be done often."""
    monkeypatch.setattr(run_module, "JOURNAL_ROWS", 7)
    monkeypatch.setattr(KeySet.__init__, "__kwdefaults__", {"recent_limit": 5})
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.slow
def test_threads_that_commit_fail_and_look_find_a_whole_run(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    committed: set[str] = set()
    ended = threading.Event()

    def commit(first: int) -> None:
        for number in range(first, ROWS, COMMITTERS):
            run.fail(make_failure(number, retryable=True))
            row = make_row(number)
            run.commit(row)
            run.commit(row)
            run.note_usage(Usage(1, 1, 1, 1))
            committed.add(row.prompt.id)

    def look_at_failures() -> None:
        before = set(committed)
        assert not before & {failure.id for failure in run.failures()}

    def look_at_figures() -> None:
        before = len(committed)
        rows, usage = run.finished, run.usage
        assert rows >= before
        assert usage.requests >= 10 * before
        assert usage.requests % 10 == 0
        assert run.failed <= ROWS

    def look_at_rows() -> None:
        counted = run.manifest.rows
        assert len(list(run)) >= counted, "run.json counts a row that nobody can read"

    def keep(look: Callable[[], None]) -> None:
        while not ended.is_set():
            look()

    with ThreadPoolExecutor() as threads:
        looking = [threads.submit(keep, look) for look in (look_at_failures, look_at_figures, look_at_rows)]
        committing = [threads.submit(commit, first) for first in range(COMMITTERS)]
        for task in committing:
            task.exception()
        ended.set()
        for task in (*committing, *looking):
            task.result()
    run.close("done")
    assert list(Run.read(tmp_path)) == [make_row(number) for number in range(ROWS)]
    manifest = run.manifest
    assert (manifest.rows, manifest.failures, run.usage.requests) == (ROWS, 0, 10 * ROWS)
    assert manifest.lost_usage == Usage(ROWS, ROWS, ROWS, ROWS)
    assert list(run.failures()) == []


def test_a_run_is_closed_once_whoever_closes_it(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.commit(make_row(0))
    with ThreadPoolExecutor(4) as threads:
        for task in [threads.submit(run.close, "done") for _ in range(4)]:
            task.result()
    assert (run.manifest.status, list(Run.read(tmp_path))) == ("done", [make_row(0)])
