"""`cai check DATA`: a dataset's table of measures, what filters find in it, and examples of what they find."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import get_args

import click
from rich.console import Console
from rich.table import Column, Table

from cai.check.directory import find_ledger
from cai.check.plan import plan_check
from cai.check.results import SHOWN, DataCheck, require_filter
from cai.check.run import check as run_check
from cai.check.settings import LEAST_FLUENT, CheckedKind, DataCheckSettings
from cai.cli.options import LOCAL_FOLDER, QUIET, Count, FiniteRange, confirm_fresh
from cai.cli.screen import Screen, assembled, shown
from cai.cli.terminal import print_json, remark
from cai.core.addresses import DataSource
from cai.data.quality import LedgerEntry, read_ledger
from cai.models.spec import ModelSpec


@click.command()
@click.argument("data", type=DataSource.parse)
@click.option(
    "--kind", type=click.Choice(get_args(CheckedKind)), help="Read it as these (default: what it says most of)."
)
@click.option("--split", help="The split of a saved or hub dataset with several.")
@click.option("--shape", help="The layout of a public data set, where it cannot be told from its columns.")
@click.option(
    "--against",
    type=DataSource.parse,
    multiple=True,
    metavar="FILE|SET",
    help="Evaluation prompts that should not be in it; may be repeated (default: those that ship with cai).",
)
@click.option(
    "--near-duplicates/--no-near-duplicates",
    default=True,
    show_default=True,
    help="Compare every row with every other by MinHash: most of the time of a large set.",
)
@click.option(
    "--tokenizer",
    type=ModelSpec.checkpoint,
    metavar="MODEL",
    help="Count what training cuts off with this model's tokenizer and template, at --max-length.",
)
@click.option("--max-length", type=Count(2), help="Tokens an example at most, as in `cai train`.")
@click.option(
    "--fluency",
    type=ModelSpec.checkpoint,
    metavar="MODEL",
    help="Look for word salad: answers in which this model does not expect a run of words at all.",
)
@click.option(
    "--least-fluency",
    type=FiniteRange(max=0),
    default=LEAST_FLUENT,
    show_default=True,
    help="Nats a token below which an answer is word salad; the default is SmolLM2-135M's.",
)
@click.option(
    "--quality",
    default="default",
    show_default=True,
    metavar="default|strict|none|FILE",
    help="Which quality filters look for what; FILE is a YAML file of your own.",
)
@click.option(
    "--show",
    metavar="FILTER",
    help="Print examples of what a filter finds; of a directory that a check wrote, from its ledger.",
)
@click.option("--out", type=LOCAL_FOLDER, help="Write the table (JSON and Markdown) and the ledger into a directory.")
@click.option("--fresh", is_flag=True, help="Discard the check that is in --out.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@QUIET
def check(
    data: DataSource,
    kind: CheckedKind | None,
    split: str | None,
    shape: str | None,
    against: tuple[DataSource, ...],
    near_duplicates: bool,
    tokenizer: ModelSpec | None,
    max_length: int | None,
    fluency: ModelSpec | None,
    least_fluency: float,
    quality: str,
    show: str | None,
    out: Path | None,
    fresh: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure a dataset and look for what should not be in it: a run, a file, a saved or a hub dataset.

    Its completeness, consistency, diversity, balance, duplicates, contamination, the certainty and the bias of its
    labels, each beside what is usual. The data stays as it is.
    """
    if fresh and out is not None:
        confirm_fresh(out)
    if show is not None and (ledger := find_ledger(data)) is not None:
        entries = list(islice(read_ledger(ledger, show), SHOWN))
        if not entries:
            require_filter(show)
        _print_found(entries, sum(1 for _ in read_ledger(ledger, show)), show, as_json=as_json)
        return
    settings = DataCheckSettings(
        data=data,
        kind=kind,
        split=split,
        shape=shape,
        against=against,
        near_duplicates=near_duplicates,
        tokenizer=tokenizer,
        max_length=max_length,
        fluency=fluency,
        least_fluency=least_fluency,
        quality=quality,
        out=out,
        fresh=fresh,
    )
    plan = plan_check(settings)
    say = (lambda _: None) if quiet else remark
    for line in plan.remarks:
        say(line)
    result = run_check(plan, say)
    if show is not None:
        total = sum(one.left_out + one.cleaned + one.reported for one in result.filters if one.filter == show)
        _print_found(result.findings(show), total, show, as_json=as_json)
    elif as_json:
        print_json(result.as_json(), indent=True)
    else:
        print_check(Screen(), result)


def _print_found(entries: Sequence[LedgerEntry], total: int, name: str, *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(entry) for entry in entries], indent=True)
    else:
        print_findings(Screen(), entries, total, name)


def print_check(console: Console, result: DataCheck) -> None:
    """Print the table, a part a group, then what is unusual and what filters find."""
    console.print(assembled((result.data, "bold"), f": {result.summary}"), soft_wrap=True)
    table = Table(
        Column("", no_wrap=True),
        Column("", justify="right", no_wrap=True),
        Column("95 %", no_wrap=True),
        Column("p", no_wrap=True),
        Column("of", justify="right", no_wrap=True),
        Column("usual", overflow="fold"),
        box=None,
        pad_edge=False,
    )
    for group, measured in groupby(result.measured, key=lambda one: one.measure.group):
        table.add_row(shown(group, "bold"))
        for one in measured:
            value = shown(one.value, "yellow" if one.found.sentence is not None else "")
            name = shown(f" {one.measure.name}")
            table.add_row(name, value, one.interval, one.p, f"{one.found.count:,}", one.measure.usual)
    console.print(table)
    if result.sentences:
        console.print()
        for sentence in result.sentences:
            console.print(shown(f"{sentence[0].upper()}{sentence[1:]}.", "yellow"), soft_wrap=True)
    _print_filters(console, result)


def _print_filters(console: Console, result: DataCheck) -> None:
    if result.filters:
        table = Table(
            "filter",
            *(Column(name, justify="right") for name in ("left out", "cleaned", "reported")),
            Column("it found that", overflow="fold"),
            box=None,
            pad_edge=False,
        )
        for one in result.filters:
            counts = [f"{count:,}" if count else "" for count in (one.left_out, one.cleaned, one.reported)]
            table.add_row(one.filter, *counts, shown(one.reason))
        console.print()
        console.print(table)
        console.print("Nothing was changed; --show FILTER lists examples of what a filter found.", soft_wrap=True)
    if result.out is not None:
        console.print(shown(f"{result.out}: check.json, README.md, quality/ledger.parquet"))


def print_findings(console: Console, entries: Sequence[LedgerEntry], total: int, name: str) -> None:
    """Print what a filter found, with the place and the text around it."""
    if not entries:
        console.print(f"{name} found nothing")
    for entry in entries:
        where = entry.place if entry.place in ("", entry.id) else f"{entry.id}, {entry.place}"
        told = f" {entry.field}: {entry.outcome}, {entry.reason}"
        console.print(assembled((where or entry.id, "bold"), told), soft_wrap=True)
        console.print(shown(f"  {' '.join(entry.excerpt.split())}"), soft_wrap=True)
    if total > len(entries):
        console.print(f"and {total - len(entries):,} more; --out DIR lists them all in quality/ledger.parquet")
