"""`python -m benchmarks [PART …]`: measure, show figures beside targets, keep them in `benchmarks/PART.json`."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import orjson

from benchmarks import memory, overhead, pipeline, review, store
from benchmarks.figures import Figure, print_figures
from benchmarks.where import taken

STORE_ROWS = 500_000
RESULTS = Path(__file__).parent
_PACKAGES = ("cai", "aiohttp", "uvloop", "orjson", "pyarrow")


def measure_store(rows: int = STORE_ROWS) -> list[Figure]:
    """Return the figures of `benchmarks.store` that have targets, and those beside them."""
    with tempfile.TemporaryDirectory() as name:
        steps = {step: orjson.loads(store.step(step, Path(name, "run"), rows)) for step in store.STEPS}
    return [
        Figure("commit and seal", steps["commit"]["rows/s with sealing"], "rows/s", 5_000, "at least"),
        Figure("slowest commit", steps["commit"]["slowest commit ms"], "ms"),
        Figure(f"open a finished run of {rows:,} rows and skip them all", steps["resume"]["open and skip s"], "s", 10),
        Figure("read", steps["read"]["rows/s"], "rows/s"),
        Figure("export", steps["export"]["rows/s"], "rows/s"),
    ]


def measure_cluster() -> list[Figure]:
    """Return the figures of `benchmarks.cluster`."""
    from benchmarks import cluster  # noqa: PLC0415  (Ray is there only where it was asked for)

    return cluster.measure()


PARTS: dict[str, Callable[[], list[Figure]]] = {
    "pipeline": pipeline.measure,
    "store": measure_store,
    "memory": memory.measure,
    "overhead": overhead.measure,
    "review": review.measure,
    "cluster": measure_cluster,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=RESULTS, help="Folder for the JSON."
)
def main(parts: tuple[str, ...], results: Path) -> None:
    """Measure the named PARTS, or all, and keep their figures.

    Takes minutes; for figures worth keeping, leave the machine to it.
    """
    missed = []
    for part in parts or PARTS:
        figures = PARTS[part]()
        print_figures(part, figures)
        report = taken(_PACKAGES) | {"figures": [figure.as_json() for figure in figures]}
        path = results / f"{part}.json"
        path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        missed += [figure.name for figure in figures if figure.met is False]
    if missed:
        raise click.ClickException(f"{len(missed)} targets missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
