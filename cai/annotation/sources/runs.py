"""The items of a run's rows: pairs that were or can be compared, gates that were asked, rankings, single answers.

A gate is about the text that it was asked of: the response, or the last revision before it. A row whose answers are
three or more gives a ranking too. Rows that are left out give nothing.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from cai.annotation.items import ItemAnswer, ReviewItem, answer_item, gate_item, pair_item, ranking_item
from cai.annotation.kinds import ItemKind
from cai.core.records import Row, Trace
from cai.data.export.answers import answers_of, compared, rank_row, spoiled, whole_answers
from cai.method.comparing import comparisons
from cai.method.verdicts import combine
from cai.rundir import RunReader
from cai.rundir.origin import location

FEWEST_RANKED = 3
NOT_ANSWERED = "not answered"


def items_of_run(directory: Path, kinds: Collection[ItemKind]) -> Iterator[list[ReviewItem]]:
    """Yield the items of each row; raises as `RunReader.rows` does."""
    name = location(directory)
    for row in RunReader(directory).rows():
        yield items_of_row(row, f"{name}:{row.prompt.id}", kinds)


def items_of_row(row: Row, place: str, kinds: Collection[ItemKind]) -> list[ReviewItem]:
    """Return the items of a row, each once."""
    found: list[ReviewItem] = []
    if "pair" in kinds:
        found += _pairs(row, place)
    if "gate" in kinds:
        found += (item for trace in row.traces for item in _gates(row, trace, place))
    if "ranking" in kinds:
        found += _rankings(row, place)
    if "answer" in kinds:
        found += (
            answer_item(row.prompt.id, row.prompt.messages, answer, place, tags=row.prompt.tags)
            for answer in _answers(row).values()
        )
    return list({item.key: item for item in found}.values())


def _answers(row: Row) -> dict[str, ItemAnswer]:
    """Return the row's whole answers by their sources, each text once."""
    models = {str(trace.sample): trace.model for trace in row.traces}
    return {
        source: ItemAnswer(step.text, source, models.get(source.partition(":")[2]))
        for source, step in whole_answers(row).items()
    }


def _pairs(row: Row, place: str) -> Iterator[ReviewItem]:
    steps = answers_of(row)
    models = {str(trace.sample): trace.model for trace in row.traces}
    judged = compared(row, steps)
    can_be = [(one.a_source, one.b_source) for one in comparisons(row.prompt, row.traces)]
    for sources in dict.fromkeys([*judged, *can_be]):
        a, b = (ItemAnswer(steps[source].text, source, models.get(source.partition(":")[2])) for source in sources)
        if a.text.strip() == b.text.strip() or any(spoiled(steps[source]) for source in sources):
            continue
        verdicts = judged.get(sources)
        combined = None if verdicts is None else combine(verdicts)
        yield pair_item(
            row.prompt.id,
            row.prompt.messages,
            (a, b),
            place,
            probability=None if combined is None else combined.probability,
            abstained=None if combined is None else combined.abstained,
            tags=row.prompt.tags,
        )


def _gates(row: Row, trace: Trace, place: str) -> Iterator[ReviewItem]:
    text, source = trace.response, f"response:{trace.sample}"
    for number, turn in enumerate(trace.rounds, start=1):
        if (turn.gate is not None or turn.gate_mass is not None) and text.strip():
            yield gate_item(
                row.prompt.id,
                row.prompt.messages,
                ItemAnswer(text, source, trace.model),
                turn.principle_id,
                place,
                broken=turn.gate,
                abstained=NOT_ANSWERED if turn.gate is None else None,
                tags=row.prompt.tags,
            )
        if turn.revision is not None:
            text, source = turn.revision, f"revision:{trace.sample}:{number}"


def _rankings(row: Row, place: str) -> Iterator[ReviewItem]:
    answers = _answers(row)
    if len(answers) < FEWEST_RANKED:
        return
    ranking = rank_row(row, "", lambda _entry: None)
    ranks = {} if ranking is None else ranking.ranks()
    known = [ranks[source] for source in answers] if set(answers) <= set(ranks) else []
    yield ranking_item(
        row.prompt.id, row.prompt.messages, tuple(answers.values()), place, ranks=known, tags=row.prompt.tags
    )
