"""`cai generate` against a server that misbehaves: whatever it does, the run ends, and with the rows of a quiet one."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cai.core.errors import EngineError
from cai.core.records import Row, Usage
from cai.models.base import Choice, Completion
from cai.rundir import Run
from tests.disturbing import exports
from tests.misbehaving import misbehaving, misbehaving_beside
from tests.misbehaviours import GROUPS, MODES
from tests.test_engines_misbehaving import answers, ask, bare, engine_of

pytestmark = pytest.mark.chaos

CASES = int(os.environ.get("CAI_CHAOS_CASES", "2000"))
LONG_LANE = CASES > 2000
SEED = 20261125
ROWS = 200
KILLS = 12
MOST_ANSWERS = 60
"""Answers between two kills at most, so that all kills together come before the end."""
LONGEST = 120.0
"""Seconds; a run that hangs takes longer."""


def command(out: Path, url: str) -> list[str]:
    """Return the command that makes the rows; its prompts are written beside OUT."""
    prompts = out.parent / "prompts.jsonl"
    lines = [json.dumps({"id": f"p{number}", "prompt": f"What about matter {number}?"}) for number in range(ROWS)]
    prompts.write_text("\n".join(lines))
    return [
        sys.executable, "-m", "cai", "generate", "--constitution", "harmless", "--prompts", str(prompts),
        "--model", f"openai:any@{url}", "--out", str(out), "--samples", "1", "--concurrency", "32", "--timeout", "1",
    ]  # fmt: skip


def found(out: Path) -> tuple[list[Row], dict[str, bytes]]:
    """Return the rows in the order of their prompts, without their usage, and the files for trainers."""
    rows = sorted(Run.read(out).rows(), key=lambda row: row.prompt.ordinal)
    return [replace(row, usage=Usage(0, 0, 0, 0)) for row in rows], exports(out)


def generated(out: Path, modes: Sequence[str], rate: float) -> tuple[list[Row], dict[str, bytes], str]:
    """Return what an undisturbed process finds at a server that misbehaves, and what it said."""
    with misbehaving_beside(modes, rate, seed=7) as server:
        done = subprocess.run(command(out, server.url), check=False, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return *found(out), done.stderr


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], dict[str, bytes]]:
    out = tmp_path_factory.mktemp("quiet") / "run"
    rows, files, _ = generated(out, (), 0.0)
    assert len(rows) == ROWS
    return rows, files


@pytest.mark.parametrize(
    ("group", "rate"),
    [("all", 0.002), ("all", 0.01), ("all", 0.2), *((group, 0.2) for group in GROUPS if LONG_LANE)],
)
def test_a_run_ends_with_the_rows_of_a_quiet_one(
    group: str, rate: float, quiet: tuple[list[Row], dict[str, bytes]], tmp_path: Path
) -> None:
    rows, files, said = generated(tmp_path / "run", tuple(MODES if group == "all" else GROUPS[group]), rate)
    assert (rows, files) == quiet, said


def test_killed_at_any_moment_and_served_ill_it_ends_with_the_rows_of_a_quiet_one(
    quiet: tuple[list[Row], dict[str, bytes]], tmp_path: Path
) -> None:
    draw, out = random.Random(SEED), tmp_path / "run"
    with misbehaving_beside(tuple(MODES), 0.05, seed=7) as server:
        for _ in range(KILLS):
            server.reached.clear()
            server.limit = server.seen.total() + draw.randint(1, MOST_ANSWERS)
            process = subprocess.Popen(command(out, server.url), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            assert server.reached.wait(LONGEST)
            process.kill()
            assert process.wait() == -signal.SIGKILL
        done = subprocess.run(command(out, server.url), check=False, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    assert found(out) == quiet


def test_answers_changed_at_random_are_read_or_refused() -> None:
    async def main() -> None:
        async with misbehaving(["changed at random"], 1.0) as server:
            engine = engine_of(server.url, attempts=1, timeout=0.5, concurrency=64)
            try:
                asked = (ask(engine, number, choice=number % 2 == 1) for number in range(CASES))
                found = await asyncio.gather(*asked, return_exceptions=True)
            finally:
                await engine.close()
        assert [answer for answer in found if not isinstance(answer, Completion | Choice | EngineError)] == []
        assert len({type(answer) for answer in found}) >= 3

    asyncio.run(main())


@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_each_mode_alone_loses_nothing_and_hangs_nowhere(rate: float) -> None:
    expected = [bare(answer) for answer in answers(40)]
    for mode in MODES:
        began = time.monotonic()
        found = answers(40, (mode,), rate, seed=5, timeout=0.1)
        assert [bare(answer) for answer in found] == expected, mode
        assert time.monotonic() - began < 10.0, mode
