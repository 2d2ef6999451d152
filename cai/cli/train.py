"""`cai train METHOD`: one sub-command a method, each with the options that it uses."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from cai.cli.options import confirm_fresh
from cai.cli.screen import Screen, assembled, options_table
from cai.cli.terminal import print_json, remark
from cai.cli.training import (
    adapter_options,
    common_options,
    fit_options,
    own_options,
    reasoning_option,
    take_train_settings,
    task_options,
)
from cai.train import missing_package
from cai.train.methods import METHODS
from cai.train.methods.descriptor import TrainingMethod
from cai.train.rewards.report import reward_lines
from cai.train.settings import TrainSettings

if TYPE_CHECKING:
    from cai.train.outcome import TrainSummary
    from cai.train.plan import TrainPlan


Command = Callable[..., None]


class MethodGroup(click.Group):
    """A group with a command for each method of `cai.train.methods`, those that were registered among them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the methods' names."""
        return list(METHODS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of one method, or None when there is no such method."""
        return _command(METHODS[cmd_name]) if cmd_name in METHODS else None


@click.group(cls=MethodGroup)
def train() -> None:
    """Train a model on what was generated: SFT, DPO, reward models, KTO, ORPO, GRPO, RLOO, PPO.

    The same command again goes on where it was stopped.
    """


def _command(method: TrainingMethod) -> click.Command:
    """Return a method's command, with the options that all have and those that are its own."""

    def run(dry_run: bool, quiet: bool, as_json: bool, **options: Any) -> None:
        _run(take_train_settings(method.name, options), dry_run=dry_run, quiet=quiet, as_json=as_json)

    decorated: Command = run
    own = (reasoning_option,) if method.learns_answers else ()
    tasks = (task_options,) if method.by_task else ()
    fit = fit_options(packing=method.packs)
    groups = (common_options, *own, own_options(method.own), *tasks, fit, adapter_options)
    for group in reversed(groups):
        decorated = group(decorated)
    return click.command(method.name, help=method.summary, short_help=method.summary)(decorated)


def _run(settings: TrainSettings, *, dry_run: bool, quiet: bool, as_json: bool) -> None:
    try:
        from cai.train.plan import plan_train  # noqa: PLC0415
        from cai.train.run import train as train_job  # noqa: PLC0415  (torch and TRL are optional, and slow to import)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    console = Screen()
    main = os.environ.get("RANK", "0") == "0"  # in a launch of several processes one of them prints
    plan = plan_train(settings)
    if dry_run:
        if as_json:
            print_json(plan.as_json())
        else:
            _print_plan(console, plan)
        return
    if settings.fresh and main:
        confirm_fresh(settings.out)
    if settings.model.kind == "tiny" and main and not as_json:
        remark("training the embedded miniature; choose a model with --model")
    summary = train_job(plan, lambda line: remark(line) if main else None, quiet=quiet)
    if main:
        if as_json:
            print_json(summary.as_json())
        else:
            _print_summary(console, summary)
    if summary.status == "interrupted":
        raise click.exceptions.Exit(130)


def _print_plan(console: Console, plan: "TrainPlan") -> None:
    told = plan.as_json()
    console.print(options_table(told["settings"]))
    shape, data = told["model"], told["data"]
    trained = shape["adapter_parameters"] or shape["parameters"]
    lines = [
        f"\n{shape['name']}: {shape['parameters']:,} parameters, {trained:,} trained; chat template: {plan.template}",
        f"{data['kind']}: {data['train']:,} train + {data['test']:,} test",
        *(
            f"  {part['name']}: {part['train']:,} train + {part['test']:,} test, {part['fingerprint']}"
            for part in data["parts"]
        ),
        *(f"  left out: {reason} {count:,}" for reason, count in data["left_out"].items()),
        *(f"  {said}" for said in plan.cut.sentences()),
        *(f"  {said}" for said in ([] if plan.tasks is None else plan.tasks.sentences())),
        *(f"  {line}" for line in data["remarks"]),
        f"{plan.hardware.sentence()}",
        f"about {plan.steps:,} steps",
    ]
    for line in lines:
        console.print(line)


def _print_summary(console: Console, summary: "TrainSummary") -> None:
    if summary.already:
        console.print(f"{summary.out} is finished; --fresh trains it again.")
        return
    rate = f", {summary.tokens_per_second:,.0f} tokens/s" if summary.tokens_per_second else ""
    from_step = f" from step {summary.resumed:,}" if summary.resumed else ""
    console.print(
        assembled(
            (summary.status, "bold"),
            f": {summary.method} in {summary.out}, {summary.steps:,} steps{from_step} "
            f"in {summary.seconds:,.1f} s{rate}",
        )
    )
    if summary.left_out:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in summary.left_out.items())
        console.print(f"left out: {reasons}")
    if summary.cut_answers:
        console.print(
            f"cut: {summary.cut_answers:,} answers at {summary.max_length:,} tokens, whose ends were not learned; "
            "raise --max-length"
        )
    if summary.loss is not None:
        line = f"loss {summary.loss:.4f}"
        if summary.best_eval_loss is not None:
            line += f"; on the test split at best {summary.best_eval_loss:.4f}, at step {summary.best_step}"
        console.print(line)
    for name, value in reward_lines(summary.measured):
        console.print(f"{name}: {value}")
    if summary.status == "interrupted":
        console.print("The same command goes on from here.")
    elif METHODS[summary.method].head == "language":
        console.print(f"load: --model transformers:{summary.out}", soft_wrap=True)
