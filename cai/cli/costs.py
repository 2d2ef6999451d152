"""What a run costs, told: the options that give speeds and prices, and the tables of tokens, time and money."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cai.cli.options import Command, FiniteRange
from cai.generate.dry_run import Load
from cai.generate.estimate import Estimate, GenerateSummary
from cai.generate.prices import Rates
from cai.pipeline.watch import Summary

_UNITS = ((86_400, "days"), (3_600, "h"), (60, "min"))
_BOUNDS = ("least", "expected", "most")

Line = tuple[str, Load, float | None, float | None]
"""A line of a table: its name, the load, seconds, money."""


def rate_options(command: Command) -> Command:
    """Add the options that give speeds and prices."""
    for option in reversed(
        [
            click.option(
                "--speed-prompt",
                type=FiniteRange(0, min_open=True),
                help="Prompt tokens a second, as cai models check measures them: the estimate tells the time.",
            ),
            click.option(
                "--speed-completion", type=FiniteRange(0, min_open=True), help="Generated tokens a second, likewise."
            ),
            click.option(
                "--price-prompt",
                type=FiniteRange(0),
                help="Price of a million prompt tokens, in any currency: the cost is told.",
            ),
            click.option("--price-completion", type=FiniteRange(0), help="Price of a million generated tokens."),
        ]
    ):
        command = option(command)
    return command


def take_rates(options: dict[str, Any]) -> Rates:
    """Move speeds and prices out of a command's options; raises UsageError when half of a pair is missing."""
    return Rates(**{item.name: options.pop(item.name) for item in fields(Rates)})


def tell_estimate(estimate: Estimate, rates: Rates) -> dict[str, Any]:
    """Return the estimate as what JSON can say; each load has `seconds` and `money`, null where no rates are given."""
    told = estimate.as_json()
    for name, load in _loads(estimate):
        told[name] |= {"seconds": rates.seconds(load), "money": rates.money(load)}
    return told


def tell_summary(summary: Summary, rates: Rates) -> dict[str, Any]:
    """Return the summary as what JSON can say, with what it cost and the estimate's costs."""
    told = summary.as_json() | {"money": rates.money(_actual(summary))}
    if isinstance(summary, GenerateSummary) and summary.estimate is not None:
        told["estimate"] = tell_estimate(summary.estimate, rates)
    return told


def print_estimate(console: Console, estimate: Estimate, rates: Rates) -> None:
    """Print the bounds, what is expected between them, and what that rests on."""
    rows = f"{estimate.rows:,} rows" + ("" if estimate.whole else ", the first (the input does not tell how many more)")
    console.print(f"\n{rows}:")
    _print_table(console, [(name, load, rates.seconds(load), rates.money(load)) for name, load in _loads(estimate)])
    for sentence in estimate.basis:
        console.print(f"  {sentence}", soft_wrap=True)


def print_comparison(console: Console, summary: Summary, rates: Rates) -> None:
    """Print what this process asked beside what was foreseen for the same rows."""
    if not isinstance(summary, GenerateSummary) or summary.estimate is None or not summary.estimate.rows:
        return
    foreseen, actual = summary.estimate.expected, _actual(summary)
    _print_table(
        console,
        [
            ("estimated", foreseen, rates.seconds(foreseen), rates.money(foreseen)),
            ("actual", actual, summary.seconds if rates.seconds(actual) is not None else None, rates.money(actual)),
        ],
    )


def _loads(estimate: Estimate) -> Iterable[tuple[str, Load]]:
    return zip(_BOUNDS, (estimate.least, estimate.expected, estimate.most), strict=True)


def _actual(summary: Summary) -> Load:
    return Load(summary.requests, summary.prompt_tokens, summary.completion_tokens)


def _print_table(console: Console, lines: list[Line]) -> None:
    timed = any(seconds is not None for _, _, seconds, _ in lines)
    priced = any(money is not None for _, _, _, money in lines)
    titles = ["requests", "prompt tokens", "completion tokens", *["time"] * timed, *["cost"] * priced]
    table = Table("", box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right")
    for name, load, seconds, money in lines:
        cells = [f"{load.requests:,}", f"{load.prompt_tokens:,}", f"{load.completion_tokens:,}"]
        if seconds is not None:
            cells.append(_duration(seconds))
        if money is not None:
            cells.append(f"{money:,.2f}" if money >= 1 else f"{money:.4f}")
        table.add_row(name, *cells)
    console.print(table)


def _duration(seconds: float) -> str:
    """Return seconds in the largest unit of which there are two or more."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"
