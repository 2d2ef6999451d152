"""`cai loop`: both stages of Constitutional AI and the measurement, as one command."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.table import Column, Table

from cai.cli.config import config_option
from cai.cli.evaluation_tables import print_evaluation
from cai.cli.options import (
    EXISTING_FOLDER,
    JUDGE_CALIBRATION,
    JUDGE_THINKING,
    LOCAL_FOLDER,
    QUIET,
    RETRY_FAILED,
    SAMPLES,
    SEED,
    Count,
    FiniteRange,
    check_options,
    engine_options,
    revision_options,
    sampling_options,
    take_check_settings,
    take_engine_settings,
    thinking_options,
)
from cai.cli.running import run_watched
from cai.cli.screen import Screen, shown
from cai.cli.terminal import print_json, remark
from cai.core.addresses import DataSource
from cai.loop.settings import LoopSettings
from cai.method.settings import take_writing
from cai.models.jury import parse_judge
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.pipeline.watch import Watch
from cai.train import missing_package
from cai.train.adapters import ADAPTERS
from cai.train.methods import loop_methods
from cai.train.methods.dpo import DPOSettings
from cai.train.settings import AdapterSettings, FitSettings

if TYPE_CHECKING:
    from cai.loop.plan import LoopPlan

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class _Reporter:
    """Tells on a terminal or in a pipe what the loop does."""

    quiet: bool

    def say(self, line: str) -> None:
        remark(line)

    def watched(self, job: Callable[[Watch], Awaitable[Result]]) -> Result:
        return run_watched(job, quiet=self.quiet)


def _stage_options(command: Command) -> Command:
    """Add the options that say how long and how fast each of the two training stages goes."""
    for prefix, title in (("second", "the second stage"), ("sft", "the supervised stage")):
        for name, kind, what in (
            ("batch-size", Count(), "Examples an optimiser step"),
            ("learning-rate", FiniteRange(0, min_open=True), "Learning rate"),
            ("max-steps", Count(), "Optimiser steps at most"),
            ("epochs", FiniteRange(0, min_open=True), "Times through the data"),
        ):
            command = click.option(f"--{prefix}-{name}", type=kind, help=f"{what} of {title}.")(command)
    return command


@click.command()
@click.option("--constitution", required=True, help="A YAML file, or the name of a shipped one (medical.yaml).")
@click.option(
    "--model",
    type=ModelSpec.checkpoint,
    metavar="MODEL",
    default="tiny",
    show_default=True,
    help="The model to train: tiny, a directory or a hub id.",
)
@click.option(
    "--judge",
    type=parse_judge,
    metavar="MODEL[,MODEL…]",
    help="It judges and rewards; several are a jury (default: the untrained model).",
)
@click.option("--method", type=click.Choice(list(loop_methods())), default="dpo", show_default=True)
@click.option("--iterations", type=Count(), default=1, show_default=True, help="Rounds of AI feedback.")
@click.option(
    "--prompts",
    type=DataSource.parse,
    metavar="SOURCE",
    help="Prompts to train on: a file, or a shipped set (default: the constitution's).",
)
@click.option("--limit", type=Count(), help="Train on only so many prompts.")
@click.option(
    "--evaluation-prompts",
    type=DataSource.parse,
    metavar="SOURCE",
    help="Prompts to measure with: a file, or a shipped set (default: the constitution's evaluation set).",
)
@click.option("--evaluation-limit", type=Count(), help="Measure with only so many prompts.")
@click.option(
    "--quality",
    default="default",
    show_default=True,
    metavar="default|strict|none|FILE",
    help="Which quality filters leave out or clean what is exported and trained on.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Decides everything that is drawn.")
@click.option("--samples", type=SAMPLES, default=2, show_default=True, help="Revised responses a prompt.")
@click.option(
    "--pair-samples", type=click.IntRange(2, 100), default=4, show_default=True, help="Responses to make pairs of."
)
@click.option("--judge-principles", type=Count(), default=1, show_default=True, help="Principles a pair.")
@JUDGE_THINKING
@JUDGE_CALIBRATION
@sampling_options
@revision_options
@thinking_options
@click.option("--max-tokens", type=Count(), default=512, show_default=True, help="Tokens a text at most.")
@_stage_options
@click.option("--beta", type=FiniteRange(0, min_open=True), default=0.1, show_default=True, help="DPO's β, ORPO's λ.")
@click.option("--labels", type=click.Choice(["soft", "hard"]), default="soft", show_default=True)
@click.option("--sft-term", type=FiniteRange(0), default=0.0, show_default=True, help="Weight of an SFT term in DPO.")
@click.option("--group", type=Count(2), default=8, show_default=True, help="Responses a prompt (GRPO, RLOO, PPO).")
@click.option(
    "--adapter",
    type=click.Choice(["none", *(each.name for each in ADAPTERS.values() if each.folds)]),
    default="none",
    show_default=True,
    help="Train adapters, each merged into its base for the next stage.",
)
@click.option("--rank", type=Count(), help="Rank of the adapter (default: 16).")
@click.option("--quantize", is_flag=True, help="Keep the base in 4 bits under the adapter (GPU).")
@click.option("--template", help="Chat template for a model without one: chatml, alpaca or plain.")
@check_options
@engine_options
@click.option("--prompts-dir", type=EXISTING_FOLDER, help="Your own request templates.")
@click.option("--out", type=LOCAL_FOLDER, help="Directory (default: loops/<constitution>).")
@RETRY_FAILED
@click.option("--dry-run", is_flag=True, help="Check everything and print the stages; run nothing.")
@QUIET
@click.option("--json", "as_json", is_flag=True, help="Print the measurement as JSON.")
@config_option
def loop(dry_run: bool, quiet: bool, as_json: bool, **options: Any) -> None:
    """Generate, train on revisions, train on the judge's preferences, and measure what changed.

    The same command again goes on where it was stopped; changed settings run the stages that they touch again.
    """
    try:
        from cai.loop.plan import plan_loop  # noqa: PLC0415
        from cai.loop.run import run_loop  # noqa: PLC0415  (torch and TRL are optional, and slow to import)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    plan = plan_loop(_settings(options))
    console = Screen()
    if dry_run:
        for line in plan.remarks if not as_json else ():
            remark(line)
        if as_json:
            print_json(plan.as_json())
        else:
            _print_plan(console, plan)
        return
    outcome = run_loop(plan, _Reporter(quiet))
    if outcome.evaluation is None:
        if as_json:
            print_json({"status": "interrupted", "out": str(outcome.out), "ran": outcome.ran})
        else:
            console.print("Interrupted; the same command goes on from here.")
        raise click.exceptions.Exit(130)
    if as_json:
        print_json({"status": "done", "out": str(outcome.out), "ran": outcome.ran, **outcome.evaluation.as_json()})
    else:
        print_evaluation(console, outcome.evaluation)


def _settings(options: dict[str, Any]) -> LoopSettings:
    """Gather a command line's flat options into the loop's settings."""
    engine = take_engine_settings(options)
    sft, second = (_fit(prefix, options, engine) for prefix in ("sft", "second"))
    adapter = AdapterSettings(**{name: options.pop(name) for name in ("adapter", "rank", "quantize")})
    preference = DPOSettings(**{name: options.pop(name) for name in ("beta", "labels", "sft_term")})
    writing = take_writing(options)
    return LoopSettings(
        checking=take_check_settings(options),
        engine=engine,
        adapter=adapter,
        preference=preference,
        sft=sft,
        second=second,
        **writing,
        **options,
    )


def _fit(stage: str, options: dict[str, Any], engine: EngineSettings) -> FitSettings:
    numbers = {name: options.pop(f"{stage}_{name}") for name in ("epochs", "max_steps", "learning_rate", "batch_size")}
    return FitSettings(**numbers, device=engine.device, dtype=engine.dtype)


def _print_plan(console: Console, plan: "LoopPlan") -> None:
    table = Table("stage", "what", "size", Column("where", overflow="fold"), box=None, pad_edge=False)
    for line in plan.lines():
        table.add_row(*map(shown, line))
    console.print(table)
