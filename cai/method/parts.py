"""The parts of a row side by side: each comes to its end, whatever becomes of another, and what failed is told."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from cai.core.errors import RowError
from cai.core.evidence import part_failure
from cai.core.records import PartFailure

Result = TypeVar("Result")


async def outcome_of(work: Coroutine[Any, Any, Result]) -> Result | RowError:
    """Await a part of a row; return its failure like any other outcome.

    The other parts go on to their end, whatever becomes of this one: were they given up where one fails, failures,
    which are quicker than answers, would seem to be more than they are.
    """
    try:
        return await work
    except RowError as error:
        return error


def part_failures(errors: Mapping[str, RowError]) -> tuple[PartFailure, ...]:
    """Return what is kept of failures, by the names of their parts."""
    return tuple(part_failure(part, error) for part, error in errors.items())


def whole_failure(errors: Mapping[str, RowError], answered: frozenset[str]) -> RowError:
    """Return the failure of the row that these failed parts are of.

    It is owed if any of them is, and told by a part that stopped where no other came through, if there is one.
    """
    retryable = any(error.retryable for error in errors.values())
    telling = [error for error in errors.values() if error.retryable == retryable]
    told = next((error for error in telling if error.kind and error.stage not in answered), telling[0])
    return RowError(str(told), stage=told.stage, retryable=retryable, kind=told.kind, raw=told.raw, answered=answered)


async def together(work: Iterable[Coroutine[Any, Any, Result]]) -> tuple[Result, ...]:
    """Await all, side by side; the first failure ends the others. One alone is awaited in place, without a task."""
    waiting = list(work)
    if len(waiting) == 1:
        return (await waiting[0],)
    tasks = [asyncio.ensure_future(item) for item in waiting]
    try:
        return tuple(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
