"""How well a run went, by what its rows say: adherence before and after, the judge, positions, certainty, lengths.

What nobody measured is told as that, with the command that would.
"""

import shlex
from collections.abc import Sequence

from cai.core.shares import sign_test, wilson
from cai.method.judge_check import FEW, JudgeCheck
from cai.report.catalogue import Catalogue
from cai.report.document import Block, Cell, Commands, Heading, Paragraph, Picture, Section, Table
from cai.report.drawing import Line, Point, draw_bars, draw_grid, draw_shares
from cai.report.linking import Linker, interval, percent
from cai.report.run_facts import BINS, EVEN, PLACES, SAME_ANSWER, RowFacts
from cai.report.shares import PromptShare
from cai.report.tallies import Tally
from cai.rundir.manifest import Manifest

HEAD = ("share", "interval", "prompts", "answered", "unanswered")
CORRECTED = ("corrected", "labels")
"""Columns of what people's labels make of a share that the judge told."""


def how_well_of_run(link: Linker, manifest: Manifest, facts: RowFacts, measured: Sequence[Block]) -> Section:
    """Return the section of a run; `measured` are the blocks on people and on tests of the judge beside the run."""
    texts = link.texts
    blocks: list[Block] = [
        Paragraph(texts("well.shares-note"), "note"),
        Heading(texts("well.adherence")),
        *_adherence(link, facts),
        Heading(texts("well.rounds")),
        *_rounds(link, facts),
        Heading(texts("well.preferred")),
        *_preferred(link, facts),
        Heading(texts("well.judge")),
        *judge_blocks(link, manifest.judge_check, "run.json: judge_check"),
        Heading(texts("well.positions")),
        *_positions(link, facts),
        Heading(texts("well.certainty")),
        *_certainty(link, facts),
        Heading(texts("well.lengths")),
        *_lengths(link, facts),
        *measured,
    ]
    return Section(link.anchor("well"), link.title("well.title"), blocks)


ShareRow = tuple[str, PromptShare, str, Tally]
"""A label, a share, and the name and the tally that it is linked to."""


def _share_table(link: Linker, caption: str, first: str, rows: Sequence[ShareRow]) -> Table:
    head = [first, *(link.texts(f"well.head.{name}") for name in HEAD)]
    return Table(caption, head, [[Cell(label), *link.share(found, name, tally)] for label, found, name, tally in rows])


def _judged_table(link: Linker, caption: str, first: str, rows: Sequence[ShareRow]) -> Table:
    """Return a table of shares that the judge told, with what people's labels make of each beside it."""
    raw = _share_table(link, caption, first, rows)
    head = [*raw.head, *(link.texts(f"well.head.{name}") for name in CORRECTED)]
    cells = [[*row, *link.corrected(found.corrected)] for row, (_, found, _, _) in zip(raw.rows, rows, strict=True)]
    return Table(caption, head, cells)


def points(shares: Sequence[PromptShare]) -> list[Point]:
    """Return the points of the shares that may be told, a series each."""
    return [
        Point(series, found.interval.value, found.interval.low, found.interval.high)
        for series, found in enumerate(shares)
        if found.interval is not None
    ]


def _adherence(link: Linker, facts: RowFacts) -> list[Block]:
    """Return how often each principle was kept: by the gate before its round, and by scores before and after."""
    texts, before = link.texts, dict(facts.shares.below("kept: "))
    after = {name: (facts.shares[f"before: {name}"], found) for name, found in facts.shares.below("after: ")}
    if not before and not after:
        return not_measured(link, "well.no-gates", f"cai generate … --gate --out {shlex.quote(link.directory)}-gated")
    blocks: list[Block] = []
    if before:
        rows = [(name, found, *_gates_of(facts, name)) for name, found in before.items()]
        blocks.append(_judged_table(link, texts("well.kept-before"), texts("well.principle"), rows))
    if after:
        for stage, place in (("before", 0), ("after", 1)):
            names = {name: f"gates {stage} revision: {name}" for name in after}
            rows = [(name, after[name][place], tally, facts.tallies[tally]) for name, tally in names.items()]
            blocks.append(_judged_table(link, texts(f"well.scored-{stage}"), texts("well.principle"), rows))
    else:
        blocks += not_measured(
            link, "well.no-after", "cai generate … --select gates", "cai evaluate … --out evaluations/after"
        )
    series = [texts("well.series-before"), texts("well.series-after")] if after else [texts("well.series-before")]
    shown = {name: after.get(name, (found,)) for name, found in before.items()} | after
    lines = [Line(name, points(shown[name]), texts("too-few")) for name in sorted(shown)]
    drawn = draw_shares(
        link.anchor("adherence"), texts("well.adherence"), texts("well.adherence-figure"), series, lines
    )
    return [*blocks, Picture(drawn, texts("well.adherence-figure"))]


