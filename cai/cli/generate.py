"""`cai generate`: the main job."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cai.cli.config import config_option
from cai.cli.options import (
    EXISTING_FOLDER,
    NEW_RUN,
    QUIET,
    RETRY_FAILED,
    ROUNDS,
    SAMPLES,
    SEED,
    Count,
    FiniteRange,
    check_options,
    cluster_options,
    confirm_fresh,
    engine_options,
    judge_options,
    option_group,
    ranking_options,
    revision_options,
    sampling_options,
    take_check_settings,
    take_cluster_settings,
    take_engine_settings,
    take_judge_settings,
    take_ranking_settings,
    thinking_options,
)
from cai.cli.running import run_watched
from cai.cli.screen import Screen, options_table
from cai.cli.tables import exit_code, print_export, print_hints, print_summary
from cai.cli.terminal import print_json, remark
from cai.core.addresses import DataSource
from cai.core.counts import counted
from cai.core.settings import plain
from cai.generate.dry_run import Load
from cai.generate.estimate import Estimate, GenerateSummary, Rates
from cai.generate.plan import plan_generate
from cai.generate.run import estimate_generate
from cai.generate.run import generate as generate_job
from cai.generate.settings import GenerateSettings
from cai.method.selectors import Selection
from cai.method.settings import take_writing
from cai.models import check_engine_options, model_forms
from cai.models.jury import parse_judge
from cai.models.spec import ModelSpec
from cai.rundir.origin import location

_UNITS = ((86_400, "days"), (3_600, "h"), (60, "min"))
_BOUNDS = ("least", "expected", "most")

Line = tuple[str, Load, float | None, float | None]
"""A line of a table: its name, the load, seconds, money."""


_rate_options = option_group(
    click.option(
        "--speed-prompt",
        type=FiniteRange(0, min_open=True),
        help="Prompt tokens a second, as cai models check measures them: the estimate tells the time.",
    ),
    click.option("--speed-completion", type=FiniteRange(0, min_open=True), help="Generated tokens a second, likewise."),
    click.option(
        "--price-prompt",
        type=FiniteRange(0),
        help="Price of a million prompt tokens, in any currency: the cost is told.",
    ),
    click.option("--price-completion", type=FiniteRange(0), help="Price of a million generated tokens."),
)
"""The options that give speeds and prices."""


@click.command()
@click.option("--constitution", required=True, help="A YAML file, or the name of a shipped one (medical.yaml).")
@click.option(
    "--model",
    type=ModelSpec.parse,
    metavar="MODEL",
    default="tiny",
    show_default=True,
    help=f"{model_forms()}.",
)
@click.option(
    "--responders",
    type=ModelSpec.parse,
    metavar="MODEL",
    multiple=True,
    help="A model that answers every prompt beside --model; may be repeated.",
)
@click.option(
    "--judge",
    type=parse_judge,
    metavar="MODEL",
    help="The model that judges, or several with commas (default: the same model).",
)
@click.option(
    "--prompts",
    type=DataSource.parse,
    metavar="SOURCE",
    help="A file, a directory, a URL, - or a dataset, or a shipped set: medical, tiny… (default: the constitution's).",
)
@click.option("--prompt-column", help="The column that holds the prompt, when it is not obvious.")
@click.option("--split", help="The split of a dataset with several.")
@click.option("--limit", type=Count(), help="Use only so many prompts.")
@click.option("--shuffle", is_flag=True, help="Take the prompts in an order drawn from the seed.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Decides everything that is drawn.")
@click.option("--samples", type=SAMPLES, default=2, show_default=True, help="Responses a prompt.")
@click.option("--schedule", type=click.Choice(["walk", "sample"]), help="Every principle in turn, or drawn ones.")
@click.option("--rounds", type=ROUNDS, help="Walks through the principles, or principles drawn; 0: only judge.")
@click.option("--gate/--no-gate", default=None, help="Ask first whether a principle is broken at all, with one token.")
@click.option(
    "--form",
    type=click.Choice(["auto", "anew", "continued"]),
    help="Ask for a revision by asking the prompt anew, or by a conversation that goes on, as in the paper.",
)
@click.option("--few-shot", is_flag=True, help="Show the constitution's exemplars before each critique.")
@sampling_options
@revision_options
@thinking_options
@click.option("--max-tokens", type=Count(), default=512, show_default=True, help="Tokens a text at most.")
@judge_options
@ranking_options
@check_options
@engine_options
@cluster_options
@click.option("--prompts-dir", type=EXISTING_FOLDER, help="Your own request templates.")
@click.option("--out", type=NEW_RUN, help="Run directory, or its URL: s3://… (default: runs/<constitution>).")
@click.option("--fresh", is_flag=True, help="Discard what the run directory holds and start over.")
@RETRY_FAILED
@click.option("--all-revisions", is_flag=True, help="Export every round's revision for SFT, as in the paper.")
@click.option(
    "--select",
    type=Selection.parse,
    metavar="judge|gates|rubric|reward:DIRECTORY|random",
    help="Choose one answer a prompt for SFT, among all its responses and revisions.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and an estimate; ask no model anything.")
@_rate_options
@QUIET
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@config_option
def generate(dry_run: bool, quiet: bool, as_json: bool, **options: Any) -> None:
    """Answer, critique, revise and judge: prompts in, SFT and preference data out.

    The same command again goes on where it was stopped.
    """
    rates = _take_rates(options)
    settings = GenerateSettings(
        engine=take_engine_settings(options),
        judging=take_judge_settings(options),
        ranking=take_ranking_settings(options),
        checking=take_check_settings(options),
        **take_writing(options),
        cluster=take_cluster_settings(options),
        **options,
    )
    check_engine_options(
        (settings.model, *settings.responders, settings.judge or settings.model),
        settings.engine.engine_option,
        settings.engine.template_option,
    )
    plan = plan_generate(settings)
    console = Screen()
    if not (dry_run and as_json):  # which tells them itself
        for line in plan.remarks:
            remark(line)
    if dry_run:
        estimate = estimate_generate(plan)
        resolved = (
            plain(settings)
            | plan.method.plan.model_dump(mode="json")
            | asdict(settings.revising.resolved(settings.sampling, settings.thinking.thinking))
            | {
                "prompts": str(plan.source),
                "out": location(plan.out),
                "judge": str(settings.judge or settings.model),
            }
        )
        if as_json:
            told = {"plan": resolved, "estimate": _told_estimate(estimate, rates), "remarks": plan.remarks}
            print_json(told)
        else:
            _print_plan(console, resolved, estimate, rates)
        return
    if settings.fresh:
        confirm_fresh(plan.out)
    if settings.model.kind == "tiny" and not as_json:
        remark("using the embedded miniature, which knows only its micro-world; choose a model with --model")
    summary = run_watched(lambda watch: generate_job(plan, watch), quiet=quiet)
    from cai.data.export import ExportOptions, export_run  # noqa: PLC0415  (needs Arrow, which nobody waits for at the start)

    exported = export_run(summary.out, ExportOptions(all_revisions=settings.all_revisions))
    if as_json:
        print_json(_told_summary(summary, rates) | {"export": asdict(exported)})
    else:
        print_summary(console, summary)
        _print_comparison(console, summary, rates)
        print_export(console, summary.out, exported)
        print_hints(console, summary, exported)
    raise click.exceptions.Exit(exit_code(summary))


def _take_rates(options: dict[str, Any]) -> Rates:
    """Move speeds and prices out of a command's options; raises UsageError when half of a pair is missing."""
    return Rates(**{item.name: options.pop(item.name) for item in fields(Rates)})


