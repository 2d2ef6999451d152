"""Runs a job under the eyes of a person: progress on a terminal, silence in a pipe, Ctrl-C understood.

The first interrupt lets the rows in flight finish, the second stops at once; either way the run can be taken up again.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

import uvloop
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cai.cli.screen import Screen
from cai.cli.terminal import remark
from cai.pipeline.watch import Watch

Result = TypeVar("Result")
REFRESH_SECONDS = 0.25


def run_watched(job: Callable[[Watch], Awaitable[Result]], *, quiet: bool) -> Result:
    """Run a job to its end and return what it returns; raises KeyboardInterrupt when it was stopped at once."""
    watch = Watch(say=remark)
    # uvloop halves what a request to a server costs.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_watched(job, watch, quiet))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


async def _watched(job: Callable[[Watch], Awaitable[Result]], watch: Watch, quiet: bool) -> Result:
    task = asyncio.ensure_future(job(watch))
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if watch.stop.draining:
            task.cancel()
            return
        watch.stop.drain()
        remark("finishing the rows in flight; press Ctrl-C again to stop at once")

    def hear(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(interrupted)

    # Not the loop's own handlers: those would hear once more what is heard while a run waits for its URL.
    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        async with _drawing(watch, quiet):
            return await task
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.asynccontextmanager
async def _drawing(watch: Watch, quiet: bool) -> AsyncIterator[None]:
    """Draw the watch on standard error while the block runs, if that is a terminal."""
    console = Screen(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        painter = asyncio.create_task(_paint(bar, watch))
        try:
            yield
        finally:
            painter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await painter


async def _paint(bar: Progress, watch: Watch) -> None:
    line = bar.add_task(watch.stage, total=watch.total, figures="")
    began: float | None = None
    while True:
        if began is None and watch.stage.startswith("working"):
            began = time.monotonic()
        progress = watch.progress
        figures = Figures.of(watch, time.monotonic() - began if began is not None else 0.0)
        finished = progress.done + progress.failed + progress.skipped
        bar.update(line, description=watch.stage, total=watch.total, completed=finished, figures=figures.line())
        await asyncio.sleep(REFRESH_SECONDS)


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers beside the bar; rates are per second of work in this process."""

    done: int
    rows_per_second: float
    tokens_per_second: float
    cached_share: float
    failed: int

    @classmethod
    def of(cls, watch: Watch, seconds: float) -> "Figures":
        """Read them off a watch after so many seconds of work."""
        tally = watch.tally
        tokens = tally.prompt_tokens + tally.completion_tokens
        return cls(
            done=watch.progress.done,
            rows_per_second=watch.progress.done / seconds if seconds > 0 else 0.0,
            tokens_per_second=tokens / seconds if seconds > 0 else 0.0,
            cached_share=tally.cached_tokens / tally.prompt_tokens if tally.prompt_tokens else 0.0,
            failed=watch.progress.failed,
        )

    def line(self) -> str:
        """Return them as one line."""
        return (
            f"{self.done:,} rows · {self.rows_per_second:,.1f} rows/s · {self.tokens_per_second:,.0f} tokens/s · "
            f"{self.cached_share:.0%} of prompt cached · {self.failed:,} failed"
        )
