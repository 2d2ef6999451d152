"""What `cai evaluate` and `cai loop` print of an evaluation: measures, attacks, examinations, pairs, failures."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cai.cli.judge_tables import calibration_table, print_corrected, print_judge_check
from cai.cli.screen import shown
from cai.core.counts import counted
from cai.core.shares import FEWEST
from cai.evaluate.formats import FORMATS
from cai.evaluate.measures import Better, Measure
from cai.evaluate.results import Evaluation, EvaluationSection, Measurement, ModelResult, PairResult

EVALUATION_CAUSES_SHOWN = 5
_POINTS = 2
"""A difference of so many points is what an evaluation is said to need prompts for."""
_ARROWS: Mapping[Better | None, str] = {"low": " ↓", "high": " ↑", None: ""}
_HOW_TO_READ = "shares in %, with 95 % intervals; ↓ ↑ what is better"


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the table of measures, the pairs, the ratings, what is known of the judge, and where everything is."""
    title = f"{counted(evaluation.prompts, 'prompt')}, n of which count; {_HOW_TO_READ}"
    console.print(_measures(title, evaluation.measures, evaluation.models, evaluation.baseline))
    _print_notes(console, evaluation)
    print_corrected(console, evaluation)
    if evaluation.attacks:
        console.print(_attacks(evaluation))
    for section in evaluation.sections:
        _print_section(console, section, evaluation.baseline)
    if evaluation.pairs:
        console.print(_pairs(evaluation))
        ratings = ", ".join(f"{rating.name} {_told(rating)} of {rating.count:,}" for rating in evaluation.ratings)
        console.print(f"Elo, of the prompts that were decided: {ratings}")
    if evaluation.calibration:
        console.print(calibration_table(evaluation.calibration))
        for found in evaluation.detector:
            console.print(f"{found.name} {_told(found)} of {found.count:,}")
    for partial in evaluation.partial_judges:
        console.print(shown(partial.told), style="yellow", soft_wrap=True)
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
    folders = ["responses/", *(["examinations/", "figures/"] if evaluation.sections else [])]
    folders += [f"{name}/" for name in FORMATS if (evaluation.out / name).is_dir()]
    console.print(f"written: {', '.join([f'{evaluation.out}/evaluation.json', *pictures, *folders])}", soft_wrap=True)


def _print_section(console: Console, section: EvaluationSection, baseline: str | None) -> None:
    """Print what an examination found."""
    title = f"{section.title}: {section.about}; {counted(section.items, 'item')}, n of which count"
    console.print(_measures(title, section.measures, section.models, baseline))
    for found in section.tables:
        table = Table(
            *(Column(shown(name)) for name in found.columns), title=shown(found.title), title_justify="left", box=None
        )
        for row in found.rows:
            table.add_row(*map(shown, row))
        console.print(table)
    for remark in section.remarks:
        console.print(shown(remark), soft_wrap=True)
    for model in section.models:
        _print_causes(console, f"of {model.label}'s items failed ({section.title})", model.failures)
        _print_causes(console, f"questions on {model.label}'s items failed ({section.title})", model.failed_gates)


def _measures(title: str, measures: Sequence[Measure], models: Sequence[ModelResult], baseline: str | None) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("n", justify="right")
    for model in models:
        heading = f"{model.label} (baseline)" if model.label == baseline else model.label
        table.add_column(shown(heading), justify="right")
    rows = [
        measure for measure in measures if measure.printed and any(model.counts(measure.name)[1] for model in models)
    ]
    lacking = any(model.unanswered.get(measure.name) for model in models for measure in rows)
    if lacking:
        table.columns.insert(2, Column("unanswered", justify="right"))
    for measure in rows:
        counts = [model.counts(measure.name) for model in models]
        answered = _range(count for count, _ in counts)
        table.add_row(
            shown(f"{measure.name}{_ARROWS[measure.better]}"),
            answered,
            *([_range(asked - count for count, asked in counts) if measure.judged else ""] if lacking else []),
            *(_cell(model, measure) for model in models),
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

    A share of few answers of the judge is told in counts, or as too few.
    """
    found = model.told(measure)
    if found is None:
        return shown(model.in_counts(measure) if model.counts(measure.name)[1] else "-")
    difference = model.difference(measure.name)
    if difference is None or not model.differs(measure.name):
        return shown(_told(found))
    colours = {"high": ("red", "green"), "low": ("green", "red"), None: ("", "")}
    return shown(f"*{_told(found)}", style=f"bold {colours[measure.better][difference.value > 0]}".rstrip())


def _told(found: Measurement) -> str:
    """Return a value and its interval, shares in per cent, short enough for three models side by side."""
    short, scale = (_short, 100) if found.unit == "share" else (_precise, 1)
    told = short(scale * found.value)
    if found.low is None or found.high is None:
        return told
    return f"{told} [{short(scale * found.low)}, {short(scale * found.high)}]"


def _short(number: float) -> str:
    return f"{number:.1f}" if 0 < number < 10 or 99 < number < 100 else f"{number:,.0f}"


def _precise(number: float) -> str:
    """Return a number that is no share: of a small one three digits count."""
    return f"{number:.3g}" if abs(number) < 10 else f"{number:,.0f}" if abs(number) >= 100 else f"{number:.1f}"


def _print_notes(console: Console, evaluation: Evaluation) -> None:
    if evaluation.baseline is not None and len(evaluation.models) > 1:
        console.print(
            f"* differs from the baseline: the 95 % interval of the paired difference, of {FEWEST} prompts at least, "
            "leaves out zero (of twenty equal values about one does so by chance; of principles p counts too, for all "
            "of them at once by Holm)",
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
    columns = ("pair", "preferred %", "at equal length %", "longer by", "wins", "losses", "ties", "abstained")
    table = Table(*columns, title="judged pairs; lengths in characters", title_justify="left", box=None)
    for pair in evaluation.pairs:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in pair.abstained.items())
        table.add_row(
            shown(f"{pair.a} over {pair.b}"),
            _preferred(pair, pair.win_rate),
            _preferred(pair, pair.length_controlled),
            "-" if pair.longer is None else f"{pair.longer:+,.0f}",
            f"{pair.wins:,}",
            f"{pair.losses:,}",
            f"{pair.ties:,}",
            reasons or "0",
        )
    return table


def _preferred(pair: PairResult, rate: Measurement | None) -> str:
    """Return a rate at which the first model is preferred; where few comparisons were decided, the raw counts."""
    if rate is None:
        return "-"
    if pair.is_told:
        return _told(rate)
    return f"{pair.wins:,} of {pair.wins + pair.losses:,}" if rate is pair.win_rate else "-"


def _print_causes(console: Console, what: str, causes: Mapping[str, int]) -> None:
    if causes:
        told = "; ".join(f"{cause} ({count:,})" for cause, count in list(causes.items())[:EVALUATION_CAUSES_SHOWN])
        console.print(f"{sum(causes.values()):,} {what}: {told}")
