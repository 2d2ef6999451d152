"""Two evaluations side by side as a section: what was asked otherwise, what was measured, which prompts flipped."""

import shlex
from collections.abc import Iterator

from cai.report.came_out import shown_turn
from cai.report.comparison import AFTER, BEFORE, NEWLY, NO_LONGER, ComparedModel, Flip, SideBySide
from cai.report.document import Block, Cell, Heading, Listing, Paragraph, Section, ShownRow, Table
from cai.report.drawn_rows import MASKED
from cai.report.evaluation_facts import EvaluationFacts
from cai.report.evaluation_sections import measure_name, signed, told_parts
from cai.report.linking import Linker

JUDGED_BY = ("judge", "constitution", "templates")
"""Settings under which the judge's answers mean something else: where one differs, so do the judged shares."""


def section_of_comparison(link: Linker, facts: EvaluationFacts, found: SideBySide, other: str) -> Section:
    """Return the section; `facts` are of the later evaluation, `other` is how a person calls the earlier one."""
    texts = link.texts
    blocks: list[Block] = [
        Paragraph(texts("beside.note", before=other, after=link.directory)),
        *_asked(link, found),
        *_principles(link, found),
        Heading(texts("beside.measures")),
        Paragraph(
            texts("beside.shared", shared=f"{found.shared:,}", reused=f"{found.reused:,}")
            + (f" {texts('beside.alone', labels=', '.join(found.alone))}" if found.alone else ""),
            "note",
        ),
    ]
    for model in found.models:
        blocks += [_measures(link, facts, found, model), _flips(link, found, model), *_examples(link, found, model)]
    return Section(link.anchor("beside"), texts("beside.title", before=other), blocks)


def comparison_lines(link: Linker, found: SideBySide) -> tuple[str, ...]:
    """Return the comparison in a few lines, for a terminal."""
    texts = link.texts
    names = ", ".join(found.settings)
    lines = [texts("beside.differs", settings=names) if names else texts("beside.same-settings")]
    lines.append(texts("beside.shared", shared=f"{found.shared:,}", reused=f"{found.reused:,}"))
    for model in found.models:
        for flip in model.flips[:2]:
            measured = model.after.difference(flip.name)
            change = "" if measured is None else f"{signed(measured)} {told_parts(measured)[1]}; "
            lines.append(
                f"{model.title}: {texts.term(flip.name)}: {change}"
                + texts(
                    "beside.flips-line",
                    newly=f"{flip.newly:,}",
                    gone=f"{flip.no_longer:,}",
                    prompts=f"{flip.prompts:,}",
                    p=f"{flip.p:.3g}",
                )
            )
    return tuple(lines)


def _asked(link: Linker, found: SideBySide) -> Iterator[Block]:
    texts = link.texts
    yield Heading(texts("beside.settings"))
    if not found.settings:
        yield Paragraph(texts("beside.same-settings"))
        return
    head = [texts(f"beside.head.{name}") for name in ("setting", BEFORE, AFTER)]
    rows = [
        [Cell(name, None, "code"), *(Cell(value or texts("beside.none"), None, "code") for value in values)]
        for name, values in found.settings.items()
    ]
    yield Table(texts("beside.settings"), head, rows)
    other = [name for name in JUDGED_BY if name in found.settings]
    if other:
        yield Paragraph(texts("beside.judged-otherwise", settings=", ".join(other)), "warning")


def _principles(link: Linker, found: SideBySide) -> Iterator[Block]:
    if not found.principles:
        return
    texts = link.texts
    head = [texts(f"beside.head.{name}") for name in ("principle", BEFORE, AFTER)]
    rows = [
        [
            Cell(one.principle_id, None, "code"),
            *(Cell(text or texts("beside.none")) for text in (one.before, one.after)),
        ]
        for one in found.principles
    ]
    yield Table(texts("beside.principles"), head, rows)


def _measures(link: Linker, facts: EvaluationFacts, found: SideBySide, model: ComparedModel) -> Table:
    texts = link.texts
    rows = []
    for measure in facts.result.measures:
        before, after = model.before.told(measure), model.after.told(measure)
        difference = model.after.difference(measure.name)
        if not measure.printed or before is None or after is None or difference is None:
            continue
        star = " *" if model.after.differs(measure.name) else ""
        rows.append(
            [
                Cell(measure_name(link, measure)),
                _linked(link, found, model, BEFORE, measure.name, told_parts(before)[0]),
                _linked(link, found, model, AFTER, measure.name, told_parts(after)[0]),
                Cell(f"{signed(difference)}{star}", None, "number"),
                Cell(told_parts(difference)[1], None, "number"),
                Cell(f"{difference.count:,}", None, "number"),
                Cell(texts(f"evaluation.better.{measure.better}")),
            ]
        )
    head = [texts("evaluation.head.measure"), texts(f"beside.head.{BEFORE}"), texts(f"beside.head.{AFTER}")]
    head += [texts(f"evaluation.head.{name}") for name in ("difference", "interval", "prompts", "better")]
    return Table(texts("beside.table", label=model.title), head, rows)


def _linked(link: Linker, found: SideBySide, model: ComparedModel, side: str, name: str, text: str) -> Cell:
    """Return a number linked to the shared prompts that it counts, or to all that were answered."""
    for one in (name, "answered"):
        tally = f"{model.labels[1]}: {side}: {one}"
        if found.tallies[tally].rows:
            return link.of(text, tally, found.tallies[tally])
    return Cell(text, None, "number")


def _flips(link: Linker, found: SideBySide, model: ComparedModel) -> Table:
    texts = link.texts
    head = [texts(f"beside.head.{name}") for name in ("what", "newly", "gone", "of", "p")]
    rows = [
        [
            Cell(_deed(link, flip)),
            *(
                link.count(f"{model.labels[1]}: {flip.name}: {way}", found.tallies)
                for way in (NEWLY, NO_LONGER)
            ),
            Cell(f"{flip.prompts:,}", None, "number"),
            Cell(f"{flip.p:.3g}", None, "number"),
        ]
        for flip in model.flips
    ]  # fmt: skip
    return Table(texts("beside.flips", label=model.title), head, rows)


def _deed(link: Linker, flip: Flip) -> str:
    beginning, _, principle = flip.name.partition(" ")
    known = link.texts.term(flip.name)
    if known != flip.name or beginning != "breaks" or principle == "any principle":
        return known
    return link.texts("evaluation.of-principle.breaks", principle=principle)


def _examples(link: Linker, found: SideBySide, model: ComparedModel) -> Iterator[Block]:
    """Yield the first answers, before and after, to prompts that are newly broken."""
    texts, masked = link.texts, found.tallies[MASKED]
    if model.examples:
        yield Heading(texts("beside.examples", label=model.title))
        yield Listing([link.of(texts("examples.masked", count=f"{masked.count:,}"), MASKED, masked)])
    for one, two in model.examples:
        turns = [shown_turn(texts, texts.term(turn["role"]), turn["content"]) for turn in one.messages]
        turns += [
            shown_turn(texts, texts(f"beside.head.{side}"), answer.response)
            for side, answer in ((BEFORE, one), (AFTER, two))
        ]
        name = f"{model.labels[1]}: breaks any principle: {NEWLY}"
        yield ShownRow(one.id, turns, f"{link.command()} --rows {shlex.quote(name)}")
