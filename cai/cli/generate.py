"""`cai generate`: the main job."""

import asyncio
from typing import Any

import click

from cai.cli.console import Screen
from cai.cli.costs import rate_options, take_rates, tell_estimate
from cai.cli.fresh import confirm_fresh
from cai.cli.options import (
    EXISTING_FOLDER,
    RETRY_FAILED,
    ROUNDS,
    SAMPLES,
    SEED,
    Count,
    FiniteRange,
    config_option,
    engine_options,
    judge_options,
    take_engine_settings,
    take_judge_settings,
)
from cai.cli.outcome import finish, print_plan, print_remarks
from cai.cli.places import NEW_RUN
from cai.cli.screen import run_watched
from cai.cli.terminal import print_json, say
from cai.cluster import check_cluster
from cai.cluster.settings import ClusterSettings
from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.core.settings import plain
from cai.generate.plan import plan_generate
from cai.generate.run import estimate_generate
from cai.generate.run import generate as generate_job
from cai.generate.settings import GenerateSettings
from cai.models import check_engine_options
from cai.models.spec import ModelSpec
from cai.rundir.origin import location


@click.command()
@click.option("--constitution", required=True, help="A YAML file, or the name of a shipped one (medical.yaml).")
@click.option(
    "--model",
    type=ModelSpec.parse,
    metavar="MODEL",
    default="tiny",
    show_default=True,
    help="tiny, transformers:MODEL, vllm:MODEL, openai:MODEL@URL[,URL…].",
)
@click.option("--judge", type=ModelSpec.parse, metavar="MODEL", help="The model that judges (default: the same model).")
@click.option(
    "--prompts",
    type=DataSource.parse,
    metavar="SOURCE",
    help="JSONL, Parquet, CSV, text, a directory, a URL, - or a dataset (default: the constitution's).",
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
@click.option("--few-shot", is_flag=True, help="Show the constitution's exemplars before each critique.")
@click.option("--temperature", type=FiniteRange(0), default=1.0, show_default=True)
@click.option("--top-p", type=FiniteRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--max-tokens", type=Count(), default=512, show_default=True, help="Tokens a text at most.")
@judge_options
@engine_options
@click.option("--cluster", metavar="auto|local|HOST:PORT", help="Make the rows on a Ray cluster (cai[ray]).")
@click.option("--replicas", type=Count(), help="Copies of the models on the cluster (default: 1).")
@click.option("--gpus-per-replica", type=FiniteRange(0), help="GPUs for each, or a part of one (default: 0).")
@click.option("--prompts-dir", type=EXISTING_FOLDER, help="Your own request templates.")
@click.option("--out", type=NEW_RUN, help="Run directory, or its URL: s3://… (default: runs/<constitution>).")
@click.option("--fresh", is_flag=True, help="Discard what the run directory holds and start over.")
@RETRY_FAILED
@click.option("--all-revisions", is_flag=True, help="Export every round's revision for SFT, as in the paper.")
@click.option("--dry-run", is_flag=True, help="Print the plan and an estimate; ask no model anything.")
@rate_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@config_option
def generate(dry_run: bool, as_json: bool, **options: Any) -> None:
    """Answer, critique, revise and judge: prompts in, SFT and preference data out.

    The same command again goes on where it was stopped.
    """
    rates = take_rates(options)
    settings = GenerateSettings(
        engine=take_engine_settings(options),
        judging=take_judge_settings(options),
        cluster=_take_cluster_settings(options),
        **options,
    )
    check_engine_options((settings.model, settings.judge or settings.model), settings.engine.engine_option)
    plan = plan_generate(settings)
    console = Screen()
    if not (dry_run and as_json):  # which tells them itself
        print_remarks(plan.prompts.remarks)
    if dry_run:
        estimate = asyncio.run(estimate_generate(plan))
        resolved = (
            plain(settings)
            | plan.method.plan.model_dump(mode="json")
            | {
                "prompts": str(plan.source),
                "out": location(plan.out),
                "judge": str(settings.judge or settings.model),
            }
        )
        if as_json:
            told = {"plan": resolved, "estimate": tell_estimate(estimate, rates), "remarks": plan.prompts.remarks}
            print_json(told)
        else:
            print_plan(console, resolved, estimate, rates)
        return
    if settings.fresh:
        confirm_fresh(plan.out)
    if settings.model.kind == "tiny" and not as_json:
        say(
            "cai: using the embedded miniature, which knows only its micro-world; choose a model with --model", err=True
        )
    summary = run_watched(lambda watch: generate_job(plan, watch), quiet=as_json)
    from cai.data.export import ExportOptions, export_run  # noqa: PLC0415  (needs Arrow, which nobody waits for at the start)

    exported = export_run(summary.out, ExportOptions(all_revisions=settings.all_revisions))
    finish(console, summary, exported, as_json=as_json, rates=rates)


def _take_cluster_settings(options: dict[str, Any]) -> ClusterSettings:
    """Move the cluster's options out of the command's; raises UsageError when they make no sense."""
    cluster, given = options.pop("cluster"), {name: options.pop(name) for name in ("replicas", "gpus_per_replica")}
    for name, value in given.items():
        if cluster is None and value is not None:
            raise UsageError(f"--{name.replace('_', '-')} needs --cluster: without one the models are in this process")
    if cluster is not None:
        check_cluster(cluster)
    return ClusterSettings(cluster, **{name: value for name, value in given.items() if value is not None})
