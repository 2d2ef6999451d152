"""Real processes, really killed: nothing is lost, nothing is done twice, exports come out byte for byte the same."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from cai.core.errors import RunError
from cai.rundir import Run
from tests.disturbing import PATIENCE, exports, finish, start, wait_until

ROWS = 100
COMMAND = [
    sys.executable, "-m", "cai", "generate", "--constitution", "medical", "--limit", str(ROWS),
    "--model", "scripted?delay_ms=8", "--concurrency", "4", "--no-gate", "--schedule", "sample", "--rounds", "2",
]  # fmt: skip


def finished(out: Path) -> int:
    """Count the rows that a process killed now would leave behind, sealed or not."""
    try:
        return sum(1 for _ in Run.read(out).rows())
    except RunError:
        return 0  # it has not begun


def with_card(out: Path) -> dict[str, bytes]:
    """Return the exports and the dataset card."""
    return exports(out) | {"README.md": (out / "README.md").read_bytes()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    # The same directory name, since the dataset card says how to load it.
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    code, _, err = finish(start(COMMAND, out))
    assert code == 0, err
    return with_card(out)


@pytest.mark.slow
def test_killed_again_and_again_the_exports_are_the_same_bytes(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    for rows in (5, 30, 50):
        process = start(COMMAND, out)
        wait_until(process, lambda rows=rows: finished(out) >= rows)  # type: ignore[misc]
        process.kill()
        assert finish(process)[0] == -signal.SIGKILL
        assert finished(out) < ROWS
    code, told, err = finish(start(COMMAND, out, "--json"))
    assert code == 0, err
    summary = orjson.loads(told)
    assert summary["skipped"] >= 50
    assert summary["skipped"] + summary["done"] == ROWS == summary["rows"]
    assert len(undisturbed) >= 5
    assert with_card(out) == undisturbed


@pytest.mark.slow
def test_an_interrupt_finishes_the_rows_in_flight_and_the_same_command_goes_on(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "run"
    process = start(COMMAND, out)
    wait_until(process, lambda: finished(out) >= 5)
    process.send_signal(signal.SIGINT)
    code, told, err = finish(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert "goes on from here" in told
    assert orjson.loads((out / "run.json").read_bytes())["status"] == "interrupted"
    assert 5 <= finished(out) < ROWS
    assert finish(start(COMMAND, out))[0] == 0
    assert with_card(out) == undisturbed


@pytest.mark.slow
def test_a_second_process_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = start(COMMAND, out)
    wait_until(first, lambda: finished(out) >= 1)
    first.send_signal(signal.SIGSTOP)  # it holds the run, however long the second one takes to start
    code, _, err = finish(start(COMMAND, out))
    assert code == 2
    assert str(first.pid) in err
    assert "Traceback" not in err
    first.send_signal(signal.SIGCONT)
    assert finish(first)[0] == 0, "the first run goes on"


@pytest.mark.slow
def test_other_settings_do_not_mix(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert finish(start(COMMAND, out, "--limit", "5"))[0] == 0
    code, _, err = finish(start(COMMAND, out, "--limit", "5", "--samples", "3", "--seed", "9"))
    assert code == 2
    assert "samples" in err
    assert "seed" in err
    assert "--fresh" in err
    assert "temperature" not in err
    assert finish(start(COMMAND, out, "--limit", "5", "--samples", "3", "--seed", "9", "--fresh"))[0] == 0


@pytest.mark.slow
def test_a_longer_limit_goes_on_from_a_shorter_one(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    assert finish(start(COMMAND, out, "--limit", "20"))[0] == 0
    code, told, _ = finish(start(COMMAND, out, "--json"))
    assert code == 0
    assert orjson.loads(told)["skipped"] == 20
    assert with_card(out) == undisturbed


@pytest.mark.slow
def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(COMMAND, out, "--model", "scripted?delay_ms=3600000")
    wait_until(process, (out / "run.json").exists)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "press Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "Traceback" not in err
    assert orjson.loads((out / "run.json").read_bytes())["status"] == "interrupted"


@pytest.mark.slow
def test_progress_is_drawn_on_a_terminal_and_nowhere_else(tmp_path: Path) -> None:
    terminal, screen = pty.openpty()
    command = [*COMMAND, "--limit", "50", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=screen)
    os.close(screen)
    drawn = b""
    with contextlib.suppress(OSError):  # Linux says EIO when the other side is closed
        while chunk := os.read(terminal, 4096):
            drawn += chunk
    os.close(terminal)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    for figure in (b"rows/s", b"tokens/s", b"answered", b"failed", b"left"):
        assert figure in drawn
    assert b"rows/s" not in told
    code, _, err = finish(start(COMMAND, tmp_path / "other", "--limit", "5"))
    assert (code, err) == (0, "")
