"""What was examined beside an evaluation's prompts, as evaluation.json records it, as sections of a page.

Examinations are of many kinds, and their measures are not computed again here: every number leads to the file that it
comes from. Their titles and the names of their measures are those that the evaluation gave them.
"""

from collections.abc import Iterator, Mapping

from cai.evaluate.measures import Measure
from cai.evaluate.results import EvaluationSection, ModelResult
from cai.report.document import Block, Cell, Heading, Listing, Paragraph, Picture, Section, Table
from cai.report.drawing import Line, Point, draw_shares
from cai.report.evaluation_facts import EvaluationFacts
from cai.report.evaluation_sections import signed, told_parts
from cai.report.linking import Linker


def sections_of_examinations(link: Linker, facts: EvaluationFacts) -> list[Section]:
    """Return a section for each examination, and one for all attacks."""
    found = [_section(link, one, facts.result.baseline) for one in facts.result.sections]
    return [*found, *([_attacks(link, facts)] if facts.result.attacks else [])]


def _section(link: Linker, section: EvaluationSection, baseline: str | None) -> Section:
    texts = link.texts
    places = {model.label: _place(section, model.label) for model in section.models}
    blocks: list[Block] = [Paragraph(texts("examined.about", about=section.about, items=f"{section.items:,}"))]
    blocks += _figure(link, section)
    blocks += _tables(link, section.measures, section.models, baseline, places)
    for table in section.tables:
        rows = [[Cell(row[0]), *(Cell(text, None, "number") for text in row[1:])] for row in table.rows]
        blocks.append(Table(table.title, table.columns, rows))
    if section.remarks:
        blocks.append(Listing([Cell(remark) for remark in section.remarks]))
    name = link.anchor(f"examined-{section.name}")
    return Section(name, f"{link.stage}: {section.title}" if link.stage else section.title, blocks)


def _place(section: EvaluationSection, label: str) -> str:
    """Return the file that a section's numbers come from; what was asked of no model has the document alone."""
    if section.name == "judges":
        return f"responses/{label}.jsonl"
    return f"examinations/{section.name}/{label}.jsonl"


def _figure(link: Linker, section: EvaluationSection) -> Iterator[Block]:
    lines = []
    for measure in section.measures:
        points = [
            Point(series, found.value, found.low, found.high)
            for series, model in enumerate(section.models)
            if measure.drawn
            and (found := model.told(measure)) is not None
            and found.low is not None
            and found.high is not None
        ]
        if points:
            lines.append(Line(measure.name, points))
    if lines:
        told = link.texts("evaluation.figure", prompts=f"{section.items:,}")
        name = link.anchor(f"figure-{section.name}")
        yield Picture(draw_shares(name, section.title, told, [one.label for one in section.models], lines), told)


def _tables(
    link: Linker,
    measures: tuple[Measure, ...],
    models: tuple[ModelResult, ...],
    baseline: str | None,
    places: Mapping[str, str],
) -> Iterator[Block]:
    """Yield a table of all models, each with value and interval; the differences to the baseline stand below."""
    texts = link.texts
    shown = [one for one in measures if one.printed and any(model.counts(one.name)[1] for model in models)]
    if not shown:
        return
    head = [texts("evaluation.head.measure"), *(model.label for model in models)]
    rows = [
        [Cell(measure.name), *(_cell(link, model, measure, places[model.label]) for model in models)]
        for measure in shown
    ]
    yield Table(texts("examined.measures"), head, rows)
    rows = [
        [
            Cell(f"{measure.name} ({model.label})"),
            link.recorded(f"{signed(found)}{' *' if model.differs(measure.name) else ''}", places[model.label]),
            Cell(told_parts(found)[1], None, "number"),
            Cell(f"{found.count:,}", None, "number"),
        ]
        for measure in shown
        for model in models
        if (found := model.difference(measure.name)) is not None and model.told(measure) is not None
    ]
    if rows:
        head = [texts(f"evaluation.head.{name}") for name in ("measure", "difference", "interval", "prompts")]
        yield Table(texts("examined.differences", baseline=baseline), head, rows)


def _cell(link: Linker, model: ModelResult, measure: Measure, place: str) -> Cell:
    found = model.told(measure)
    if found is None:
        return Cell(link.texts("too-few") if model.counts(measure.name)[1] else "", None, "number")
    value, ends = told_parts(found)
    return link.recorded(f"{value} {ends} ({found.count:,})", place)


def _attacks(link: Linker, facts: EvaluationFacts) -> Section:
    texts, result = link.texts, facts.result
    blocks: list[Block] = [Paragraph(texts("examined.attacks-note"))]
    for attack in result.attacks:
        names = {found.name for model in attack.models for found in model.measurements}
        measures = tuple(measure for measure in result.measures if measure.name in names)
        blocks.append(Heading(attack.attack))
        places = {model.label: f"responses/{model.label}.jsonl" for model in attack.models}
        blocks += _tables(link, measures, attack.models, result.baseline, places)
    return Section(link.anchor("attacks"), link.title("examined.attacks"), blocks)
