"""How much more two replicas do than one: `cai generate --cluster` on Ray nodes of this machine.

`python -m benchmarks.cluster` starts a Ray head that takes no work and two nodes of one processor, and runs the command
in turns with one replica and with two. Each replica's engine holds 32 requests at a fresh stand-in server that has 32
slots a replica and writes a token in 8 ms, so that slots, not this machine's cores, are what a run waits for. Rows a
second are by the command's own clock, which starts when the first replica is open; the second joins when it is.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import orjson
from ray.cluster_utils import Cluster

from benchmarks.costs import Costs
from benchmarks.figures import Figure, print_figures
from benchmarks.processes import CAI, SHORT_ROW, MeasuringError, read_stats, stand_in, timed
from benchmarks.prompts import write_prompts

ROWS = 1_000
REPETITIONS = 5
COSTS = Costs(slots=32, decode_us=8000)
TARGET = 1.8
_MEMORY = 80 * 2**20


@contextmanager
def nodes(count: int) -> Iterator[str]:
    """Run a Ray cluster of so many nodes for replicas while the block runs; yields its address."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": _MEMORY, "include_dashboard": False},
    )
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, object_store_memory=_MEMORY)
        yield cluster.address
    finally:
        cluster.shutdown()


def rows_per_second(folder: Path, name: str, cluster: str, replicas: int, rows: int) -> tuple[float, float]:
    """Run the command once; return rows a second and the share of the slots that were busy while the server served."""
    with stand_in(replace(COSTS, slots=replicas * COSTS.slots)) as address:
        command = [CAI, "generate", "--constitution=harmless", f"--model=openai:mock@{address}/v1", "--json"]
        command += [f"--prompts={folder / 'prompts.jsonl'}", f"--limit={rows}", f"--out={folder / name}"]
        command += [*SHORT_ROW, "--max-tokens=64", f"--concurrency={COSTS.slots}"]
        command += [f"--cluster={cluster}", f"--replicas={replicas}"]
        summary = orjson.loads(timed(command).output)
        busy = read_stats(address)["busy_share"]
    if (summary["done"], summary["failed"]) != (rows, 0):
        raise MeasuringError(f"{rows} rows were to be made, not {summary}")
    return rows / summary["seconds"], busy


def measure(repetitions: int = REPETITIONS, rows: int = ROWS) -> list[Figure]:
    """Return the medians of several runs with one replica and with two, in turns; raises MeasuringError."""
    one, two = [], []
    with tempfile.TemporaryDirectory() as name, nodes(2) as address:
        folder = Path(name)
        write_prompts(folder / "prompts.jsonl", rows)
        for repetition in range(repetitions):
            one.append(rows_per_second(folder, f"one-{repetition}", address, 1, rows))
            two.append(rows_per_second(folder, f"two-{repetition}", address, 2, rows))
    single, double = median(rate for rate, _ in one), median(rate for rate, _ in two)
    return [
        Figure("two replicas / one", double / single, "x", TARGET, "at least"),
        Figure("one replica", single, "rows/s"),
        Figure("two replicas", double, "rows/s"),
        Figure("slots busy while serving, one replica", 100 * median(busy for _, busy in one), "%"),
        Figure("slots busy while serving, two replicas", 100 * median(busy for _, busy in two), "%"),
    ]


@click.command()
@click.option("--repetitions", default=REPETITIONS, show_default=True)
@click.option("--rows", default=ROWS, show_default=True)
def main(repetitions: int, rows: int) -> None:
    """Measure replicas alone."""
    print_figures("cluster", measure(repetitions, rows))


if __name__ == "__main__":
    main()
