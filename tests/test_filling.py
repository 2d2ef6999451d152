"""A run around the pipeline: its directory is opened and closed beside the event loop, and a URL is not waited for."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cai.core.errors import InterruptError
from cai.core.records import Prompt, Row, Usage
from cai.core.urls import RemoteFolder
from cai.pipeline.filling import Summary, fill, open_run
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.rundir import Inputs, Run, working_copy
from cai.rundir.claim import is_claimed
from tests.storage import IDENTITY, make_row

PATIENCE = 60.0
"""Seconds until a test that hangs has failed."""


ROWS = [replace(make_row(number), usage=Usage(0, 0, 0, 0)) for number in range(6)]


class Server:
    """The URL's other end, which stops answering one kind of request."""

    def __init__(self, method: str, patch: pytest.MonkeyPatch) -> None:
        self.asked, self.answers = threading.Event(), threading.Event()
        asks = getattr(RemoteFolder, method)

        def waiting(*arguments: Any) -> Any:
            self.asked.set()
            self.answers.wait(PATIENCE)
            return asks(*arguments)

        patch.setattr(RemoteFolder, method, waiting)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working copy of a run at a URL where nothing is yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return working_copy((tmp_path / "there" / "run").as_uri())


UNCHANGED = Inputs("", list)


async def opened(directory: Path, watch: Watch, inputs: Inputs = UNCHANGED) -> Run:
    return await open_run(directory, IDENTITY, {}, inputs, watch, fresh=False, retry_failed=False)


async def filled(run: Run, watch: Watch) -> Summary:
    async def work(row: Row) -> Row:
        return row

    async def check() -> None:
        return None

    return await fill(run, Pipeline(work, run, 4, watch.progress, watch.stop), ROWS, watch, lambda: 0, check)


async def until(is_so: Callable[[], bool]) -> None:
    """Return once something is so in another thread; the loop goes on meanwhile."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def test_a_url_that_does_not_answer_is_left_and_no_run_stays_open(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, watch = Server("sizes", monkeypatch), Watch()

    async def main() -> None:
        task = asyncio.ensure_future(opened(copy, watch))
        await until(server.asked.is_set)
        assert watch.stop.is_at_once, "there is nothing to drain: the first Ctrl-C ends it"
        task.cancel()
        with pytest.raises(InterruptError, match=r"^interrupted before file://\S+ answered; the same command goes on"):
            await task
        assert not watch.stop.is_at_once
        server.answers.set()
        await until(lambda: not is_claimed(copy))

    asyncio.run(main())


def test_a_last_upload_is_left_and_the_same_command_goes_on(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()

    async def main() -> Server:
        run = await opened(copy, watch)
        server = Server("put", monkeypatch)
        task = asyncio.ensure_future(filled(run, watch))
        await until(server.asked.is_set)
        assert watch.progress.done == 6
        assert watch.stop.is_at_once
        task.cancel()
        with pytest.raises(InterruptError, match=r"^interrupted before file://\S+ had everything; what is done"):
            await task
        assert Run.read(copy).manifest.status == "interrupted"
        return server

    server = asyncio.run(main())
    server.answers.set()

    async def again() -> Summary:
        await until(lambda: not is_claimed(copy))
        return await filled(await opened(copy, Watch()), Watch())

    summary = asyncio.run(again())
    assert (summary.status, summary.skipped, summary.rows) == ("done", 6, 6)


def drain(watch: Watch, _task: asyncio.Task[Run]) -> None:
    watch.stop.drain()


def cancel(_watch: Watch, task: asyncio.Task[Run]) -> None:
    task.cancel()


@pytest.mark.parametrize("end", [drain, cancel])
def test_a_changed_input_that_stalls_while_a_run_is_opened_is_left(
    end: Callable[[Watch, asyncio.Task[Run]], None], tmp_path: Path
) -> None:
    watch, asked, goes_on, out = Watch(), threading.Event(), threading.Event(), tmp_path / "run"

    def stalling() -> Iterator[Prompt]:
        yield ROWS[0].prompt
        asked.set()
        goes_on.wait(PATIENCE)

    async def main() -> None:
        await filled(await opened(out, Watch()), Watch())
        task = asyncio.create_task(opened(out, watch, Inputs("changed", stalling)))
        await until(asked.is_set)
        end(watch, task)
        with pytest.raises(InterruptError, match=r"^interrupted while the input was read; the same command goes on"):
            await asyncio.wait_for(task, PATIENCE / 2)
        assert not is_claimed(out)
        goes_on.set()
        again = await opened(out, Watch(), Inputs("changed", lambda: [row.prompt for row in ROWS[:2]]))
        assert again.finished == 2
        await filled(again, Watch())

    asyncio.run(main())


def test_a_run_on_a_disk_that_is_opened_in_vain_is_closed_before_the_task_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, begun, goes_on, enter = Watch(), threading.Event(), threading.Event(), Run.open

    def slowly(*arguments: Any, **options: Any) -> Run:
        begun.set()
        goes_on.wait(PATIENCE)
        return enter(*arguments, **options)

    monkeypatch.setattr(Run, "open", slowly)

    async def main() -> None:
        task = asyncio.ensure_future(opened(tmp_path / "run", watch))
        await until(begun.is_set)
        assert not watch.stop.is_at_once
        task.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert Run.read(tmp_path / "run").manifest.status == "interrupted"
    assert not is_claimed(tmp_path / "run")


def test_a_disk_is_waited_for_by_a_cancelled_task_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, begun, goes_on, close = Watch(), threading.Event(), threading.Event(), Run.close

    def slowly(run: Run, status: Any) -> None:
        begun.set()
        goes_on.wait(PATIENCE)
        close(run, status)

    monkeypatch.setattr(Run, "close", slowly)

    async def main() -> None:
        run = await opened(tmp_path / "run", watch)
        task = asyncio.ensure_future(filled(run, watch))
        await until(begun.is_set)
        assert not watch.stop.is_at_once
        task.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert Run.read(tmp_path / "run").manifest.status == "done"
    assert not is_claimed(tmp_path / "run")