def _gates_of(facts: RowFacts, name: str) -> tuple[str, Tally]:
    """Return the tally that a principle's share is linked to: what broke it, or where nothing did, what kept it."""
    states = [f"gates {state}: {name}" for state in ("broken", "kept", "unanswered")]
    found = next((state for state in states if facts.tallies[state].rows), states[0])
    return found, facts.tallies[found]


def _rounds(link: Linker, facts: RowFacts) -> list[Block]:
    texts = link.texts
    found = [(int(number), share) for number, share in facts.shares.below("round: ")]
    if not found:
        return not_measured(link, "well.no-gates", "cai generate … --gate")
    names = {number: f"gates of round {number}" for number, _ in found}
    rows = [(texts("well.round", round=n), share, names[n], facts.tallies[names[n]]) for n, share in found]
    lines = [Line(texts("well.round", round=number), points([share]), texts("too-few")) for number, share in found]
    drawn = draw_shares(link.anchor("rounds"), texts("well.rounds"), texts("well.rounds-figure"), ["kept"], lines)
    return [
        _judged_table(link, texts("well.rounds"), texts("well.head.round"), rows),
        Picture(drawn, texts("well.rounds-figure")),
    ]


def _preferred(link: Linker, facts: RowFacts) -> list[Block]:
    texts, found = link.texts, facts.shares.below("better: ")
    if not found:
        return [Paragraph(texts("well.no-comparisons"))]
    names = {name: f"revision beside response: {name}" for name, _ in found}
    rows = [(name, share, names[name], facts.tallies[names[name]]) for name, share in found]
    lines = [Line(name, points([share]), texts("too-few")) for name, share in found]
    drawn = draw_shares(
        link.anchor("preferred"), texts("well.preferred"), texts("well.preferred-figure"), ["kept"], lines
    )
    return [
        _judged_table(link, texts("well.preferred"), texts("well.principle"), rows),
        Picture(drawn, texts("well.preferred-figure")),
    ]


def judge_blocks(link: Linker, found: JudgeCheck | None, place: str) -> list[Block]:
    """Return what the judge was found to be on known pairs before the first row; `place` says where it is recorded."""
    texts = link.texts
    if found is None:
        return not_measured(link, "well.judge-not-tested", "cai models check MODEL --judge")
    rows = [(name, told) for name, told in _judge_rows(texts, found) if told]
    table = [[Cell(texts(f"well.check.{name}")), link.recorded(told, place)] for name, told in rows]
    return [
        Paragraph(texts("well.judge-check", about=found.about)),
        Table(texts("well.judge"), (texts("out.what"), texts("out.number")), table),
    ]


def _judge_rows(texts: Catalogue, found: JudgeCheck) -> list[tuple[str, str]]:
    accuracy, gates = found.accuracy, found.gate_accuracy
    return [
        ("judge", found.judge or ""),
        ("right", _of(texts, found.right, found.answered)),
        ("accuracy", f"{percent(accuracy.value)} {interval(accuracy)}" if accuracy and found.answered >= FEW else ""),
        ("same-place", _of(texts, found.same_place, found.answered)),
        ("first", "" if found.first is None else f"{found.first:.2f}"),
        ("mass", "" if found.mass is None else f"{found.mass:.2f}"),
        ("labelled", _of(texts, found.labelled, found.verdicts)),
        ("gate", found.gate or ""),
        ("gate-right", _of(texts, found.gates_right, found.gates_answered)),
        ("gate-accuracy", f"{percent(gates.value)} {interval(gates)}" if gates and found.gates_answered >= FEW else ""),
        ("gate-answered", _of(texts, found.gates_answered, found.gates)),
        ("failed", f"{found.failed:,}" if found.failed else ""),
    ]


