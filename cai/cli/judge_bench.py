"""`cai judge bench DATA`: judges beside labels that people gave, or that are known."""

from typing import Any, get_args

import click
from rich.console import Console
from rich.table import Column, Table

from cai.cli.config import config_option
from cai.cli.options import (
    EXISTING_FOLDER,
    LOCAL_FOLDER,
    QUIET,
    RETRY_FAILED,
    SEED,
    THINKING_BUDGET,
    Count,
    confirm_fresh,
    engine_options,
    judge_options,
    take_engine_settings,
    take_judge_settings,
)
from cai.cli.running import run_to_end
from cai.cli.screen import Screen, shown
from cai.cli.terminal import print_json, remark
from cai.core.addresses import DataSource
from cai.judge_bench.page import PAIR_HEADS, Line, measure_lines, pair_line, parts_of, summary_line
from cai.judge_bench.plan import plan_bench
from cai.judge_bench.results import JudgeBench
from cai.judge_bench.run import bench_judges
from cai.judge_bench.settings import BenchSettings, JudgeVariant
from cai.models import model_forms
from cai.models.jury import parse_labelled_judge


@click.command(epilog=f"MODEL is {model_forms()}.")
@click.argument("data", type=DataSource.parse)
@click.option(
    "--judge",
    type=parse_labelled_judge,
    multiple=True,
    required=True,
    metavar="[NAME=]MODEL[,MODEL…]",
    help="A model that judges, or several as a jury; may be repeated.",
)
@click.option("--constitution", required=True, help="A YAML file, or the name of a shipped one (harmless, helpful…).")
@click.option(
    "--variant",
    type=click.Choice(get_args(JudgeVariant)),
    multiple=True,
    default=("plain",),
    show_default=True,
    help="Ask every judge so; may be repeated. averaged: under all principles that apply; reasoning: reasons first; "
    "gates, rubric: about each answer by itself, which gets a score.",
)
@click.option("--split", help="The split of a saved or hub dataset with several.")
@click.option("--shape", help="The layout of a public data set, where it cannot be told from its columns.")
@click.option("--limit", type=Count(), help="Ask about only so many, drawn from the seed.")
@click.option(
    "--calibrate", is_flag=True, help="Fit how sure each judge may be on one half and test it: calibration.json."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Decides everything that is drawn.")
@click.option("--max-tokens", type=Count(), default=512, show_default=True, help="Tokens a reasoning at most.")
@judge_options
@THINKING_BUDGET
@engine_options
@click.option("--prompts-dir", type=EXISTING_FOLDER, help="Your own request templates.")
@click.option("--out", type=LOCAL_FOLDER, help="Directory (default: judge-benches/<data>).")
@click.option("--fresh", is_flag=True, help="Discard what the directory holds and start over.")
@RETRY_FAILED
@QUIET
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@config_option
def bench(quiet: bool, as_json: bool, **options: Any) -> None:
    """Measure judges on DATA, of which it is known which answer is better.

    DATA is pairs, a best of several, answers with scores, or questions with options: RewardBench 2, JudgeBench,
    HelpSteer3, HH, the evaluation files of Constitutional AI, files of your own. The same command again goes on where
    it was stopped, also with more judges, or a larger --limit.
    """
    settings = BenchSettings(engine=take_engine_settings(options), judging=take_judge_settings(options), **options)
    plan = plan_bench(settings)
    if settings.fresh:
        confirm_fresh(plan.out)
    for line in plan.remarks:
        remark(line)
    result = run_to_end(lambda watch: bench_judges(plan, watch), plan.out, quiet=quiet, as_json=as_json)
    if as_json:
        print_json({"status": "done", **result.as_json()})
    else:
        print_bench(Screen(), result)


def print_bench(console: Console, result: JudgeBench) -> None:
    """Print the tables, what makes judges unfit, and where everything is."""
    console.print(shown(summary_line(result)), soft_wrap=True)
    console.print(_table(result, "shares in %, with 95 % intervals", measure_lines(result)))
    for title, lines in parts_of(result):
        console.print(_table(result, f"accuracy by {title}", lines))
    if result.pairs:
        table = Table(*(Column(head, justify="right") for head in PAIR_HEADS), box=None, pad_edge=False)
        for pair in result.pairs:
            table.add_row(*map(shown, pair_line(pair)))
        console.print(table)
    for problem in result.problems:
        console.print(shown(f"{problem}.", "yellow"), soft_wrap=True)
    for judge in result.judges:
        for cause, count in judge.failures.items():
            console.print(shown(f"{count:,} of {judge.label} failed in {cause}"), soft_wrap=True)
    drawn = any(judge.labels is not None for judge in result.judges)
    fitted = any(judge.calibrated is not None for judge in result.judges)
    beside = (*(("reliability.png",) if drawn else ()), *(("calibration.json",) if fitted else ()))
    files = ("bench.json", "README.md", *beside, "items.jsonl", "verdicts/")
    console.print(shown(f"written: {result.out}/{', '.join(files)}"), soft_wrap=True)


def _table(result: JudgeBench, title: str, lines: list[Line]) -> Table:
    table = Table(
        Column("", overflow="fold"),
        *(Column(shown(judge.label), overflow="fold") for judge in result.judges),
        title=title,
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name, cells in lines:
        table.add_row(shown(name), *map(shown, cells))
    return table
