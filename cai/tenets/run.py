"""`draft_tenets`: a model splits each principle into tenets and drafts scenarios for each, into a file for people.

All principles are asked about at once. In their order the file is written anew, with what was drafted behind what was
there, so that a killed drafting goes on with the next principle. A principle that has tenets in the file keeps them; a
tenet without scenarios gets some. What the model wrote that cannot be used (said twice, no sentence, a refusal, cut
off) is left out and counted, and nothing is put in its place.
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from cai.constitution import Principle
from cai.core.errors import RowError
from cai.core.identity import derive_seed
from cai.core.records import Usage
from cai.core.threads import in_thread
from cai.data.tenets import Tenet, entries_text, sift_scenarios, sift_tenets
from cai.method.refusals import refuses
from cai.models.asking import Asker
from cai.models.base import Engine, Request
from cai.models.meter import Meter
from cai.pipeline.filling import open_closing
from cai.pipeline.watch import Watch
from cai.rundir.files import refusal
from cai.tenets.plan import TENETS, TenetsPlan

_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)])\s+")
"""How a model numbers or marks the lines of a list."""


@dataclass(frozen=True, slots=True)
class DraftedTenets:
    """What a drafting added to `out`, and how many `tenets` and `scenarios` the file has now.

    `without` are the principles that have no tenet in it, `left_out` what the model wrote that was not taken, by cause,
    `failures` what could not be asked, by cause.
    """

    out: Path
    tenets: int
    scenarios: int
    new_tenets: int
    new_scenarios: int
    without: tuple[str, ...]
    left_out: Mapping[str, int]
    failures: Mapping[str, int]
    usage: Usage

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return asdict(self) | {"out": str(self.out)}


@dataclass(slots=True)
class _Draft:
    """What was drafted so far."""

    text: str
    added: list[Tenet] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


async def draft_tenets(plan: TenetsPlan, watch: Watch) -> DraftedTenets | Literal["interrupted"]:
    """Add to the plan's file what it lacks, and return what that is.

    Raises EngineGoneError or StoreError when the work had to stop; what was finished until then is in the file.
    """
    principles = plan.constitution.principles
    watch.total, watch.stage = len(principles), f"loading {plan.settings.model}"
    draft = _Draft(plan.before)
    async with AsyncExitStack() as stack:
        opened = await open_closing(plan.settings.model, plan.settings.engine, stack, watch.say)
        engine = Meter(opened, watch.tally)
        watch.stage = "working: drafting"
        tasks = [asyncio.ensure_future(_principle(plan, engine, principle, draft)) for principle in principles]
        stack.push_async_callback(_cancelled, tasks)
        for task in tasks:
            if watch.stop.draining:
                return "interrupted"
            if added := await task:
                draft.added += added
                draft.text = _joined(plan, draft.text, added)
                await in_thread(partial(_write, plan.out, draft.text))
            watch.progress.done += 1
    return _told(plan, draft, watch.tally.usage)


async def _cancelled(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """End what is still asked for, before the engine is closed."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _principle(plan: TenetsPlan, engine: Engine, principle: Principle, draft: _Draft) -> list[Tenet]:
    """Return what a principle lacked: its tenets with scenarios, or scenarios for those of its tenets without any."""
    tenets = plan.there.of(principle.id)
    if not tenets:
        asked = plan.tenets.render(principle=principle, count=TENETS)
        lines = await _lines(plan, engine, asked, draft, "tenets", principle.id)
        texts, left_out = sift_tenets(lines)
        left_out["tenet beyond the number asked for"] += len(texts[TENETS:])
        draft.left_out += left_out
        tenets = tuple(Tenet(principle.id, text) for text in texts[:TENETS])
    lacking = [tenet for tenet in tenets if not tenet.scenarios]
    found = await asyncio.gather(*(_with_scenarios(plan, engine, tenet, draft) for tenet in lacking))
    there = {tenet.text for tenet in plan.there.of(principle.id)}
    return [tenet for tenet in found if tenet.scenarios or tenet.text not in there]


async def _with_scenarios(plan: TenetsPlan, engine: Engine, tenet: Tenet, draft: _Draft) -> Tenet:
    wanted = plan.settings.scenarios
    asked = plan.scenarios.render(tenet=tenet.text, count=wanted)
    lines = await _lines(plan, engine, asked, draft, "scenarios", tenet.principle, tenet.text)
    found, left_out = sift_scenarios(lines, [tenet.text])
    left_out["scenario beyond the number asked for"] += len(found[wanted:])
    draft.left_out += left_out
    return Tenet(tenet.principle, tenet.text, tuple(found[:wanted]))


async def _lines(plan: TenetsPlan, engine: Engine, asked: str, draft: _Draft, *steps: str) -> list[str]:
    """Return the lines of the model's answer without the marks of a list; none where it failed, which is counted."""
    seed = derive_seed(plan.settings.seed, *steps)
    request = Request(({"role": "user", "content": asked},), plan.sampling, seed, plan.thinking)
    try:
        answer = await Asker(engine).write(steps[0], request)
    except RowError as error:
        draft.failures[f"{error.stage}: {error}"] += 1
        return []
    lines = [line for line in answer.text.splitlines() if line.strip()]
    if answer.finish_reason == "length":
        draft.left_out["line cut off at --max-tokens"] += len(lines[-1:])
        lines = lines[:-1]
    written = [_LIST_MARK.sub("", line).strip() for line in lines]
    said = [line for line in written if not refuses(line)]
    draft.left_out["line that refuses"] += len(written) - len(said)
    return said


def _joined(plan: TenetsPlan, before: str, added: list[Tenet]) -> str:
    """Return the file's text with entries behind it."""
    if not before:
        before = (
            f"# Tenets of {plan.constitution.name} {plan.constitution.version}, drafted by {plan.settings.model}. Read "
            "them, change them,\n# take out what is wrong: `cai evaluate --tenets` asks what stands here.\n"
        )
    return f"{before}{'' if before.endswith(chr(10)) else chr(10)}{entries_text(added)}"


def _write(path: Path, text: str) -> None:
    """Write a file whole, so that a killed process leaves the old one or the new one; raises StoreError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise refusal(path, error) from error


def _told(plan: TenetsPlan, draft: _Draft, usage: Usage) -> DraftedTenets:
    there = plan.there.tenets
    names = {(tenet.principle, tenet.text) for tenet in there}
    new = [tenet for tenet in draft.added if (tenet.principle, tenet.text) not in names]
    covered = {tenet.principle for tenet in (*there, *new)}
    new_scenarios = sum(len(tenet.scenarios) for tenet in draft.added)
    return DraftedTenets(
        out=plan.out,
        tenets=len(there) + len(new),
        scenarios=sum(len(tenet.scenarios) for tenet in there) + new_scenarios,
        new_tenets=len(new),
        new_scenarios=new_scenarios,
        without=tuple(one.id for one in plan.constitution.principles if one.id not in covered),
        left_out={cause: count for cause, count in draft.left_out.items() if count},
        failures=dict(draft.failures),
        usage=usage,
    )
