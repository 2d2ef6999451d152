"""How fast a run directory takes rows, comes back, and gives them out; run as `python -m benchmarks.store [ROWS]`.

Rows are about 1.5 KB. Resuming and exporting happen in fresh processes, so that their peak memory is their own; the
peak for a tenth of the rows stands beside it, because memory must not grow with them.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from cai.core.records import Row
from cai.data.export import ExportOptions, export_run
from cai.rundir import Run
from tests.storage import make_row, open_run

DIFFERENT = 2000


def main() -> None:
    """Print the figures."""
    if len(sys.argv) > 2:
        print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    with tempfile.TemporaryDirectory() as parent:
        for rows in (count // 10, count):
            directory = Path(parent) / str(rows)
            print(f"{rows} rows")
            for name in STEPS:
                figures = json.loads(step(name, directory, rows))
                print(f"  {name:7}", ", ".join(f"{key} {value:,.1f}" for key, value in figures.items()), flush=True)


def step(name: str, directory: Path, rows: int) -> str:
    """Run one step in a process of its own and return what it printed."""
    command = [sys.executable, "-m", "benchmarks.store", name, str(directory), str(rows)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def spent_so_far() -> dict[str, float]:
    """Return the processor time of this process, all threads together, and the most memory it had."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"CPU s": used.ru_utime + used.ru_stime, "peak MB": used.ru_maxrss / 1024}


def commit(directory: Path, rows: int) -> dict[str, float]:
    """Commit rows as fast as they come; the row that is repeated gets a new prompt each time."""
    patterns = [make_row(number) for number in range(DIFFERENT)]
    run = open_run(directory)
    slowest = spent = 0.0
    start = time.perf_counter()
    for number in range(rows):
        row = numbered(patterns[number % DIFFERENT], number)
        before = time.perf_counter()
        run.commit(row)
        took = time.perf_counter() - before
        spent += took
        slowest = max(slowest, took)
    run.close("done")
    whole = time.perf_counter() - start
    return {
        "rows/s with sealing": rows / whole,
        "us a commit": spent / rows * 1e6,
        "slowest commit ms": slowest * 1e3,
        **spent_so_far(),
    }


def numbered(row: Row, number: int) -> Row:
    """Return the row as if it were prompt `number`'s."""
    return replace(row, prompt=replace(row.prompt, id=f"prompt-{number}", ordinal=number))


def resume(directory: Path, rows: int) -> dict[str, float]:
    """Open the run again and skip everything that is finished."""
    start = time.perf_counter()
    run = open_run(directory)
    opened = time.perf_counter() - start
    if not all(run.is_finished(f"prompt-{number}") for number in range(rows)):
        raise SystemExit("rows were lost")
    whole = time.perf_counter() - start
    run.close("done")
    return {"open s": opened, "open and skip s": whole, **spent_so_far()}


def read(directory: Path, rows: int) -> dict[str, float]:
    """Read every row in order."""
    start = time.perf_counter()
    if sum(1 for _ in Run.read(directory).rows()) != rows:
        raise SystemExit("rows were lost")
    return {"rows/s": rows / (time.perf_counter() - start), **spent_so_far()}


def export(directory: Path, rows: int) -> dict[str, float]:
    """Export the run."""
    start = time.perf_counter()
    export_run(directory, ExportOptions())
    return {"rows/s": rows / (time.perf_counter() - start), **spent_so_far()}


STEPS = {"commit": commit, "resume": resume, "read": read, "export": export}

if __name__ == "__main__":
    main()
