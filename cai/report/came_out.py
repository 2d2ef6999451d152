"""What came out of a run: counts, what was left out by reason, tokens and cost, and rows to be read."""

import shlex
from collections.abc import Iterator

from cai.core.records import Row, Usage, Verdict
from cai.report.catalogue import Catalogue
from cai.report.document import (
    Block,
    Cell,
    Commands,
    Heading,
    Listing,
    Paragraph,
    Picture,
    RowText,
    Section,
    ShownRow,
    ShownText,
    Table,
)
from cai.report.drawing import draw_bars
from cai.report.drawn_rows import EXAMPLES, MASKED
from cai.report.linking import Linker
from cai.report.run_facts import RowFacts, revised_first
from cai.report.settings import ReportSettings
from cai.rundir.manifest import Manifest

COUNTS = (
    "rows",
    "failed prompts",
    "responses",
    "responses cut",
    "responses revised",
    "revisions",
    "revisions cut",
    "gates",
    "gates unanswered",
    "verdicts",
    "verdicts decided",
    "verdicts not decided",
    "examples sft",
    "examples preference",
    "examples ranking",
)
"""Tallies that are told one by one, in this order."""

REASONS = ("failed prompts: ", "failed parts: ", "left out: ", "verdicts not decided: ")
DATASETS = ("sft", "preference", "ranking")

LONGEST = 1500
"""Characters that are shown of a text of an example."""


def came_out_of_run(link: Linker, manifest: Manifest, facts: RowFacts, settings: ReportSettings) -> Section:
    """Return the section of a run."""
    texts = link.texts
    counts = [[Cell(texts(f"out.{name}")), link.count(name, facts.tallies)] for name in COUNTS]
    blocks: list[Block] = [
        Table(texts("out.counts"), (texts("out.what"), texts("out.number")), counts),
        Paragraph(texts("out.export-note"), "note"),
        Heading(texts("out.left-out")),
        *_left_out(link, facts),
        Heading(texts("out.tokens")),
        *_tokens(link, manifest, facts, settings),
    ]
    return Section(link.anchor("out"), link.title("out.title"), blocks)


def _left_out(link: Linker, facts: RowFacts) -> list[Block]:
    texts = link.texts
    rows = [
        [
            Cell(texts(f"out.reason.{beginning[:-2]}")),
            Cell(_reason(texts, reason)),
            link.of(f"{tally.count:,}", name, tally),
        ]
        for beginning in REASONS
        for reason, tally in facts.tallies.below(beginning)
        for name in [f"{beginning}{reason}"]
    ]
    for dataset in DATASETS:
        for beginning in (f"no example {dataset}: ", f"filter {dataset}: "):
            rows += [
                [
                    Cell(texts(f"out.examples {dataset}")),
                    Cell(": ".join(texts.term(part) for part in reason.split(": "))),
                    link.of(f"{tally.count:,}", f"{beginning}{reason}", tally),
                ]
                for reason, tally in facts.tallies.below(beginning)
            ]
    if not rows:
        return [Paragraph(texts("out.nothing-left-out"))]
    directory = shlex.quote(link.directory)
    return [
        Paragraph(texts("out.left-out-note"), "note"),
        Table(texts("out.left-out"), (texts("out.of"), texts("out.why"), texts("out.number")), rows),
        Paragraph(texts("out.list-them")),
        Commands(
            [
                f"cai check {directory} --show FILTER",
                f"cai show {directory} --left-out",
                f"cai export {directory}",
            ]
        ),
    ]


def _reason(texts: Catalogue, reason: str) -> str:
    stage, mark, cause = reason.partition(": ")
    return f"{texts.term(stage)}{mark}{cause}"


