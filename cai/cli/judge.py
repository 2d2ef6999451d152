"""`cai judge DATA`: new verdicts on the answers of a run, or of any data set; and beside it `cai judge bench`."""

from dataclasses import asdict
from typing import Any

import click

from cai.cli.config import config_option
from cai.cli.judge_bench import bench
from cai.cli.options import (
    EXISTING_FOLDER,
    NEW_RUN,
    QUIET,
    RETRY_FAILED,
    SEED,
    THINKING_BUDGET,
    Count,
    check_options,
    cluster_options,
    confirm_fresh,
    engine_options,
    judge_options,
    ranking_options,
    take_check_settings,
    take_cluster_settings,
    take_engine_settings,
    take_judge_settings,
    take_ranking_settings,
)
from cai.cli.running import run_watched
from cai.cli.screen import Screen
from cai.cli.tables import exit_code, print_export, print_hints, print_summary
from cai.cli.terminal import print_json
from cai.core.addresses import DataSource
from cai.data.export import ExportOptions, export_run
from cai.data.quality import DEFAULT_QUALITY
from cai.judging.plan import plan_judge
from cai.judging.run import judge_again
from cai.judging.settings import RejudgeSettings
from cai.models import check_engine_options
from cai.models.jury import parse_judge


class JudgeGroup(click.Group):
    """The command `cai judge DATA`, and a group too where the first word is one of its commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the words as a command of the group, or as those of `cai judge DATA`."""
        if args and args[0] in self.commands:
            ctx._protected_args, ctx.args = args[:1], args[1:]  # as click's own groups do
            return ctx.args
        ctx.allow_interspersed_args = True
        return click.Command.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Do what was asked for: the command of the group alone, without `cai judge DATA`."""
        if not ctx._protected_args:
            return click.Command.invoke(self, ctx)
        name, command, args = self.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert command is not None  # noqa: S101  (parse_args has looked)
        # Beside this context and not below it, or the usage would name DATA.
        with command.make_context(f"{ctx.info_name} {name}", args, parent=ctx.parent) as own:
            return command.invoke(own)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both ways to call it."""
        pieces = click.Command.collect_usage_pieces(self, ctx)
        formatter.write_usage(ctx.command_path, " ".join(pieces))
        for name in self.commands:
            formatter.write_usage(ctx.command_path, f"{name} --help", prefix="       ")


@click.group(cls=JudgeGroup)
@click.argument("data", type=DataSource.parse)
@click.option("--constitution", help="Judge under this constitution (default: a run's own).")
@click.option("--judge", type=parse_judge, metavar="MODEL", help="The model that judges (default: a run's own judge).")
@click.option(
    "--quality",
    metavar="default|strict|FILE",
    help="Judge, and export, the texts as these filters clean them (default: judge them as they were written).",
)
@click.option("--split", help="The split of a saved or hub dataset with several.")
@click.option("--shape", help="The layout of a public data set, where it cannot be told from its columns.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Decides everything that is drawn.")
@click.option("--max-tokens", type=Count(), default=512, show_default=True, help="Tokens a reasoning at most.")
@judge_options
@ranking_options
@THINKING_BUDGET
@check_options
@engine_options
@cluster_options
@click.option("--prompts-dir", type=EXISTING_FOLDER, help="Your own request templates.")
@click.option("--out", type=NEW_RUN, help="Run directory, or its URL (default: DATA-judged-<constitution>).")
@click.option("--fresh", is_flag=True, help="Discard what the run directory holds and start over.")
@RETRY_FAILED
@QUIET
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@config_option
def judge(quiet: bool, as_json: bool, **options: Any) -> None:
    """Judge the answers of a run again, or of any data set; `judge bench` measures judges.

    DATA is a run, which can be judged with another constitution or model, or a file or dataset with two answers or more
    to a prompt, which needs --constitution and --judge and whose own labels are not looked at. Nothing is generated:
    DATA stays as it is, and a new run directory gets its answers with new verdicts. What judges are worth says
    `cai judge bench`.
    """
    settings = RejudgeSettings(
        engine=take_engine_settings(options),
        judging=take_judge_settings(options),
        ranking=take_ranking_settings(options),
        checking=take_check_settings(options),
        cluster=take_cluster_settings(options),
        **options,
    )
    plan = plan_judge(settings)
    check_engine_options((plan.judge,), settings.engine.engine_option, settings.engine.template_option)
    if settings.fresh:
        confirm_fresh(plan.out)
    summary = run_watched(lambda watch: judge_again(plan, watch), quiet=quiet)
    exported = export_run(summary.out, ExportOptions(quality=plan.quality or DEFAULT_QUALITY))
    if as_json:
        print_json(summary.as_json() | {"export": asdict(exported)})
    else:
        console = Screen()
        print_summary(console, summary)
        print_export(console, summary.out, exported)
        print_hints(console, summary, exported)
    raise click.exceptions.Exit(exit_code(summary))


judge.add_command(bench)
