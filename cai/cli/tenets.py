"""`cai constitution tenets NAME`: a model drafts testable sentences and scenarios, for people to change."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cai.cli.config import config_option
from cai.cli.options import (
    EXISTING_FOLDER,
    QUIET,
    SEED,
    Count,
    WrittenPath,
    engine_options,
    sampling_options,
    take_engine_settings,
    thinking_options,
)
from cai.cli.running import run_to_end
from cai.cli.screen import Screen, shown
from cai.cli.terminal import print_json
from cai.core.counts import counted
from cai.method.settings import take_writing
from cai.models import model_forms
from cai.models.spec import ModelSpec
from cai.tenets.plan import plan_tenets
from cai.tenets.run import DraftedTenets, draft_tenets
from cai.tenets.settings import TenetsSettings


@click.command(epilog=f"MODEL is {model_forms()}.")
@click.argument("constitution", metavar="NAME")
@click.option("--model", type=ModelSpec.parse, required=True, metavar="MODEL", help="The model that drafts.")
@click.option("--scenarios", type=Count(), default=10, show_default=True, help="Scenarios a tenet at most.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Decides everything that is drawn.")
@sampling_options
@thinking_options
@click.option("--max-tokens", type=Count(), default=1024, show_default=True, help="Tokens an answer at most.")
@engine_options
@click.option("--prompts-dir", type=EXISTING_FOLDER, help="Your own request templates.")
@click.option(
    "--out", type=WrittenPath(dir_okay=False, path_type=Path), help="File (default: <constitution>-tenets.yaml)."
)
@QUIET
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@config_option
def tenets(quiet: bool, as_json: bool, **options: Any) -> None:
    """Split the constitution NAME into tenets with scenarios, drafted by a model into a file to be read and changed.

    What is in the file stays as it is: principles that have tenets there keep them, tenets without scenarios get some.
    """
    settings = TenetsSettings(engine=take_engine_settings(options), **take_writing(options), **options)
    plan = plan_tenets(settings)
    result = run_to_end(lambda watch: draft_tenets(plan, watch), plan.out, quiet=quiet, as_json=as_json)
    if as_json:
        print_json({"status": "done", **result.as_json()})
    else:
        print_tenets(Screen(), result)
    if not result.tenets:
        raise click.exceptions.Exit(1)


def print_tenets(console: Console, result: DraftedTenets) -> None:
    """Print what was drafted, what was not taken, and what the file has now."""
    new = f"{counted(result.new_tenets, 'new tenet')}, {counted(result.new_scenarios, 'new scenario')}"
    has = f"{counted(result.tenets, 'tenet')} with {counted(result.scenarios, 'scenario')}"
    console.print(shown(f"{new}; {result.out} has {has}: read them before you use them"), soft_wrap=True)
    for what, causes in (("left out", result.left_out), ("failed", result.failures)):
        _print_causes(console, what, causes)
    if result.without:
        console.print(shown(f"without a tenet: {', '.join(result.without)}", "yellow"), soft_wrap=True)


def _print_causes(console: Console, what: str, causes: Mapping[str, int]) -> None:
    if causes:
        console.print(shown(f"{what}: {'; '.join(f'{cause} ({count:,})' for cause, count in causes.items())}"))
