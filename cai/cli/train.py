"""`cai train METHOD`: one sub-command a method, each with the options that it uses."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from cai.cli.options import confirm_fresh
from cai.cli.screen import Screen, assembled, shown
from cai.cli.terminal import print_json, remark
from cai.cli.training import (
    adapter_options,
    common_options,
    fit_options,
    missing_package,
    online_options,
    preference_options,
    take_train_settings,
)
from cai.train.settings import TrainMethod, TrainSettings

if TYPE_CHECKING:
    from cai.train.outcome import TrainSummary
    from cai.train.plan import TrainPlan


@click.group()
def train() -> None:
    """Train a model on what was generated: SFT, DPO, reward models, KTO, ORPO, GRPO, RLOO.

    The same command again goes on where it was stopped.
    """


Command = Callable[..., None]


def _command(name: TrainMethod, summary: str, *groups: Callable[[Command], Command]) -> None:
    """Add one method with its groups of options."""

    def run(dry_run: bool, as_json: bool, **options: Any) -> None:
        _run(take_train_settings(name, options), dry_run=dry_run, as_json=as_json)

    decorated: Command = run
    for group in reversed((common_options, *groups, fit_options(packing=name == "sft"), adapter_options)):
        decorated = group(decorated)
    train.command(name, help=summary)(decorated)


_command("sft", "Supervised fine-tuning on revisions, conversations or plain text.")
_command(
    "dpo",
    "Direct preference optimisation on pairs, soft labels included.",
    preference_options("beta", "labels", "sft_term"),
)
_command("reward", "A reward model from pairs (Bradley-Terry) or scores (regression).", preference_options("labels"))
_command("kto", "Kahneman-Tversky optimisation on responses that are good or bad.", preference_options("beta"))
_command("orpo", "Odds-ratio preference optimisation: SFT and preference in one.", preference_options("beta"))
_command("grpo", "PPO's clipped objective with a group baseline, rewarded by a judge or a model.", online_options)
_command("rloo", "REINFORCE with a leave-one-out baseline, rewarded by a judge or a model.", online_options)


def _run(settings: TrainSettings, *, dry_run: bool, as_json: bool) -> None:
    try:
        from cai.train.plan import plan_train  # noqa: PLC0415
        from cai.train.run import train as train_job  # noqa: PLC0415  (torch and TRL are optional, and slow to import)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    console = Screen()
    main = os.environ.get("RANK", "0") == "0"  # in a launch of several processes one of them talks
    if dry_run:
        plan = plan_train(settings)
        if as_json:
            print_json(plan.as_json())
        else:
            _print_plan(console, plan)
        return
    if settings.fresh and main:
        confirm_fresh(settings.out)
    if settings.model.kind == "tiny" and main and not as_json:
        remark("training the embedded miniature; choose a model with --model")
    summary = train_job(settings, lambda line: remark(line) if main else None)
    if main:
        if as_json:
            print_json(summary.as_json())
        else:
            _print_summary(console, summary)
    if summary.status == "interrupted":
        raise click.exceptions.Exit(130)


def _print_plan(console: Console, plan: "TrainPlan") -> None:
    told = plan.as_json()
    table = Table("option", "value", box=None, pad_edge=False)
    for name, value in sorted(told["settings"].items()):
        if value not in (None, ()):
            table.add_row(name.replace("_", "-"), shown(" ".join(value) if isinstance(value, tuple) else str(value)))
    console.print(table)
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
    if summary.status == "interrupted":
        console.print("The same command goes on from here.")
    elif summary.method != "reward":
        console.print(f"load: --model transformers:{summary.out}", soft_wrap=True)
