"""A program that uses the public API is checked by mypy as strictly as cai itself."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

RIGHT = """
import asyncio

import cai


async def answer(messages: list[cai.Message]) -> str:
    return messages[-1]["content"].upper()


run = cai.generate(constitution="medical", model=answer, judge="scripted", gate=False, prompts=["Hello?"], samples=1)
for row in run:
    text: str = row.traces[0].final
    share: float | None = row.verdicts[0].probability
rows: int = len(run)
trained: cai.Training = cai.train("dpo", data=[run, "more.jsonl:2"], model="tiny", out="out", beta=0.2)
result = cai.evaluate([trained.model, answer], constitution="medical")
value: float = result.measurement("breaks any principle", "base").value
planned: cai.Plan = cai.plan(cai.generate, constitution="medical", samples=3)
later: cai.Run = asyncio.run(cai.run_async(cai.generate, constitution="medical"))
try:
    cai.open_run("runs/x").export(test_share=0.1)
except cai.errors.RunError as error:
    raise SystemExit(str(error)) from error
"""
WRONG = (
    'cai.generate(constitution="medical", samples="2")',
    "cai.generate()",
    'cai.generate(constitution="medical", judge_by="words")',
    'cai.generate(constitution="medical", model=len)',
    'cai.train("dpo", data="x", out="y", bta=0.2)',
    'cai.plan(cai.generate, constitution="medical", sample=1)',
    "cai.nonsense",
)


@pytest.mark.slow
def test_a_program_is_checked(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(RIGHT)
    wrong.write_text("\n".join(["import cai", "", *WRONG]) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", str(right), str(wrong)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    told = done.stdout.splitlines()
    assert not [line for line in told if "right.py" in line], told
    found = {int(line.split(":")[1]) for line in told if "wrong.py" in line and "error:" in line}
    assert found == set(range(3, 3 + len(WRONG))), told
