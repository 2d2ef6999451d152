"""What a person reads before a job (the plan) and after it (what came out, what did not, and where it is)."""

import dataclasses
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from cai.cli.console import assembled, shown
from cai.cli.costs import print_comparison, print_estimate, tell_summary
from cai.cli.terminal import print_json, say
from cai.generate.estimate import Estimate
from cai.generate.prices import Rates
from cai.pipeline.watch import Summary
from cai.rundir.layout import failures_path
from cai.rundir.origin import location, read_origin

if TYPE_CHECKING:
    from cai.data.export import ExportSummary  # needs Arrow, which nobody waits for at the start

CAUSES_SHOWN = 10


def print_remarks(remarks: Iterable[str]) -> None:
    """Print what a person must know of how data is read: columns that are not used, encodings."""
    for line in remarks:
        say(f"cai: {line}", err=True)


def print_plan(console: Console, resolved: dict[str, Any], estimate: Estimate, rates: Rates) -> None:
    """Print the resolved options and the estimate."""
    table = Table("option", "value", box=None, pad_edge=False)
    for name, value in sorted(resolved.items()):
        if value is not None:
            table.add_row(name.replace("_", "-"), shown(str(value)))
    console.print(table)
    print_estimate(console, estimate, rates)


def finish(
    console: Console, summary: Summary, exported: "ExportSummary", *, as_json: bool, rates: Rates | None = None
) -> None:
    """Print how a job ended, and leave with 130 after an interrupt, 1 when nothing at all came out."""
    rates = rates or Rates()
    if as_json:
        print_json(tell_summary(summary, rates) | {"export": dataclasses.asdict(exported)})
    else:
        _print_summary(console, summary)
        print_comparison(console, summary, rates)
        print_export(console, summary.out, exported)
        _hint(console, summary.for_good, exported.lacking)
    if summary.status == "interrupted":
        if not as_json:
            console.print("The same command goes on from here.")
        raise click.exceptions.Exit(130)
    if summary.rows == 0:
        raise click.exceptions.Exit(1)


def _print_summary(console: Console, summary: Summary) -> None:
    tokens = summary.prompt_tokens + summary.completion_tokens
    rate = f", {tokens / summary.seconds:,.0f} tokens/s" if summary.seconds else ""
    console.print(
        assembled(
            (summary.status, "bold"),
            f": {summary.rows:,} rows in {location(summary.out)} "
            f"({summary.done:,} now in {summary.seconds:,.1f} s, {summary.requests:,} requests{rate})",
        )
    )
    if summary.skipped:
        console.print(f"{summary.skipped:,} were finished before")
    if summary.duplicates:
        console.print(f"{summary.duplicates:,} duplicate prompts were skipped")
    for cause, count in islice(summary.failures.items(), CAUSES_SHOWN):
        console.print(assembled((f"{count:,} failed", "yellow"), f" in {cause}"))
    more = len(summary.failures) - CAUSES_SHOWN
    if more > 0:
        console.print(f"and {more:,} more causes: {_failures(summary.out)}")
    if summary.owed:
        console.print(f"{summary.owed:,} of the failed are asked again by the same command")


def _hint(console: Console, for_good: int, lacking: int) -> None:
    """Say what can be done about failures that the same command would not ask again for."""
    counts = [
        f"{count:,} {what if count != 1 else one}"
        for count, one, what in (
            (for_good, "prompt failed for good", "prompts failed for good"),
            (lacking, "row lacks a sample or verdict", "rows lack a sample or verdict"),
        )
        if count
    ]
    if counts:
        again = "mend the cause, then the same command with --retry-failed asks again"
        console.print(f"{' and '.join(counts)}; {again}", soft_wrap=True)


def _failures(run: Path) -> Path:
    origin = read_origin(run)
    return failures_path(run, 0 if origin is None else origin.series)


def print_export(console: Console, run: Path, export: "ExportSummary") -> None:
    """Print what was exported, what was left out and why, and how to load it."""
    console.print(
        f"sft: {export.sft.train:,} train + {export.sft.test:,} test · "
        f"preference: {export.preference.train:,} train + {export.preference.test:,} test"
    )
    for title, reasons in (
        ("judgements that abstained", export.abstentions),
        ("samples and verdicts that failed", export.failed_parts),
        ("left out of sft", export.sft.left_out),
        ("left out of preference", export.preference.left_out),
    ):
        if reasons:
            console.print(f"{title}: {', '.join(f'{reason} {count:,}' for reason, count in reasons.items())}")
    if export.adherence:
        kept = ", ".join(f"{name} {value.mean:.0%}" for name, value in export.adherence.items())
        console.print(f"kept by responses, by the gates: {kept}")
    # Soft-wrapped, because these lines are there to be copied.
    load = f'load: datasets.load_dataset("{run}", "sft") and "preference"; read: cai show {location(run)}'
    console.print(load, soft_wrap=True)
