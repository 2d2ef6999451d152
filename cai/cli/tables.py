"""What several commands print for a person: how a run ended and what was exported."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cai.cli.judge_tables import print_adherence, print_judge_check
from cai.cli.screen import assembled, shown
from cai.core.counts import counted
from cai.pipeline.filling import Summary
from cai.rundir.layout import failures_path
from cai.rundir.origin import location, read_origin

if TYPE_CHECKING:
    from cai.data.export import ExportSummary  # needs Arrow, which nobody waits for at the start

CAUSES_SHOWN = 10


def print_summary(console: Console, summary: Summary) -> None:
    """Print how a run ended, how many rows it has, and what failed."""
    tokens = summary.prompt_tokens + summary.completion_tokens
    rate = f", {tokens / summary.seconds:,.0f} tokens/s" if summary.seconds else ""
    console.print(
        assembled(
            (summary.status, "bold"),
            f": {counted(summary.rows, 'row')} in {location(summary.out)} "
            f"({summary.done:,} now in {summary.seconds:,.1f} s, {summary.requests:,} requests{rate})",
        )
    )
    if summary.judge_check is not None:
        print_judge_check(console, summary.judge_check)
    if summary.skipped:
        console.print(f"{summary.skipped:,} were finished before")
    if summary.remembered:
        console.print(f"{counted(summary.remembered, 'answer')} of unfinished rows had been kept")
    if summary.duplicates:
        console.print(f"{counted(summary.duplicates, 'duplicate prompt')} skipped")
    for cause, count in islice(summary.failures.items(), CAUSES_SHOWN):
        console.print(assembled((f"{count:,} failed", "yellow"), f" in {cause}"))
    more = len(summary.failures) - CAUSES_SHOWN
    if more > 0:
        console.print(f"and {more:,} more causes: {_failures(summary.out)}")
    if summary.owed:
        console.print(f"{summary.owed:,} of the failed are asked again by the same command")


def print_hints(console: Console, summary: Summary, exported: "ExportSummary") -> None:
    """Say what can be done about an interrupt, and about failures that the same command would not ask again for."""
    counts = [
        f"{count:,} {what if count != 1 else one}"
        for count, one, what in (
            (summary.for_good, "prompt failed for good", "prompts failed for good"),
            (exported.lacking, "row lacks a sample or verdict", "rows lack a sample or verdict"),
        )
        if count
    ]
    if counts:
        again = "mend the cause, then the same command with --retry-failed asks again"
        console.print(f"{' and '.join(counts)}; {again}", soft_wrap=True)
    if summary.status == "interrupted":
        console.print("The same command goes on from here.")


def exit_code(summary: Summary) -> int:
    """Return 130 after an interrupt, 1 when nothing at all came out, else 0."""
    if summary.status == "interrupted":
        return 130
    return 0 if summary.rows else 1


def _failures(run: Path) -> Path:
    origin = read_origin(run)
    return failures_path(run, 0 if origin is None else origin.series)


def print_export(console: Console, run: Path, export: "ExportSummary") -> None:
    """Print what was exported, what was left out and why, and how to load it."""
    console.print(
        f"sft: {export.sft.train:,} train + {export.sft.test:,} test · "
        f"preference: {export.preference.train:,} train + {export.preference.test:,} test"
        + "".join(
            f" · {name}: {counts.train:,} train + {counts.test:,} test"
            for name, counts in (("ranking", export.ranking), ("labelled", export.labelled), ("scored", export.scored))
            if counts.size
        )
    )
    for title, reasons in (
        ("judgements that abstained", export.abstentions),
        ("samples and verdicts that failed", export.failed_parts),
        ("rows left out", export.left_out),
        ("left out of sft", export.sft.left_out),
        ("left out of preference", export.preference.left_out),
        ("answers left out of ranking", export.ranking.left_out),
        ("cleaned in sft", export.sft.cleaned),
        ("cleaned in preference", export.preference.cleaned),
        ("kept in sft, and listed in the ledger", export.sft.reported),
        ("kept in preference, and listed in the ledger", export.preference.reported),
        *_told_of_layout(export),
    ):
        if reasons:
            console.print(f"{title}: {', '.join(f'{reason} {count:,}' for reason, count in reasons.items())}")
    if export.selected:
        console.print(f"sft: {export.selected.told}")
    if export.triples.told:
        console.print(export.triples.told)
    _print_standings(console, export)
    if export.reasoning:
        told = ", ".join(f"{stage} {count:,}" for stage, count in export.reasoning.items())
        console.print(f"thoughts in the rows (cai export --reasoning has those of answers): {told}")
    print_adherence(console, export)
    for line in export.explanations:
        console.print(shown(line), style="yellow", soft_wrap=True)
    for line in export.remarks:
        console.print(shown(line), style="yellow", soft_wrap=True)
    if export.pushed is not None:
        console.print(
            f"sent to {export.pushed.url} ({'private' if export.pushed.private else 'public'})", soft_wrap=True
        )
    if export.layout is not None:
        folder = run / export.layout.name
        settings = "".join(f", {name}" for name in export.layout.settings)
        console.print(f"for {export.layout.title}: {folder}/README.md says how it is read{settings}", soft_wrap=True)
        return
    written = [
        f'"{name}"'
        for name, counts in (("sft", export.sft), ("preference", export.preference), ("ranking", export.ranking))
        if counts.size
    ]
    names = " and ".join([f'datasets.load_dataset("{run}", {written[0]})', *written[1:]]) if written else ""
    load, train = (f"load: {names}; ", f"; train: cai advise {location(run)}") if written else ("", "")
    # Soft-wrapped, because these lines are there to be copied.
    console.print(f"{load}read: cai show {location(run)}{train}", soft_wrap=True)


def _print_standings(console: Console, export: "ExportSummary") -> None:
    """Print which model was preferred over which, where several answered."""
    found = export.standings
    if not found.pairs:
        return
    table = Table("model", "strength", title="model against model, first responses, log-odds", box=None)
    table.title_justify = "left"
    for one in found.strengths:
        table.add_row(shown(one.model), f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]")
    console.print(table)
    for pair in found.pairs:
        console.print(shown(f"{pair.a} preferred over {pair.b}: {pair.told}"), soft_wrap=True)
    if found.own is not None:
        console.print(shown(found.own.told), style="yellow", soft_wrap=True)


def _told_of_layout(export: "ExportSummary") -> Iterator[tuple[str, Mapping[str, int]]]:
    """Yield what a format of another tool holds beside the run's datasets, and what it has no place for."""
    if export.layout is None:
        return
    for name, counts in export.layout.parts.items():
        if name not in ("sft", "preference", "ranking"):
            yield name, {"train": counts.train, "test": counts.test}
            yield f"left out of {name}", counts.left_out
        yield f"not held of {name}", counts.not_held
    yield "not in this format", export.layout.without
