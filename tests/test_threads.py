"""Blocking work beside an event loop: its outcome arrives, and neither a cancelled task nor an end waits for it."""

import asyncio
import threading

import pytest

from cai.core.errors import StoreError
from cai.core.threads import finished, in_thread

PATIENCE = 60.0
"""Seconds until a test that hangs has failed."""


def test_what_the_work_returns_or_raises_arrives_and_the_loop_goes_on_meanwhile() -> None:
    async def main() -> None:
        went_on = threading.Event()
        waiting = in_thread(lambda: went_on.wait(PATIENCE))
        await asyncio.sleep(0)
        went_on.set()
        assert await waiting is True

        def refuse() -> None:
            raise StoreError("the disk is full")

        with pytest.raises(StoreError, match="the disk is full"):
            await in_thread(refuse)

    asyncio.run(main())


def test_work_that_hangs_is_left_behind_by_a_cancelled_task_and_by_the_end_of_the_loop() -> None:
    for_ever, threads = threading.Event(), []

    def hang() -> None:
        threads.append(threading.current_thread())
        for_ever.wait(PATIENCE)

    async def wait() -> None:
        await in_thread(hang)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), 0.01)
        in_thread(hang)

    asyncio.run(main())
    assert [thread.is_alive() for thread in threads] == [True, True]
    assert all(thread.daemon for thread in threads), "the end of the process waits for no such thread"
    for_ever.set()
    for thread in threads:
        thread.join(PATIENCE)


def test_work_that_must_not_be_left_behind_is_waited_for_by_a_cancelled_task_too() -> None:
    async def main() -> None:
        ends, ended = threading.Event(), []

        def work() -> None:
            ends.wait(PATIENCE)
            ended.append(True)

        task = asyncio.ensure_future(finished(in_thread(work)))
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        assert not task.done()
        ends.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]

    asyncio.run(main())