def _print_plan(console: Console, resolved: dict[str, Any], estimate: Estimate, rates: Rates) -> None:
    """Print the resolved options and the estimate."""
    console.print(options_table(resolved))
    _print_estimate(console, estimate, rates)


def _told_estimate(estimate: Estimate, rates: Rates) -> dict[str, Any]:
    """Return the estimate as what JSON can say; each load has `seconds` and `money`, null where no rates are given."""
    told = estimate.as_json()
    for name, load in _loads(estimate):
        told[name] |= {"seconds": rates.seconds(load), "money": rates.money(load)}
    return told


def _told_summary(summary: GenerateSummary, rates: Rates) -> dict[str, Any]:
    """Return the summary as what JSON can say, with what it cost and the estimate's costs."""
    told = summary.as_json() | {"money": rates.money(_actual(summary))}
    if summary.estimate is not None:
        told["estimate"] = _told_estimate(summary.estimate, rates)
    return told


def _print_estimate(console: Console, estimate: Estimate, rates: Rates) -> None:
    """Print the bounds, what is expected between them, and what that rests on."""
    rows = counted(estimate.rows, "row") + (
        "" if estimate.whole else ", the first (the input does not tell how many more)"
    )
    console.print(f"\n{rows}:")
    _print_loads(console, [(name, load, rates.seconds(load), rates.money(load)) for name, load in _loads(estimate)])
    for sentence in estimate.basis:
        console.print(f"  {sentence}", soft_wrap=True)


def _print_comparison(console: Console, summary: GenerateSummary, rates: Rates) -> None:
    """Print what this process asked beside what was foreseen for the same rows."""
    if summary.estimate is None or not summary.estimate.rows:
        return
    foreseen, actual = summary.estimate.expected, _actual(summary)
    _print_loads(
        console,
        [
            ("estimated", foreseen, rates.seconds(foreseen), rates.money(foreseen)),
            ("actual", actual, summary.seconds if rates.seconds(actual) is not None else None, rates.money(actual)),
        ],
    )


def _loads(estimate: Estimate) -> Iterable[tuple[str, Load]]:
    return zip(_BOUNDS, (estimate.least, estimate.expected, estimate.most), strict=True)


def _actual(summary: GenerateSummary) -> Load:
    return Load(summary.requests, summary.prompt_tokens, summary.completion_tokens)


def _print_loads(console: Console, lines: list[Line]) -> None:
    timed = any(seconds is not None for _, _, seconds, _ in lines)
    priced = any(money is not None for _, _, _, money in lines)
    titles = ["requests", "prompt tokens", "completion tokens", *["time"] * timed, *["cost"] * priced]
    table = Table("", box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right")
    for name, load, seconds, money in lines:
        cells = [f"{load.requests:,}", f"{load.prompt_tokens:,}", f"{load.completion_tokens:,}"]
        if seconds is not None:
            cells.append(_duration(seconds))
        if money is not None:
            cells.append(f"{money:,.2f}" if money >= 1 else f"{money:.4f}")
        table.add_row(name, *cells)
    console.print(table)


def _duration(seconds: float) -> str:
    """Return seconds in the largest unit of which there are two or more."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"
