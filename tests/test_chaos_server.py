"""`cai generate` against a server that misbehaves: whatever it does, the run ends, and with the rows of a quiet one."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cai.engines.base import Choice, Completion
from cai.errors import EngineError
from cai.records import Row, Usage
from cai.store import Run
from tests.disturbing import exports
from tests.misbehaving import misbehaving, misbehaving_beside
from tests.misbehaviours import GROUPS, MODES
from tests.test_engines_misbehaving import answers, ask, bare, engine_of

pytestmark = pytest.mark.chaos

CASES = int(os.environ.get("CAI_CHAOS_CASES", "2000"))
LONG_LANE = CASES > 2000
ROWS = 200
LONGEST = 120.0
"""Seconds; a run that hangs takes longer."""


def generated(out: Path, modes: Sequence[str], rate: float) -> tuple[list[Row], dict[str, bytes], str]:
    """Return the rows in the order of their prompts, without their usage, the files for trainers, and what was said."""
    prompts = out.parent / "prompts.jsonl"
    lines = [json.dumps({"id": f"p{number}", "prompt": f"What about matter {number}?"}) for number in range(ROWS)]
    prompts.write_text("\n".join(lines))
    with misbehaving_beside(modes, rate, seed=7) as server:
        command = [
            sys.executable, "-m", "cai", "generate", "--constitution", "harmless", "--prompts", str(prompts),
            "--model", f"openai:any@{server.url}", "--out", str(out), "--samples", "1",
            "--concurrency", "32", "--timeout", "1",
        ]  # fmt: skip
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    rows = sorted(Run.read(out).rows(), key=lambda row: row.prompt.ordinal)
    return [replace(row, usage=Usage(0, 0, 0, 0)) for row in rows], exports(out), done.stderr


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
