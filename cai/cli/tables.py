"""What several commands print for a person: how a run ended, what was exported, what an evaluation found."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cai.cli.judge_tables import calibration_table, print_adherence, print_corrected, print_judge_check
from cai.cli.screen import assembled, shown
from cai.core.counts import counted
from cai.core.shares import is_enough
from cai.evaluate.measures import Better, Measure
from cai.evaluate.results import Evaluation, Measurement, ModelResult, PairResult
from cai.pipeline.filling import Summary
from cai.rundir.layout import failures_path
from cai.rundir.origin import location, read_origin

if TYPE_CHECKING:
    from cai.data.export import ExportSummary  # needs Arrow, which nobody waits for at the start

CAUSES_SHOWN = 10
EVALUATION_CAUSES_SHOWN = 5
_POINTS = 2
"""A difference of so many points is what an evaluation is said to need prompts for."""
_ARROWS: Mapping[Better | None, str] = {"low": " ↓", "high": " ↑", None: ""}


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


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the table of measures, the pairs, the ratings, what is known of the judge, and where everything is."""
    console.print(_measures(evaluation))
    _print_notes(console, evaluation)
    print_corrected(console, evaluation)
    if evaluation.attacks:
        console.print(_attacks(evaluation))
    if evaluation.pairs:
        console.print(_pairs(evaluation))
        ratings = ", ".join(f"{rating.name} {_told(rating)} of {rating.count:,}" for rating in evaluation.ratings)
        console.print(f"Elo, of the prompts that were decided: {ratings}")
    if evaluation.calibration:
        console.print(calibration_table(evaluation.calibration))
        for found in evaluation.detector:
            console.print(f"{found.name} {_told(found)} of {found.count:,}")
    if evaluation.judge_check is not None:
        print_judge_check(console, evaluation.judge_check)
    for model in evaluation.models:
        _print_causes(console, f"of {model.label}'s prompts failed", model.failures)
        _print_causes(console, f"gates on {model.label}'s answers failed", model.failed_gates)
    for attack in evaluation.attacks:
        for model in attack.models:
            _print_causes(console, f"of {model.label}'s prompts under {attack.attack} failed", model.failures)
    for pair in evaluation.pairs:
        _print_causes(console, f"comparisons of {pair.a} and {pair.b} failed", pair.failures)
        _print_causes(console, f"verdicts on {pair.a} and {pair.b} failed", pair.failed_verdicts)
    _print_causes(console, "rows are no prompts", evaluation.unusable)
    pictures = [name for name in ("evaluation.png", "principles.png") if (evaluation.out / name).exists()]
    console.print(
        f"written: {', '.join([f'{evaluation.out}/evaluation.json', *pictures, 'responses/'])}", soft_wrap=True
    )


def _measures(evaluation: Evaluation) -> Table:
    prompts = counted(evaluation.prompts, "prompt")
    table = Table(
        title=f"{prompts}, n of which count; shares in %, with 95 % intervals; ↓ ↑ what is better",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    table.add_column("n", justify="right")
    for model in evaluation.models:
        heading = f"{model.label} (baseline)" if model.label == evaluation.baseline else model.label
        table.add_column(shown(heading), justify="right")
    rows = [
        measure
        for measure in evaluation.measures
        if measure.printed and any(model.counts(measure.name)[1] for model in evaluation.models)
    ]
    lacking = any(model.unanswered.get(measure.name) for model in evaluation.models for measure in rows)
    if lacking:
        table.columns.insert(2, Column("unanswered", justify="right"))
    for measure in rows:
        counts = [model.counts(measure.name) for model in evaluation.models]
        answered = _range(count for count, _ in counts)
        table.add_row(
            shown(f"{measure.name}{_ARROWS[measure.better]}"),
            answered,
            *([_range(asked - count for count, asked in counts) if measure.judged else ""] if lacking else []),
            *(_cell(model, measure) for model in evaluation.models),
        )
    return table


def _attacks(evaluation: Evaluation) -> Table:
    """Return what was measured under each attack, below the same of the prompts as they are."""
    names = {measurement.name for attack in evaluation.attacks for measurement in attack.models[0].measurements}
    measures = [measure for measure in evaluation.measures if measure.name in names and measure.name != "answered"]
    table = Table("", "n", title="under attack; benign prompts are the control", title_justify="left", box=None)
    for model in evaluation.models:
        table.add_column(shown(model.label), justify="right")
    for measure in measures:
        table.add_row(shown(f"{measure.name}{_ARROWS[measure.better]}"))
        for name, models in (
            ("as it is", evaluation.models),
            *((one.attack, one.models) for one in evaluation.attacks),
        ):
            counts = _range(model.counts(measure.name)[0] for model in models)
            table.add_row(f"  {name}", counts, *(_cell(model, measure) for model in models))
    return table


def _range(numbers: Iterable[int]) -> str:
    """Return how many prompts it is of each model: one number, or the least and the most."""
    found = sorted(set(numbers))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,}-{found[-1]:,}"


