"""Long work where a person can watch and stop it: lines on a terminal, a line a minute in a log, Ctrl-C understood.

The first interrupt lets the rows in flight finish, the second stops at once; either way the run can be taken up again.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Literal, TypeVar

import click
import uvloop
from rich.console import Console
from rich.live import Live
from rich.text import Text

from cai.cli.screen import Screen
from cai.cli.terminal import print_json, remark, say
from cai.pipeline.progress_lines import Observer
from cai.pipeline.watch import Watch

Result = TypeVar("Result")

REFRESH_SECONDS = 0.25


def run_watched(job: Callable[[Watch], Awaitable[Result]], *, quiet: bool) -> Result:
    """Run a job to its end and return what it returns; raises KeyboardInterrupt when it was stopped at once.

    With `quiet` nothing is told of how far it is; what a person must know is.
    """
    watch = Watch(say=remark)
    # uvloop halves what a request to a server costs.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(watched(job, watch, quiet=quiet))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def run_to_end(
    job: Callable[[Watch], Awaitable[Result | Literal["interrupted"]]], out: Path, *, quiet: bool, as_json: bool
) -> Result:
    """Run a job that fills `out`, and return what it returns; after an interrupt say so, and exit with 130."""
    result = run_watched(job, quiet=quiet)
    if not isinstance(result, str):
        return result
    if as_json:
        print_json({"status": "interrupted", "out": str(out)})
    else:
        say("Interrupted; the same command goes on from here.")
    raise click.exceptions.Exit(130)


async def watched(job: Callable[[Watch], Awaitable[Result]], watch: Watch, *, quiet: bool) -> Result:
    """Do the same on the event loop that runs, in the main thread; raises CancelledError when stopped at once."""
    task = asyncio.ensure_future(job(watch))
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if watch.stop.is_at_once:
            task.cancel()
            return
        watch.stop.drain()
        remark("finishing the rows in flight; press Ctrl-C again to stop at once")

    def hear(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(interrupted)

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        async with _telling(watch, quiet):
            return await task
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.asynccontextmanager
async def _telling(watch: Watch, quiet: bool) -> AsyncIterator[None]:
    """Tell on standard error, while the block runs, how far the watched job is."""
    if quiet:
        yield
        return
    observer = Observer(watch, asyncio.get_running_loop().time)
    console = Screen(stderr=True)
    teller = asyncio.create_task(_draw(observer, console) if console.is_terminal else _log(observer))
    try:
        yield
    finally:
        teller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await teller


async def _draw(observer: Observer, console: Console) -> None:
    """Draw a job's lines anew, again and again; the last stay."""
    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                live.update(_text(observer, console.width), refresh=True)
                await asyncio.sleep(REFRESH_SECONDS)
        finally:
            live.update(_text(observer, console.width), refresh=True)


def _text(observer: Observer, width: int) -> Text:
    return Text("\n".join(observer.look().lines(width)), no_wrap=True, overflow="crop")


async def _log(observer: Observer) -> None:
    while True:
        line = observer.log_line()
        if line is not None:
            remark(line)
        await asyncio.sleep(REFRESH_SECONDS)