def _of(texts: Catalogue, part: float, whole: int) -> str:
    return texts("of", part=f"{part:g}", whole=f"{whole:,}") if whole else ""


def _positions(link: Linker, facts: RowFacts) -> list[Block]:
    texts, whole = link.texts, facts.tallies["both orders"]
    if not whole.count:
        return not_measured(link, "well.one-order", "cai judge RUN --judge-orders both")
    rows = [
        [Cell(texts(f"well.{kind}")), link.count(f"both orders: {kind}", facts.tallies)]
        for kind in (SAME_ANSWER, *PLACES, EVEN)
    ]
    same = facts.shares["same place"]
    share = _share_table(
        link,
        texts("well.same-place"),
        texts("out.what"),
        [(texts("well.same-place"), same, "both orders", whole)],
    )
    axes = (texts("well.axis-first"), texts("well.axis-second"))
    drawn = draw_grid(
        link.anchor("positions"), texts("well.positions"), texts("well.positions-figure"), axes, facts.grid
    )
    table = Table(texts("well.positions"), (texts("out.what"), texts("out.number")), rows)
    return [table, share, Picture(drawn, texts("well.positions-figure"))]


def _certainty(link: Linker, facts: RowFacts) -> list[Block]:
    texts = link.texts
    if not facts.tallies["verdicts decided"].count:
        return [Paragraph(texts("well.no-verdicts"))]
    ends = [f"{0.5 + place / (2 * BINS):.2f}" for place in range(BINS + 1)]
    names = [f"certainty {ends[place]} to {ends[place + 1]}" for place in range(BINS)]
    labels = [f"{ends[place]} - {ends[place + 1]}" for place in range(BINS)]
    rows = [[Cell(label), link.count(name, facts.tallies)] for label, name in zip(labels, names, strict=True)]
    bars = [(label, count, f"{count:,}") for label, count in zip(labels, facts.certainty, strict=True)]
    drawn = draw_bars(link.anchor("certainty"), texts("well.certainty"), texts("well.certainty-figure"), bars)
    table = Table(texts("well.certainty"), (texts("well.head.certainty"), texts("out.number")), rows)
    return [table, Picture(drawn, texts("well.certainty-figure"))]


def _lengths(link: Linker, facts: RowFacts) -> list[Block]:
    texts, medians = link.texts, facts.median_lengths
    if medians is None:
        return [Paragraph(texts("well.no-pairs"))]
    pairs = facts.tallies["examples preference"]
    counts = [facts.tallies[f"chosen {which}"].count for which in ("longer", "shorter", "as long")]
    rows = [
        [Cell(texts(f"well.chosen {which}")), link.count(f"chosen {which}", facts.tallies)]
        for which in ("longer", "shorter", "as long")
    ]
    rows += [
        [Cell(texts(f"well.median-{which}")), link.of(f"{value:,.0f}", "examples preference", pairs)]
        for which, value in zip(("chosen", "rejected"), medians, strict=True)
    ]
    if decided := counts[0] + counts[1]:
        share, p = wilson(counts[0], decided), sign_test(counts[0], counts[1])
        told = f"{percent(share.value)} {interval(share)}"
        rows.append(
            [Cell(texts("well.longer-share", count=f"{decided:,}")), link.of(told, "examples preference", pairs)]
        )
        rows.append([Cell(texts("well.longer-p")), link.of(f"{p:.3g}", "examples preference", pairs)])
    bars = [
        (texts(f"well.median-{which}"), value, f"{value:,.0f}")
        for which, value in zip(("chosen", "rejected"), medians, strict=True)
    ]
    drawn = draw_bars(link.anchor("lengths"), texts("well.lengths"), texts("well.lengths-figure"), bars)
    table = Table(texts("well.lengths"), (texts("out.what"), texts("out.number")), rows)
    return [table, Picture(drawn, texts("well.lengths-figure"))]


def not_measured(link: Linker, key: str, *commands: str) -> list[Block]:
    """Return that something was not measured, and the commands that would."""
    texts = link.texts
    return [Paragraph(f"{texts('not-measured')} {texts(key)}", "warning"), Commands(commands)]
