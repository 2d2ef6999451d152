"""`python -m benchmarks.agreement LOOP OTHER`: whether two `cai loop` runs give the same table within its intervals.

For the same loop on two devices. Every share of every model is looked at; one whose 95 % intervals do not meet is
printed, and ends the command with 1.
"""

from pathlib import Path

import click
import orjson

Interval = tuple[float, float]


def intervals(loop: Path) -> dict[str, Interval]:
    """Return the ends of every share's interval, by model and name; raises UsageError without an evaluation."""
    path = loop / "evaluation" / "evaluation.json"
    recorded = orjson.loads(path.read_bytes()) if path.is_file() else {}
    if recorded.get("status") != "done":
        raise click.UsageError(f"{loop} has no finished evaluation; run `cai loop` there first")
    return {
        f"{model['label']}: {figure['name']}": (figure["low"], figure["high"])
        for model in recorded["result"]["models"]
        for figure in model["measurements"]
        if figure["unit"] == "share" and figure["low"] is not None
    }


def apart(one: dict[str, Interval], other: dict[str, Interval]) -> list[str]:
    """Return the names whose intervals do not meet."""
    return [
        name for name in one if name in other and max(one[name][0], other[name][0]) > min(one[name][1], other[name][1])
    ]


@click.command()
@click.argument("loop", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
def main(loop: Path, other: Path) -> None:
    """Compare what LOOP and OTHER measured."""
    one, two = intervals(loop), intervals(other)
    common = one.keys() & two.keys()
    if not common:
        raise click.UsageError(f"{loop} and {other} have no figure in common")
    different = apart(one, two)
    for name in different:
        click.echo(f"{name}: {one[name][0]:.3f} to {one[name][1]:.3f}, and {two[name][0]:.3f} to {two[name][1]:.3f}")
    click.echo(f"{len(common) - len(different)} of {len(common)} shares agree within their 95 % intervals")
    if different:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main()
