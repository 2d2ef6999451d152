"""`cai show RUN [ID]`: the chains in a run, to read; of what is no run, what is there and which command reads it.

A row is printed as prompt, response, critiques, revisions and verdicts; a revision as a word diff where it left most of
the words alone.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from cai.check.directory import DOCUMENT as CHECK
from cai.check.directory import FORMAT as CHECK_FORMAT
from cai.cli.options import EXISTING_RUN, Count
from cai.cli.screen import Screen, assembled, shown
from cai.cli.terminal import print_json, remark
from cai.core.counts import counted
from cai.core.difference import are_alike, word_changes
from cai.core.errors import RunError
from cai.core.mark import Kind, kind_of
from cai.core.records import JurorVote, PartFailure, Row, Trace, Verdict
from cai.core.text import visible
from cai.evaluate.directory import DOCUMENT as EVALUATION
from cai.evaluate.directory import FORMAT as EVALUATION_FORMAT
from cai.judge_bench.directory import DOCUMENT as BENCH
from cai.judge_bench.directory import FORMAT as BENCH_FORMAT
from cai.loop.stage_records import look
from cai.method.verdicts import LOW_MASS
from cai.rundir import Run
from cai.rundir.documents import DocumentError, parse_document, read_bounded
from cai.rundir.origin import location
from cai.rundir.reader import Which
from cai.train.folder import FORMAT as TRAINING_FORMAT
from cai.train.folder import MANIFEST as TRAINING


@click.command()
@click.argument("run", type=EXISTING_RUN)
@click.argument("prompt_id", metavar="[ID]", required=False)
@click.option("--limit", type=Count(), default=10, show_default=True, help="Rows to print.")
@click.option("--revised", is_flag=True, help="Only rows in which something was revised and a pair was decided.")
@click.option("--left-out", is_flag=True, help="The rows that are left out instead (cai drop, a changed input).")
@click.option("--reasoning", is_flag=True, help="With what the models thought, and a judge's reasons.")
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON lines, whole.")
def show(
    run: Path, prompt_id: str | None, limit: int, revised: bool, left_out: bool, reasoning: bool, as_json: bool
) -> None:
    """Print a run's chains: prompt, response, critique, revision, verdict.

    Of a loop, an evaluation, a check or a trained model: what is there, and which command reads it.
    """
    kind = kind_of(run)
    if kind is not None and kind in _TOLD:
        if prompt_id is not None or revised or left_out:
            raise RunError(f"{run} holds no rows; `cai show {run}` says what is there")
        _show_other(run, kind, as_json=as_json)
        return
    stored = Run.read(run)
    which: Which = "left out" if left_out else "kept"
    if prompt_id is None:
        rows: Iterator[Row] = (row for row in stored.rows(which) if not revised or _tells_a_story(row))
    else:
        row = stored.row(prompt_id, which)
        if row is None:
            if not left_out and stored.row(prompt_id, "left out") is not None:
                raise RunError(f"the row {prompt_id!r} of {location(run)} is left out; --left-out shows it")
            raise RunError(f"{location(run)} has no row {prompt_id!r}; `cai show {location(run)}` lists some")
        rows = iter([row])
    console = Screen()
    printed = 0
    for row in islice(rows, limit):
        printed += 1
        if as_json:
            print_json(dataclasses.asdict(row))
        else:
            print_row(console, row, reasoning=reasoning)
    if not printed:
        remark(f"{location(run)} has no {'revised ' if revised else ''}rows to show")
    if not left_out and (counts := stored.left_out().counts()):
        told = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        remark(f"rows left out: {told}; --left-out shows them")


def _show_other(directory: Path, kind: Kind, *, as_json: bool) -> None:
    """Say what is in a directory that holds no rows; raises RunError when it cannot be read."""
    try:
        told, lines = _TOLD[kind](directory)
    except DocumentError as error:
        raise RunError(f"{directory}: its document {error}.") from error
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read: {error.strerror}.") from error
    if as_json:
        print_json({"kind": kind, **told})
        return
    console = Screen()
    for line in lines:
        console.print(line, soft_wrap=True)


def _evaluation(directory: Path) -> tuple[Mapping[str, Any], list[str]]:
    found = parse_document(read_bounded(directory / EVALUATION), EVALUATION_FORMAT)
    identity, status = found.fields("identity"), found.text("status")
    prompts = f", {counted(found.fields('result').count('prompts'), 'prompt')}" if status == "done" else ""
    picture = directory / "evaluation.png"
    look_at = f"look at {picture}; " if picture.exists() else ""
    return found.values, [
        f"{directory}: an evaluation under {identity.text('constitution')}, judged by {identity.text('judge')}: "
        f"{status}{prompts}",
        *(f"  {label}: {engine}" for label, engine in found.words("models").items()),
        f"{look_at}the same `cai evaluate` {'prints the table' if prompts else 'goes on'}",
    ]


def _training(directory: Path) -> tuple[Mapping[str, Any], list[str]]:
    if not (directory / TRAINING).exists():
        return {"status": "running"}, [f"{directory}: a training run without a model yet; the same `cai train` goes on"]
    found = parse_document(read_bounded(directory / TRAINING), TRAINING_FORMAT)
    method = found.text("method")
    use = "--reward-model " if method == "reward" else "--model transformers:"
    return found.values, [
        f"{directory}: {method} of {found.text('base')}: {found.text('status')}, {found.count('steps'):,} steps",
        f"look at {directory}/README.md; use it with {use}{directory}",
    ]


def _loop(directory: Path) -> tuple[Mapping[str, Any], list[str]]:
    stages = look(directory)
    width = max((len(name) for name, _, _ in stages), default=0)
    told = {"stages": [{"stage": name, "status": status, "look_at": where} for name, status, where in stages]}
    return told, [
        f"{directory}: a loop; the same `cai loop` goes on, and prints the measurement",
        *(f"{name:<{width}}  {status:<7}  {where}" for name, status, where in stages),
    ]


def _check(directory: Path) -> tuple[Mapping[str, Any], list[str]]:
    found = parse_document(read_bounded(directory / CHECK), CHECK_FORMAT)
    return found.values, [
        f"{directory}: a check of {found.text('data')}: {counted(found.count('examples'), 'example')}",
        f"look at {directory}/README.md; `cai check {directory} --show FILTER` lists what a filter found",
    ]


def _bench(directory: Path) -> tuple[Mapping[str, Any], list[str]]:
    found = parse_document(read_bounded(directory / BENCH), BENCH_FORMAT)
    identity, status = found.fields("identity"), found.text("status")
    done = status == "done"
    return found.values, [
        f"{directory}: a bench of judges under {identity.text('constitution')}: {status}",
        *(f"  {label}: {engine}" for label, engine in found.words("judges").items()),
        f"look at {directory}/README.md" if done else "the same `cai judge bench` goes on",
    ]


_TOLD: dict[Kind | None, Callable[[Path], tuple[Mapping[str, Any], list[str]]]] = {
    "evaluation": _evaluation,
    "training": _training,
    "loop": _loop,
    "check": _check,
    "judge-bench": _bench,
}


def _tells_a_story(row: Row) -> bool:
    return any(trace.final != trace.response for trace in row.traces) and any(
        verdict.probability is not None for verdict in row.verdicts
    )


def print_row(console: Console, row: Row, *, reasoning: bool = False) -> None:
    """Print one row, with `reasoning` what was thought; without colours a word diff is marked `[-gone-] {+new+}`."""
    parts: list[RenderableType] = [
        _entry(message["role"], message["content"], "bold") for message in row.prompt.messages
    ]
    named = len({trace.model for trace in row.traces}) > 1
    for trace in row.traces:
        parts.extend(_trace(trace, colours=console.color_system is not None, reasoning=reasoning, named=named))
    for verdict in row.verdicts:
        parts.extend(_entry("reasons", text, "dim") for text in (verdict.rationales if reasoning else ()))
        parts.append(_verdict(verdict))
    parts.extend(_failed(part) for part in row.failed)
    title = f"{row.prompt.id}  {' '.join(row.prompt.tags)}".rstrip()
    console.print(Panel(Group(*parts), title=shown(title), title_align="left"))


def _trace(trace: Trace, *, colours: bool, reasoning: bool, named: bool) -> list[RenderableType]:
    def thought(text: str | None, note: str = "") -> list[RenderableType]:
        return [_entry("thought", text, "dim", note)] if reasoning and text else []

    answer = _entry(f"response {trace.sample}", trace.response, "cyan", (trace.model or "") if named else "")
    parts: list[RenderableType] = [Text(), *thought(trace.reasoning), answer]
    kept = [turn for turn in trace.rounds if turn.revision is None]
    current = trace.response
    for turn in trace.rounds:
        parts.extend(thought(turn.gate_reasoning, f"{turn.principle_id}, at the gate"))
        if turn.critique is None or turn.revision is None:
            continue
        belief = "" if turn.gate_mass is None else f", the gate not answered: mass {turn.gate_mass:.2f}"
        if turn.gate is not None:
            belief = f", {turn.gate:.0%} likely broken"
        critique = _entry("critique", turn.critique, "yellow", note=f"{turn.principle_id}{belief}")
        parts.extend((*thought(turn.critique_reasoning), critique, *thought(turn.revision_reasoning)))
        if are_alike(current, turn.revision):
            parts.append(_labelled("revision", word_diff(current, turn.revision, colours=colours), "green"))
        else:
            parts.append(_entry("revision", turn.revision, "green", note="rewritten"))
        current = turn.revision
    if kept:
        listed = ", ".join(f"{turn.principle_id} {1 - turn.gate:.0%}" for turn in kept if turn.gate is not None)
        parts.append(_entry("kept", listed, "dim", note="so likely, by the gate"))
    return parts


def _failed(part: PartFailure) -> Text:
    return _entry("failed", part.cause, "red", note=f"{part.part}, at the {part.stage}")


def _verdict(verdict: Verdict) -> Text:
    a, b = verdict.a_source, verdict.b_source
    if verdict.probability is None:
        better, first, second = a, verdict.first, verdict.second
        masses = [f"{mass:.2f}" for mass in (verdict.first_mass, verdict.second_mass) if mass is not None]
        weighed = " and ".join(masses) if verdict.abstained == LOW_MASS else ""
        result = ": ".join(filter(None, ["abstained", str(verdict.abstained), weighed, *verdict.unreadable]))
    elif verdict.probability > 0.5:
        better, first, second = a, verdict.first, verdict.second
        result = f"{a} is better with {verdict.probability:.2f}"
    else:  # both are in a's frame, in which b was second when a was first
        better, first, second = b, _complement(verdict.second), _complement(verdict.first)
        result = f"{b} is better with {1 - verdict.probability:.2f}"
    orders = " and ".join(
        f"{value:.2f} when it was shown {order}"
        for order, value in (("first", first), ("second", second))
        if value is not None
    )
    if orders and verdict.probability is None:
        result += f"; {better} was better with {orders}"
    elif orders:
        result += f": {orders}"
    votes = ", ".join(f"{one.judge}: {_vote(one)}" for one in verdict.jurors)
    result += f"; of the jury, that {a} is better: {votes}" if votes else ""
    return _entry("verdict", result, "magenta", note=f"{a} against {b}, {verdict.principle_id}")


def _vote(vote: JurorVote) -> str:
    return f"abstained ({vote.abstained})" if vote.probability is None else f"{vote.probability:.2f}"


def _complement(value: float | None) -> float | None:
    return None if value is None else 1 - value


def _entry(label: str, content: str, style: str, note: str = "") -> Text:
    return _labelled(label, shown(content), style, note)


def _labelled(label: str, content: Text, style: str, note: str = "") -> Text:
    head = shown(label, style=style)
    if note:
        head.append(f" ({note})", style="dim")
    return assembled(head, shown(": "), content)


def word_diff(old: str, new: str, *, colours: bool) -> Text:
    """Return `new` with what went from `old` struck out and what came set off, word by word."""
    text = Text()
    for change, piece in word_changes(visible(old), visible(new)):
        if change == "same":
            text.append(piece)
        elif change == "come":
            text.append(piece if colours or not piece.strip() else f"{{+{piece}+}}", style="green")
        elif piece.strip():
            text.append(piece if colours else f"[-{piece}-]", style="red strike")
    return text