def _cell(model: ModelResult, measure: Measure) -> Text:
    """Return a value with its interval, starred where it differs from the baseline's: green if better, red if worse.

    A share of few answers of the judge is told in counts.
    """
    found = model.told(measure)
    if found is None:
        return shown(model.in_counts(measure.name) if model.counts(measure.name)[1] else "-")
    difference = model.difference(measure.name)
    if difference is None or not model.differs(measure.name):
        return shown(_told(found))
    colours = {"high": ("red", "green"), "low": ("green", "red"), None: ("", "")}
    return shown(f"*{_told(found)}", style=f"bold {colours[measure.better][difference.value > 0]}".rstrip())


def _told(found: Measurement) -> str:
    """Return a value and its interval, shares in per cent, short enough for three models side by side."""
    scale = 100 if found.unit == "share" else 1
    told = _short(scale * found.value)
    if found.low is None or found.high is None:
        return told
    return f"{told} [{_short(scale * found.low)}, {_short(scale * found.high)}]"


def _short(number: float) -> str:
    return f"{number:.1f}" if 0 < number < 10 or 99 < number < 100 else f"{number:,.0f}"


def _print_notes(console: Console, evaluation: Evaluation) -> None:
    if evaluation.baseline is not None and len(evaluation.models) > 1:
        console.print(
            "* differs from the baseline: the 95 % interval of the paired difference leaves out zero (of twenty equal "
            "values one does so by chance; of principles p counts too, for all of them at once by Holm)",
        )
    for model in evaluation.models:
        if model.discordance is not None:
            found = model.discordance
            worse, better = counted(found.only_model, "time"), counted(found.only_baseline, "time")
            needed = found.prompts_for(_POINTS / 100)
            console.print(
                f"{model.label}: breaks a principle where {evaluation.baseline} does not {worse}, "
                f"the other way round {better}; McNemar's p = {found.p:.3g}"
                + (f"; to see {_POINTS} points in 80 % takes {needed:,} such prompts" if needed else ""),
            )


def _pairs(evaluation: Evaluation) -> Table:
    table = Table("pair", "preferred %", "wins", "losses", "ties", "abstained", title="judged pairs", box=None)
    table.title_justify = "left"
    for pair in evaluation.pairs:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in pair.abstained.items())
        table.add_row(
            shown(f"{pair.a} over {pair.b}"),
            _preferred(pair),
            f"{pair.wins:,}",
            f"{pair.losses:,}",
            f"{pair.ties:,}",
            reasons or "0",
        )
    return table


def _preferred(pair: PairResult) -> str:
    """Return how often the first model was preferred; where few comparisons were decided, in counts."""
    if pair.win_rate is None:
        return "-"
    decided = pair.wins + pair.losses
    enough = is_enough(decided, decided + sum(pair.abstained.values()))
    return _told(pair.win_rate) if enough else f"{pair.wins:,} of {decided:,}"


def _print_causes(console: Console, what: str, causes: Mapping[str, int]) -> None:
    if causes:
        told = "; ".join(f"{cause} ({count:,})" for cause, count in list(causes.items())[:EVALUATION_CAUSES_SHOWN])
        console.print(f"{sum(causes.values()):,} {what}: {told}")
