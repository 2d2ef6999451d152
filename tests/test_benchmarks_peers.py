"""The comparison with other tools counts what it says; the peers themselves are not needed here."""

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.costs import Costs
from benchmarks.peers.killing import compare, kill_and_resume
from benchmarks.peers.measuring import Result, Setting, measure, working
from benchmarks.peers.running import Ran, StillRunningError, kill, members, peak_memory, run, started
from benchmarks.peers.servers import Seen, Server, fresh_stand_in
from benchmarks.peers.sides import PEERS, Cai, Peer, Side
from benchmarks.peers.tables import OURS, as_json, figures
from benchmarks.peers.task import Task
from benchmarks.peers.write import write_task
from benchmarks.processes import MeasuringError

ROWS = 24
PROMPTS = [{"id": f"p{number}", "prompt": f"What is {number} plus {number}?"} for number in range(ROWS)]
FAST = Costs(slots=8, prefill_us=0.0, decode_us=20.0)
SLOW = Costs(slots=8, prefill_us=0.0, decode_us=500.0)
PATIENCE = 60.0
ASKED_FIRST = (80, 14)
"""Completion and prompt tokens of the requests that cai makes once."""


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


class Naive:
    """A side that asks one request after another, and writes its rows at the end; it resumes nothing."""

    name, resumes, asks_first = "naive", False, 0

    def command(self, task: Task) -> list[str]:
        program = (
            "import gzip, json, urllib.request\n"
            "from benchmarks.peers.task import STEPS, given_task\n"
            "task = given_task()\n"
            "rows = task.prompts()\n"
            "for row in rows:\n"
            "    for step in STEPS:\n"
            "        body = {'messages': task.messages(step, row), 'max_tokens': task.tokens(step)}\n"
            "        address, body = task.url + '/v1/chat/completions', json.dumps(body).encode()\n"
            "        with urllib.request.urlopen(address, body) as answer:\n"
            "            row[step] = json.load(answer)['choices'][0]['message']['content']\n"
            "with gzip.open(task.folder / 'rows' / 'rows.jsonl.gz', 'wt') as file:\n"
            "    file.writelines(json.dumps(row) + '\\n' for row in rows)\n"
        )
        return [sys.executable, "-c", program, str(task.folder)]

    def rows(self, folder: Path) -> Counter[str]:
        return Peer("naive", "", "").rows(folder)


@pytest.fixture
def task_for(tmp_path: Path) -> Callable[[Server], Task]:
    def make(server: Server) -> Task:
        write_task(tmp_path / "task", server, PROMPTS)
        return Task.read(tmp_path / "task")

    return make


@given(st.lists(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_lost_and_doubled_rows_are_counted(made: list[str], asked: set[str]) -> None:
    lost, doubled = compare(asked, Counter(made))
    assert lost == len(asked - set(made))
    assert doubled == len(made) - len(set(made))


@pytest.mark.slow
def test_cai_and_a_chain_ask_the_same() -> None:
    setting = Setting("fast", partial(fresh_stand_in, FAST), PROMPTS)
    sides: list[Side] = [Cai(), Naive()]
    results: dict[Side, Result] = {side: Result() for side in sides}
    measure(setting, sides, 1, results)
    assert [result.failure for result in results.values()] == [None, None]
    (ours, seen), (_, by_the_other) = (result.runs[0] for result in results.values())
    requests = 4 * ROWS + Cai().asks_first
    assert (seen.requests, seen.answered, seen.repeated) == (
        requests,
        requests,
        1,
    )  # of what it asks once, one is asked twice
    assert by_the_other.completion_tokens == ROWS * (3 * 64 + 1)
    assert (
        seen.completion_tokens - by_the_other.completion_tokens,
        seen.prompt_tokens - by_the_other.prompt_tokens,
    ) == ASKED_FIRST
    assert ours.processor_seconds > 0


@pytest.mark.parametrize("side", [Cai(), Naive()])
@pytest.mark.slow
def test_after_a_kill_repeated_lost_and_doubled_are_counted(side: Side, task_for: Callable[[Server], Task]) -> None:
    with fresh_stand_in(SLOW) as server:
        told = kill_and_resume(side, task_for(server), server, PATIENCE)
    assert (told.outcome, told.lost, told.doubled) == ("finished", 0, 0)
    if side.resumes:
        assert told.in_flight <= told.repeated < 2 * ROWS
    else:
        assert told.repeated >= 2 * ROWS


def test_what_is_not_done_in_time_hangs_and_its_rows_are_lost(task_for: Callable[[Server], Task]) -> None:
    with fresh_stand_in(SLOW) as server:
        told = kill_and_resume(Naive(), task_for(server), server, 0.0)
    assert (told.outcome, told.lost) == ("not done after 0 s", ROWS)


def test_a_side_that_fails_is_told_and_asked_no_more() -> None:
    class Broken(Naive):
        def command(self, task: Task) -> list[str]:
            return python("raise SystemExit('it cannot be done')")

    side, setting = Broken(), Setting("fast", partial(fresh_stand_in, FAST), PROMPTS)
    results: dict[Side, Result] = {side: Result()}
    measure(setting, [side], 3, results)
    assert results[side].failure == "ended with 1: it cannot be done"
    assert results[side].runs == []
    assert working([side], results) == []


def test_a_kill_reaches_the_children_too(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    with started(python(child), tmp_path / "log") as process:
        while len(members(process.pid)) < 2:
            assert process.poll() is None
        kill(process)
        assert members(process.pid) == []


def test_memory_counts_the_children(tmp_path: Path) -> None:
    child = "import time; held = b'x' * (100 << 20); time.sleep(0.3); input()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], input=b'\\n')"
    assert 100 < peak_memory(python(program), tmp_path / "log", PATIENCE) < 200


def test_a_command_that_fails_tells_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(MeasuringError, match="ended with 1: no such peer"):
        run(python("print('first'); raise SystemExit('no such peer')"), tmp_path / "log", PATIENCE)
    with pytest.raises(StillRunningError, match="not done after 0 s"):
        run(["sleep", "600"], tmp_path / "log", 0.0)


def test_the_figures_compare_with_the_fastest_peer() -> None:
    seen = Seen(4, 100, 40, 50)
    assert seen.computed_tokens == 110
    sides: list[Side] = [OURS, *PEERS[:3]]
    times = zip(sides, (1.0, 1.4, 1.1, 1.9), strict=True)
    results = {side: Result(runs=[(Ran(seconds, 0.1), seen)]) for side, seconds in times}
    setting = Setting("2 ms a token", partial(fresh_stand_in, FAST), PROMPTS)
    found = {figure.name: (figure.value, figure.met) for figure in figures(setting, results)}
    assert found == {
        "2 ms a token: datatrove, no checkpoints (the fastest peer) / cai": (1.1, False),
        "2 ms a token: datatrove (the fastest peer that can resume) / cai": (1.4, True),
        "2 ms a token: distilabel / cai": (1.9, False),
    }
    assert as_json(setting, results)["sides"]["cai"]["runs"][0]["prompt_tokens"] == 100
