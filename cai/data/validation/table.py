"""The table of measures, and a set measured: `validate` gives every measure that applies, in the table's order."""

from collections.abc import Mapping

from cai.core.markdown import table
from cai.data.validation.balance import BALANCE
from cai.data.validation.bias import BIAS
from cai.data.validation.collecting import CollectedSet
from cai.data.validation.completeness import COMPLETENESS
from cai.data.validation.descriptor import DataMeasure, Measured, listed
from cai.data.validation.diversity import DIVERSITY
from cai.data.validation.fluency import FLUENCY
from cai.data.validation.labels import CERTAINTY, CONSISTENCY
from cai.data.validation.overlap import CONTAMINATION, DUPLICATES

MEASURES: Mapping[str, DataMeasure] = {
    measure.name: measure
    for measure in (
        *COMPLETENESS,
        *CONSISTENCY,
        *DIVERSITY,
        *BALANCE,
        *DUPLICATES,
        *CONTAMINATION,
        *CERTAINTY,
        *BIAS,
        *FLUENCY,
    )
}
"""By name, in the order in which they are shown."""


def validate(found: CollectedSet) -> tuple[Measured, ...]:
    """Return what every measure that applies finds."""
    results = ((measure, measure.compute(found)) for measure in MEASURES.values())
    return tuple(Measured(measure, result) for measure, result in results if result is not None)


def as_markdown(measured: tuple[Measured, ...]) -> list[str]:
    """Return the lines of the table in Markdown, a part a group, and the sentences after it."""
    lines: list[str] = []
    for group in dict.fromkeys(one.measure.group for one in measured):
        rows = [
            (
                one.measure.name,
                one.value,
                one.interval,
                one.p,
                f"{one.found.count:,}",
                one.measure.usual,
                f"{one.measure.about}: {listed(one.found.details)}" if one.found.details else one.measure.about,
            )
            for one in measured
            if one.measure.group == group
        ]
        lines += [
            f"## {group.capitalize()}",
            "",
            *table(("measure", "value", "95 %", "p", "of", "usual", "what it is"), rows),
        ]
    return lines


def documented() -> str:
    """Return the table of measures, as the documentation has it."""
    rows = [(one.group, one.name, one.about, one.usual, one.source) for one in MEASURES.values()]
    return "\n".join(table(("group", "measure", "what it is", "usual", "known from"), rows)).rstrip()