def _tokens(link: Linker, manifest: Manifest, facts: RowFacts, settings: ReportSettings) -> list[Block]:
    texts, everything = link.texts, facts.tallies["rows"]
    parts = [
        ("rows", facts.usage, link.link("rows", everything)),
        ("lost", manifest.lost_usage, link.recorded("", "run.json: lost_usage").rows),
    ]
    if manifest.judge_check is not None:
        anchor = link.recorded("", "run.json: judge_check").rows
        parts.append(("check", manifest.judge_check.usage, anchor))
    rows = [[Cell(texts(f"out.usage-{name}")), *_usage(usage, anchor, settings)] for name, usage, anchor in parts]
    head = [
        texts(f"out.{name}") for name in ("where", "requests", "prompt-tokens", "cached-tokens", "new-tokens", "cost")
    ]
    bars = [
        (texts("out.prompt-tokens"), facts.usage.prompt_tokens),
        (texts("out.cached-tokens"), facts.usage.cached_tokens),
        (texts("out.new-tokens"), facts.usage.completion_tokens),
    ]
    drawn = draw_bars(
        link.anchor("tokens"), texts("out.tokens"), texts("out.tokens-figure"), [(k, v, f"{v:,}") for k, v in bars]
    )
    blocks: list[Block] = [Table(texts("out.tokens"), head, rows), Picture(drawn, texts("out.tokens-figure"))]
    if settings.price_prompt is None:
        blocks.append(Paragraph(texts("out.no-price"), "note"))
    return blocks


def _usage(usage: Usage, anchor: str | None, settings: ReportSettings) -> Iterator[Cell]:
    for count in (usage.requests, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens):
        yield Cell(f"{count:,}", anchor if count else None, "number")
    if settings.price_prompt is None or settings.price_completion is None:
        yield Cell("", None, "number")
        return
    cost = (usage.prompt_tokens * settings.price_prompt + usage.completion_tokens * settings.price_completion) / 1e6
    yield Cell(f"{cost:,.4f}", anchor if cost else None, "number")


def examples_of_run(link: Linker, facts: RowFacts, seed: int) -> Section:
    """Return the section of rows to be read, good and bad."""
    texts = link.texts
    blocks: list[Block] = [
        Paragraph(texts("examples.note", most=EXAMPLES, seed=seed)),
        Paragraph(texts("examples.warning"), "warning"),
        Listing(
            [link.of(texts("examples.masked", count=f"{facts.tallies[MASKED].count:,}"), MASKED, facts.tallies[MASKED])]
        ),
    ]
    for kind, drawn in facts.drawn.items():
        tally = facts.tallies[kind]
        blocks.append(Heading(texts(f"examples.{kind}")))
        if not tally.rows:
            blocks.append(Paragraph(texts("examples.none")))
            continue
        told = texts("examples.of", shown=len(drawn.rows), rows=f"{tally.rows:,}")
        blocks.append(
            Table(
                told,
                (texts("out.what"), texts("out.number")),
                [[Cell(texts("out.rows")), link.count(kind, facts.tallies)]],
            )
        )
        blocks += [_example(link, row) for row in drawn.rows]
    return Section(link.anchor("examples"), link.title("examples.title"), blocks)


def _example(link: Linker, row: Row) -> ShownRow:
    texts = link.texts
    turns = [shown_turn(texts, texts.term(turn["role"]), turn["content"]) for turn in row.prompt.messages]
    for trace in row.traces:
        turns.append(shown_turn(texts, texts.term("response"), trace.response))
        for round_ in trace.rounds:
            label = f"{texts.term('critique')} ({round_.principle_id})"
            if round_.critique is not None:
                turns.append(shown_turn(texts, label, round_.critique))
            if round_.revision is not None:
                turns.append(shown_turn(texts, texts.term("revision"), round_.revision))
    turns += [shown_turn(texts, texts.term("verdict"), _verdict(texts, verdict)) for verdict in row.verdicts]
    command = f"cai show {shlex.quote(link.directory)} {shlex.quote(row.prompt.id)}"
    return ShownRow(row.prompt.id, turns, command)


def _verdict(texts: Catalogue, verdict: Verdict) -> str:
    values = (verdict.probability, verdict.first, verdict.second)
    if not revised_first(verdict):
        of_revision, second, first = (None if value is None else 1.0 - value for value in values)
        values = (of_revision, first, second)
    names = ("probability", "first", "second")
    said = {name: "-" if value is None else f"{value:.2f}" for name, value in zip(names, values, strict=True)}
    told = texts("examples.verdict", principle=verdict.principle_id, **said)
    if verdict.abstained is None:
        return told
    return f"{told} {texts('examples.abstained', reason=texts.term(verdict.abstained))}"


def shown_turn(texts: Catalogue, label: str, text: str) -> ShownText:
    """Return a text under its label, as far as a report shows it."""
    more = len(text) - LONGEST
    return ShownText(label, RowText(text[:LONGEST]), texts("examples.more", count=f"{more:,}") if more > 0 else "")
