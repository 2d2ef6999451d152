"""What a verb does around the pipeline: open its models and its run directory, have it filled, close it with a status.

The directory may be the working copy of a run at a URL, which is waited for in threads (`cai.core.threads`): requests
of other jobs on the event loop go on meanwhile, and whoever presses Ctrl-C waits no longer.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from cai.core.errors import InterruptError, RunError, StoreError
from cai.core.records import INPUT, Failure, Prompt, Row
from cai.core.threads import LeavableItems, finished, in_thread
from cai.method.judge_check import JudgeCheck
from cai.models import EngineOptions, open_engine
from cai.models.base import Engine
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Watch
from cai.rundir import Inputs, Run, RunReader, Status
from cai.rundir.origin import is_copy, location

Item = TypeVar("Item", Prompt, Row)


@dataclass(frozen=True, slots=True)
class Summary:
    """How a job ended.

    `done`, `failed`, `skipped`, the tokens and the seconds are this process's; `rows` and `failures` (by stage and
    cause) are the whole run's. `owed` of the failures are asked again by the same command, `for_good` by the same with
    `--retry-failed`; the rest are no prompts. `remembered` counts the answers of unfinished rows that an
    earlier process had, which were not asked for again. `judge_check` is what the judge was found to be before the
    first row, whose tokens and seconds are counted in it alone.
    """

    out: Path
    status: Literal["done", "interrupted"]
    done: int
    failed: int
    skipped: int
    duplicates: int
    rows: int
    failures: dict[str, int]
    owed: int
    for_good: int
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float
    remembered: int = 0
    judge_check: JudgeCheck | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the summary as what JSON can say."""
        check = None if self.judge_check is None else self.judge_check.as_json()
        return asdict(self) | {"out": location(self.out), "judge_check": check}


async def open_closing(
    spec: ModelSpec, settings: EngineSettings, stack: AsyncExitStack, say: Callable[[str], None] | None = None
) -> Engine:
    """Open a model that the stack closes; `say` tells a person what a server is waited for. Raises ModelError."""
    options = EngineOptions(
        settings.device,
        settings.dtype,
        settings.concurrency,
        settings.timeout,
        settings.engine_option,
        settings.template_option,
        say,
    )
    engine = await open_engine(spec, options)
    stack.push_async_callback(engine.close)
    return engine


async def open_run(
    directory: Path,
    identity: Mapping[str, str],
    settings: Mapping[str, Any],
    inputs: Inputs,
    watch: Watch,
    *,
    fresh: bool,
    retry_failed: bool,
) -> Run:
    """Open a run directory and tell its remarks; raises as `Run.open`, and InterruptError where a person stops waiting.

    That may be for a URL that does not answer, or for an input that was changed and has to be read. A task that is
    cancelled meanwhile leaves no open run behind.
    """
    reading = LeavableItems(inputs.prompts, "interrupted while the input was read; the same command goes on.")
    inputs = replace(inputs, prompts=reading.items)
    opening = in_thread(
        partial(Run.open, directory, identity, settings, inputs=inputs, fresh=fresh, retry_failed=retry_failed)
    )
    leaving = asyncio.ensure_future(watch.stop.asked())
    leaving.add_done_callback(lambda asked: None if asked.cancelled() else reading.leave())
    try:
        run = await (_at_url(opening, directory, watch) if is_copy(directory) else _on_disk(opening, reading))
    except StoreError as error:
        raise _unwritable(directory, error) from error
    finally:
        leaving.cancel()
    for remark in run.remarks:
        watch.say(remark)
    return run


def _unwritable(directory: Path, error: StoreError) -> StoreError:
    """Return what is to be said where a run cannot be written: of a finished one, that there is nothing to mend."""
    try:
        manifest = RunReader(directory).manifest
    except RunError:
        return error
    if manifest.status != "done":
        return error
    cannot, _, _ = str(error).partition(";")
    where = location(directory)
    return StoreError(
        f"{cannot}; the {manifest.rows:,} rows in it are a finished run, which `cai show {where}` prints."
    )


async def _on_disk(opening: asyncio.Future[Run], reading: LeavableItems[Prompt | Failure]) -> Run:
    """Wait for a disk, whatever happens, but for no input; a task that is cancelled meanwhile closes the run first."""
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        reading.leave()
        with suppress(asyncio.CancelledError):
            await finished(opening)
        await finished(in_thread(partial(opening.result().close, "interrupted")))
        raise


async def _at_url(opening: asyncio.Future[Run], directory: Path, watch: Watch) -> Run:
    """Wait for a URL until the task is cancelled; the run that is opened then in vain is closed in its thread."""
    with watch.stop.at_once():
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)
            raise InterruptError(
                f"interrupted before {location(directory)} answered; the same command goes on."
            ) from None


def _close_unused(opening: asyncio.Future[Run]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        in_thread(partial(opening.result().close, "interrupted"))


async def fill(
    run: Run,
    pipeline: Pipeline[Item],
    items: Iterable[Item | Failure],
    watch: Watch,
    duplicates: Callable[[], int],
    check: Callable[[], Awaitable[JudgeCheck | None]],
) -> Summary:
    """Let the pipeline work after a check, and close the run whatever happens; raises what stopped them, or closing."""
    before = run.usage
    status: Status = "failed"
    try:
        checked = await check()
        began = time.monotonic()
        watch.stage = "working"
        await pipeline.run(items)
        ended: Literal["done", "interrupted"] = "interrupted" if watch.stop.draining else "done"
        status = ended
    except asyncio.CancelledError:
        status = "interrupted"
        raise
    finally:
        # Of rows that failed or were given up; what an earlier process noted so, and a row has now, is taken off again.
        run.note_usage(watch.tally.usage - (run.usage - before) - run.answers.given_again)
        await _close(run, status, watch)
    causes: Counter[str] = Counter()
    owed = for_good = 0
    for failure in run.failures():
        causes[f"{failure.stage}: {failure.cause}"] += 1
        owed += failure.retryable
        for_good += not failure.retryable and failure.stage != INPUT
    progress, usage = watch.progress, watch.tally.usage - run.answers.given_again
    return Summary(
        out=run.directory,
        status=ended,
        done=progress.done,
        failed=progress.failed,
        skipped=progress.skipped,
        duplicates=duplicates(),
        rows=run.finished,
        failures=dict(causes.most_common()),
        owed=owed,
        for_good=for_good,
        requests=usage.requests,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=time.monotonic() - began,
        remembered=run.answers.given_again.requests,
        judge_check=checked,
    )


async def _close(run: Run, status: Status, watch: Watch) -> None:
    """Close the run: a disk is waited for, a URL until the task is cancelled, which raises InterruptError."""
    closing = in_thread(partial(run.close, status))
    if not is_copy(run.directory):
        return await finished(closing)
    with watch.stop.at_once():
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            closing.add_done_callback(lambda closed: closed.exception())  # told by nobody any more
            run.leave()
            raise InterruptError(
                f"interrupted before {location(run.directory)} had everything; what is done is safe in "
                f"{run.directory}, and the same command goes on where it stopped."
            ) from None
