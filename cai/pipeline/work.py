"""What both jobs do: open the models, let the pipeline fill the run directory, close it with a status."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Literal, TypeVar

from cai.constitution import Constitution
from cai.core.records import INPUT, Failure, Prompt, Row, Usage
from cai.method.judge import Rules
from cai.method.settings import JudgeSettings
from cai.models import EngineOptions, open_engine
from cai.models.base import Engine
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.watch import Summary, Watch
from cai.rundir import Run, Status

Item = TypeVar("Item", Prompt, Row)


async def open_closing(
    spec: ModelSpec, settings: EngineSettings, stack: AsyncExitStack, say: Callable[[str], None] | None = None
) -> Engine:
    """Open a model that the stack closes; `say` tells a person what a server is waited for. Raises ModelError."""
    options = EngineOptions(
        settings.device, settings.dtype, settings.concurrency, settings.timeout, settings.engine_option, say
    )
    engine = await open_engine(spec, options)
    stack.push_async_callback(engine.close)
    return engine


def rules(settings: JudgeSettings) -> Rules:
    """Return the judge's rules as the settings ask for them."""
    return Rules(settings.judge_principles, settings.judge_orders, settings.judge_by, settings.judge_reasoning)


def judge_identity(settings: JudgeSettings) -> dict[str, str]:
    """Return how run.json names the judge's rules."""
    return {name.replace("_", "-"): str(value) for name, value in asdict(settings).items()}


def label(constitution: Constitution) -> str:
    """Return how run.json names a constitution: a person reads the name, a machine the fingerprint."""
    return f"{constitution.name} {constitution.version} {constitution.fingerprint}"


async def fill(
    run: Run, pipeline: Pipeline[Item], items: Iterable[Item | Failure], watch: Watch, duplicates: Callable[[], int]
) -> Summary:
    """Let the pipeline work and close the run whatever happens; raises what stopped the pipeline."""
    began = time.monotonic()
    before = run.usage
    status: Status = "failed"
    watch.stage = "working"
    try:
        await pipeline.run(items)
        ended: Literal["done", "interrupted"] = "interrupted" if watch.stop.draining else "done"
        status = ended
    except asyncio.CancelledError:
        status = "interrupted"
        raise
    finally:
        run.note_usage(_difference(watch.tally.usage(), _difference(run.usage, before)))
        run.close(status)
    causes: Counter[str] = Counter()
    owed = for_good = 0
    for failure in run.failures():
        causes[f"{failure.stage}: {failure.cause}"] += 1
        owed += failure.retryable
        for_good += not failure.retryable and failure.stage != INPUT
    progress, usage = watch.progress, watch.tally.usage()
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
    )


def _difference(whole: Usage, part: Usage) -> Usage:
    """Return the tokens in the whole that are not the part's: those of rows that failed or were given up."""
    return Usage(
        whole.requests - part.requests,
        whole.prompt_tokens - part.prompt_tokens,
        whole.cached_tokens - part.cached_tokens,
        whole.completion_tokens - part.completion_tokens,
    )
