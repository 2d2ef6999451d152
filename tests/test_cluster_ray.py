"""Real Ray clusters of several nodes on this machine, and nodes killed for real."""

import contextlib
import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.core.errors import RunError
from cai.rundir import Run
from tests.disturbing import PATIENCE, exports, finish, start, wait_until

pytestmark = pytest.mark.ray

ROWS = 60
COMMAND = [
    sys.executable, "-m", "cai", "generate", "--constitution", "medical", "--limit", str(ROWS), "--concurrency", "4",
    "--no-gate", "--schedule", "sample", "--rounds", "2", "--no-judge-check",
]  # fmt: skip
QUICK = "scripted?delay_ms=8"
SLOW = "scripted?delay_ms=100"
MEMORY = 80 * 2**20


class Machines:
    """A Ray cluster whose head takes no replica, so that each is on a node that can be killed."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        cluster = importlib.import_module("ray.cluster_utils").Cluster
        self._cluster = cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False},
        )

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=MEMORY)

    def kill(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    started = Machines()
    for _ in range(2):
        started.add()
    yield started
    started.stop()


def ids(out: Path) -> list[str]:
    try:
        return [row.prompt.id for row in Run.read(out).rows()]
    except RunError:
        return []


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run without a cluster exports."""
    out = tmp_path_factory.mktemp("alone") / "run"
    code, _, err = finish(start(COMMAND, out, "--model", "scripted"))
    assert code == 0, err
    return exports(out)


@pytest.mark.parametrize("replicas", ["1", "2"])
def test_exports_do_not_depend_on_the_replicas(
    machines: Machines, tmp_path: Path, alone: dict[str, bytes], replicas: str
) -> None:
    out = tmp_path / "run"
    code, told, err = finish(
        start(COMMAND, out, "--model", QUICK, "--cluster", machines.address, "--replicas", replicas, "--json")
    )
    assert code == 0, err
    assert err == "", "Ray is quiet"
    summary = orjson.loads(told)
    assert (summary["done"], summary["failed"]) == (ROWS, 0)
    assert summary["requests"] == orjson.loads((out / "run.json").read_bytes())["usage"]["requests"] > ROWS
    assert exports(out) == alone


def test_the_judge_is_tested_there_and_found_the_same(machines: Machines, tmp_path: Path) -> None:
    options = ["--constitution", "medical", "--limit", "2", "--max-tokens", "32", "--model", "tiny", "--json"]
    told = {}
    for name, cluster in (("there", ("--cluster", machines.address)), ("here", ())):
        code, _, err = finish(start([sys.executable, "-m", "cai", "generate", *options], tmp_path / name, *cluster))
        assert code == 0, err
        told[name] = orjson.loads((tmp_path / name / "run.json").read_bytes())["judge_check"]
    for check in told.values():
        del check["seconds"], check["usage"]  # what is found in the cache depends on what came first
        assert check["verdicts"] > 0
    assert told["there"] == told["here"]


def test_a_node_killed_in_mid_run_loses_nothing_and_doubles_nothing(
    machines: Machines, tmp_path: Path, alone: dict[str, bytes]
) -> None:
    doomed = machines.add()  # three nodes, three replicas: one of them is there
    out = tmp_path / "run"
    process = start(COMMAND, out, "--model", SLOW, "--cluster", machines.address, "--replicas", "3", "--json")
    wait_until(process, lambda: len(ids(out)) >= 10)
    machines.kill(doomed)
    killed_at = len(ids(out))
    code, told, err = finish(process)
    assert code == 0, err
    assert killed_at < ROWS
    assert err == "", "Ray is quiet"
    assert told.startswith("{"), told
    assert (orjson.loads(told)["done"], orjson.loads(told)["failed"]) == (ROWS, 0)
    assert len(ids(out)) == len(set(ids(out))) == ROWS
    assert exports(out) == alone


