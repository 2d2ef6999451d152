"""`cai show RUN [ID]`: the chains in a run, to read."""

import dataclasses
import difflib
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from cai.cli.options import EXISTING_RUN, Count
from cai.cli.screen import Screen, assembled, shown
from cai.cli.terminal import print_json, remark
from cai.core.errors import RunError
from cai.core.records import PartFailure, Row, Trace, Verdict
from cai.core.text import visible
from cai.rundir import Run
from cai.rundir.origin import location


@click.command()
@click.argument("run", type=EXISTING_RUN)
@click.argument("prompt_id", metavar="[ID]", required=False)
@click.option("--limit", type=Count(), default=10, show_default=True, help="Rows to print.")
@click.option("--revised", is_flag=True, help="Only rows in which something was revised and a pair was decided.")
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON lines.")
def show(run: Path, prompt_id: str | None, limit: int, revised: bool, as_json: bool) -> None:
    """Print a run's chains: prompt, response, critique, revision, verdict."""
    stored = Run.read(run)
    if prompt_id is None:
        rows: Iterator[Row] = (row for row in stored.rows() if not revised or _tells_a_story(row))
    else:
        row = stored.row(prompt_id)
        if row is None:
            raise RunError(f"{location(run)} has no row {prompt_id!r}; `cai show {location(run)}` lists some")
        rows = iter([row])
    console = Screen()
    printed = 0
    for row in islice(rows, limit):
        printed += 1
        if as_json:
            print_json(dataclasses.asdict(row))
        else:
            print_row(console, row)
    if not printed:
        remark(f"{location(run)} has no {'revised ' if revised else ''}rows to show")


def _tells_a_story(row: Row) -> bool:
    return any(trace.final != trace.response for trace in row.traces) and any(
        verdict.probability is not None for verdict in row.verdicts
    )


def print_row(console: Console, row: Row) -> None:
    """Print one row; without colours a word diff is marked `[-gone-] {+new+}`."""
    parts: list[RenderableType] = [
        _entry(message["role"], message["content"], "bold") for message in row.prompt.messages
    ]
    for trace in row.traces:
        parts.extend(_trace(trace, colours=console.color_system is not None))
    parts.extend(_verdict(verdict) for verdict in row.verdicts)
    parts.extend(_failed(part) for part in row.failed)
    title = f"{row.prompt.id}  {' '.join(row.prompt.tags)}".rstrip()
    console.print(Panel(Group(*parts), title=shown(title), title_align="left"))


def _trace(trace: Trace, *, colours: bool) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(), _entry(f"response {trace.sample}", trace.response, "cyan")]
    kept = [turn for turn in trace.rounds if turn.revision is None]
    current = trace.response
    for turn in trace.rounds:
        if turn.critique is None or turn.revision is None:
            continue
        belief = "" if turn.gate is None else f", {turn.gate:.0%} likely broken"
        parts.append(_entry("critique", turn.critique, "yellow", note=f"{turn.principle_id}{belief}"))
        parts.append(_labelled("revision", word_diff(current, turn.revision, colours=colours), "green"))
        current = turn.revision
    if kept:
        listed = ", ".join(f"{turn.principle_id} {1 - turn.gate:.0%}" for turn in kept if turn.gate is not None)
        parts.append(_entry("kept", listed, "dim", note="so likely, by the gate"))
    return parts


def _failed(part: PartFailure) -> Text:
    return _entry("failed", part.cause, "red", note=f"{part.part}, at the {part.stage}")


def _verdict(verdict: Verdict) -> Text:
    shown = " ".join(
        f"{order} {value:.2f}"
        for order, value in (("first", verdict.first), ("second", verdict.second))
        if value is not None
    )
    if verdict.probability is None:
        result = ": ".join(["abstained", str(verdict.abstained), *verdict.unreadable])
    else:
        better = verdict.a_source if verdict.probability > 0.5 else verdict.b_source
        result = f"{better} is better ({max(verdict.probability, 1 - verdict.probability):.2f})"
    pair = f"{verdict.a_source} against {verdict.b_source}"
    return _entry(
        "verdict", result, "magenta", note=f"{pair}, {verdict.principle_id}; shown {shown}" if shown else pair
    )


def _entry(label: str, content: str, style: str, note: str = "") -> Text:
    return _labelled(label, shown(content), style, note)


def _labelled(label: str, content: Text, style: str, note: str = "") -> Text:
    head = shown(label, style=style)
    if note:
        head.append(f" ({note})", style="dim")
    return assembled(head, shown(": "), content)


def word_diff(old: str, new: str, *, colours: bool) -> Text:
    """Return `new` with what went from `old` struck out and what came set off, word by word."""
    before, after = (re.findall(r"\s+|\S+", visible(text)) for text in (old, new))
    text = Text()
    for change, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        gone, come = "".join(before[i:j]), "".join(after[k:m])
        if change == "equal":
            text.append(come)
            continue
        if gone.strip():
            text.append(gone if colours else f"[-{gone}-]", style="red strike")
        if come:
            text.append(come if colours or not come.strip() else f"{{+{come}+}}", style="green")
    return text
