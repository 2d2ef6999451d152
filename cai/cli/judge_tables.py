"""What is known of a judge: its test on known pairs, its gates beside the oracle, its shares beside people's labels."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from cai.cli.screen import shown
from cai.core.corrected import NOT_VALIDATED, CorrectedShare
from cai.method.judge_check import JudgeCheck

if TYPE_CHECKING:
    from cai.data.export import ExportSummary
    from cai.evaluate.results import Calibration, Evaluation

_HEADINGS = {
    "Brier score": "Brier",
    "expected calibration error": "ECE",
    "sensitivity": "caught",
    "specificity": "left alone",
    "base rate": "broken",
}


def print_judge_check(console: Console, found: JudgeCheck) -> None:
    """Print what a judge was found to be, and a sentence for whatever makes it unfit."""
    requests = found.usage.requests
    tokens = found.usage.prompt_tokens + found.usage.completion_tokens
    took = f"{requests:,} request{'' if requests == 1 else 's'} and {tokens:,} tokens in {found.seconds:,.1f} s"
    console.print(shown(f"judge check: {found.told()} ({took})"), soft_wrap=True)
    for problem in found.problems():
        console.print(shown(problem), style="yellow", soft_wrap=True)


def calibration_table(parts: Sequence["Calibration"]) -> Table:
    """Return the table of the judge's gates beside the oracle."""
    table = Table(
        Column("", no_wrap=True), "gates", *_HEADINGS.values(), title="the judge's gates beside the oracle", box=None
    )
    table.title_justify = "left"
    for part in parts:
        known = {found.name: found for found in part.measurements}
        cells = [f"{known[name].value:.3f}" if name in known else "-" for name in _HEADINGS]
        name = "all principles" if part.principle_id is None else f"{part.principle_id} ({part.kind})"
        table.add_row(shown(name), f"{part.gates:,}", *cells)
    return table


def print_adherence(console: Console, export: "ExportSummary") -> None:
    """Print how often responses kept principles, by the gates and as people's labels correct that."""
    if not export.adherence:
        return
    kept = "; ".join(f"{name} {value.told}" for name, value in export.adherence.items())
    console.print(f"kept by responses, by the gates: {kept}")
    by_people = [
        f"{name} {value.corrected.told}"
        for name, value in export.adherence.items()
        if value.corrected is not None and value.corrected.value is not None
    ]
    labels = sum(value.corrected.labels for value in export.adherence.values() if value.corrected is not None)
    why = f"{NOT_VALIDATED} (of no principle are the {labels:,} labels enough)" if labels else NOT_VALIDATED
    console.print(f"corrected by people's labels: {'; '.join(by_people) or why}")


def print_corrected(console: Console, evaluation: "Evaluation") -> None:
    """Print, of each judged share that people's labels say something of, the raw and the corrected one."""
    rows = [*_models(evaluation), *_pairs(evaluation)]
    judged = any(measure.corrected and _asked(evaluation, measure.name) for measure in evaluation.measures)
    if judged and not any(share.value is not None for *_, share in rows):
        console.print(
            f"the judge's shares are {NOT_VALIDATED}: no, or too few, of its gates were labelled by people (cai review "
            f"{evaluation.out})"
        )
    if rows:
        table = Table("", "of", "judge %", "corrected", title="the judge's shares, corrected by people", box=None)
        table.title_justify = "left"
        for name, of, raw, share in rows:
            table.add_row(shown(name), shown(of), f"{100 * raw:.1f}", share.told)
        console.print(table)
    if evaluation.picked:
        console.print(f"labels of items that were not drawn at random, which correct nothing: {evaluation.picked:,}")


def _asked(evaluation: "Evaluation", measure: str) -> bool:
    return any(model.counts(measure)[1] for model in evaluation.models)


def _models(evaluation: "Evaluation") -> Iterator[tuple[str, str, float, CorrectedShare]]:
    for measure in evaluation.measures:
        for model in evaluation.models:
            raw, share = model.measurement(measure.name), model.corrected.get(measure.name)
            if raw is not None and share is not None:
                yield measure.name, model.label, raw.value, share


def _pairs(evaluation: "Evaluation") -> Iterator[tuple[str, str, float, CorrectedShare]]:
    for pair in evaluation.pairs:
        if pair.win_rate is not None and pair.corrected is not None:
            yield "preferred", f"{pair.a} over {pair.b}", pair.win_rate.value, pair.corrected