def replicas() -> list[int]:
    """Return the processes of the replicas on this test's own nodes (Linux)."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::Replica"):
                node = _parent(int(folder.name))
                if _parent(node) == os.getpid():
                    found.append(int(folder.name))
    return found


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_only_replica_killed_is_replaced(machines: Machines, tmp_path: Path, alone: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    process = start(COMMAND, out, "--model", SLOW, "--cluster", machines.address, "--json")
    wait_until(process, lambda: len(ids(out)) >= 5)
    (only,) = replicas()
    os.kill(only, signal.SIGKILL)
    code, told, err = finish(process)
    assert code == 0, err
    assert (orjson.loads(told)["done"], orjson.loads(told)["failed"]) == (ROWS, 0)
    assert exports(out) == alone


def test_a_killed_driver_goes_on_without_a_cluster(machines: Machines, tmp_path: Path, alone: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    process = start(COMMAND, out, "--model", SLOW, "--cluster", machines.address, "--replicas", "2")
    wait_until(process, lambda: len(ids(out)) >= 5)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    kept = len(ids(out))
    assert 5 <= kept < ROWS, "rows are kept as they arrive"
    code, told, err = finish(start(COMMAND, out, "--model", "scripted", "--json"))
    assert code == 0, err
    assert (orjson.loads(told)["skipped"], orjson.loads(told)["done"]) == (kept, ROWS - kept)
    assert exports(out) == alone


def test_an_interrupt_drains(machines: Machines, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(COMMAND, out, "--model", SLOW, "--cluster", machines.address, "--replicas", "2")
    wait_until(process, lambda: len(ids(out)) >= 5)
    process.send_signal(signal.SIGTERM)  # Ray takes this signal for itself where it can
    code, told, err = finish(process)
    assert code == 130, err
    assert "goes on from here" in told
    assert "Traceback" not in err
    assert 5 < len(ids(out)) < ROWS


def test_a_second_interrupt_stops_at_once_and_leaves_no_replica(machines: Machines, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(
        COMMAND, out, "--model", "scripted?delay_ms=3600000", "--cluster", machines.address, "--replicas", "2"
    )
    wait_until(process, lambda: out.exists() and len(replicas()) == 2)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "press Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert err.strip() == "cai: interrupted"
    deadline = time.monotonic() + PATIENCE
    while replicas():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_cannot_be_is_said_in_one_sentence(machines: Machines, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for more, said in (
        (("--cluster", machines.address, "--gpus-per-replica", "1"), "no node has them"),
        (("--cluster", machines.address, "--model", "transformers:/nowhere/at/all"), "/nowhere/at/all"),
        (("--cluster", "127.0.0.1:1"), "nobody answers there"),
        (("--cluster", "ray://127.0.0.1:1"), "HOST:PORT"),
        (("--replicas", "2"), "--cluster"),
    ):
        code, _, err = finish(start(COMMAND, out, "--model", QUICK, *more))
        assert code == 2
        assert said in err.splitlines()[-1]
        assert "Traceback" not in err
    assert not out.exists()


EVALUATE = [
    sys.executable, "-m", "cai", "evaluate", "one=scripted?delay_ms=20", "two=scripted?delay_ms=21", "--constitution",
    "harmless", "--limit", "40", "--judge", "scripted", "--no-judge-check", "--concurrency", "4",
]  # fmt: skip


def entries(out: Path) -> dict[str, list[Any]]:
    """Return what an evaluation has kept, without what differs from one process to another."""
    found = {}
    for path in sorted((*out.glob("responses/*.jsonl"), *out.glob("comparisons/*.jsonl"))):
        lines = [orjson.loads(line[: line.rindex(b"}") + 1]) for line in path.read_bytes().splitlines()]
        found[path.name] = sorted(lines, key=lambda entry: str(entry["id"]))
    return found


def test_an_evaluation_and_a_judgement_outlive_a_node_and_are_those_of_one_process(
    machines: Machines, tmp_path: Path
) -> None:
    code, _, err = finish(start(EVALUATE, tmp_path / "here"))
    assert code == 0, err
    doomed, out = machines.add(), tmp_path / "there"
    process = start(EVALUATE, out, "--cluster", machines.address, "--replicas", "3", "--json")
    wait_until(process, lambda: sum(map(len, entries(out).values())) >= 10)
    machines.kill(doomed)
    code, told, err = finish(process)
    assert code == 0, err
    assert orjson.loads(told)["status"] == "done"
    assert entries(out) == entries(tmp_path / "here")
    assert set(map(len, entries(out).values())) == {40}

    code, _, err = finish(start(COMMAND, tmp_path / "run", "--model", "scripted"))
    assert code == 0, err
    judge = [sys.executable, "-m", "cai", "judge", str(tmp_path / "run"), "--judge", "scripted", "--no-judge-check"]
    for name, more in (("alone", ()), ("judged", ("--cluster", machines.address, "--replicas", "2"))):
        code, _, err = finish(start(judge, tmp_path / name, *more))
        assert code == 0, err
    assert exports(tmp_path / "judged") == exports(tmp_path / "alone")


def test_an_evaluation_whose_driver_is_killed_goes_on_without_a_cluster(machines: Machines, tmp_path: Path) -> None:
    out = tmp_path / "there"
    process = start(EVALUATE, out, "--cluster", machines.address, "--replicas", "2")
    wait_until(process, lambda: sum(map(len, entries(out).values())) >= 5)
    process.kill()
    finish(process)
    kept = entries(out)["one.jsonl"]
    assert 5 <= len(kept) < 40
    code, _, err = finish(start(EVALUATE, out))
    assert code == 0, err
    assert [one for one in entries(out)["one.jsonl"] if one in kept] == kept, "what was there stays as it was"
    assert set(map(len, entries(out).values())) == {40}
