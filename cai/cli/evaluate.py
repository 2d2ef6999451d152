"""`cai evaluate MODEL…`: what a constitution's judge, and where there is one the oracle, say of models."""

from pathlib import Path
from typing import Any, get_args

import click

from cai.cli.config import config_option
from cai.cli.evaluation_tables import print_evaluation
from cai.cli.options import (
    EXISTING_FOLDER,
    LOCAL_FOLDER,
    QUIET,
    RETRY_FAILED,
    SEED,
    Count,
    WrittenPath,
    check_options,
    cluster_options,
    confirm_fresh,
    engine_options,
    judge_options,
    sampling_options,
    take_check_settings,
    take_cluster_settings,
    take_engine_settings,
    take_judge_settings,
    thinking_options,
)
from cai.cli.running import run_to_end
from cai.cli.screen import Screen
from cai.cli.terminal import print_json, remark
from cai.core.addresses import DataSource
from cai.evaluate.formats import FORMATS
from cai.evaluate.pairing import CHOICES
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.run import evaluate as evaluate_job
from cai.evaluate.settings import EvaluateSettings, ExaminationName, UsefulnessSettings
from cai.method.attacks import ATTACKS
from cai.method.settings import take_writing
from cai.models import model_forms
from cai.models.jury import parse_judge
from cai.models.spec import LabelledModel, ModelSpec


@click.command(epilog=f"MODEL is {model_forms()}.")
@click.argument("models", metavar="MODEL...", type=LabelledModel.parse, nargs=-1, required=True)
@click.option("--constitution", required=True, help="A YAML file, or the name of a shipped one (medical.yaml).")
@click.option(
    "--baseline", type=LabelledModel.parse, metavar="MODEL", help="The model that the others are compared to."
)
@click.option(
    "--judge",
    type=parse_judge,
    metavar="MODEL",
    help="The model that judges, or several with commas (default: the baseline, without one the first model).",
)
@click.option(
    "--prompts",
    type=DataSource.parse,
    multiple=True,
    metavar="SOURCE",
    help="A file, a shipped set (harmless, medical, tiny…), a public one (xstest:FILE); may be repeated (default: the "
    "constitution's).",
)
@click.option(
    "--attack",
    multiple=True,
    metavar="NAME[+NAME]",
    help=f"Ask every prompt under this attack too; may be repeated: {', '.join(ATTACKS)}.",
)
@click.option(
    "--turns",
    type=Count(),
    metavar="N",
    help="Make every prompt the goal of a dialogue of so many turns too, led by fixed scripts or by --attacker.",
)
@click.option("--attacker", type=ModelSpec.parse, metavar="MODEL", help="The model that leads these dialogues.")
@click.option(
    "--tenets",
    type=WrittenPath(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    help="Examine a constitution sentence by sentence: what `cai constitution tenets` drafts, or people write.",
)
@click.option(
    "--pairs",
    type=click.Choice(CHOICES),
    default="all",
    show_default=True,
    help="Which pairs of models are judged: all, those with the baseline, or near n log n of n models a prompt.",
)
@click.option(
    "--examine",
    type=click.Choice(get_args(ExaminationName)),
    multiple=True,
    help="Ask shipped questions too; may be repeated. Do views follow the user's, or answers the wording?",
)
@click.option(
    "--heldout",
    type=DataSource.parse,
    metavar="FILE",
    help="Text that no model was trained on: perplexity, and divergence from the baseline.",
)
@click.option(
    "--bertscore",
    type=ModelSpec.checkpoint,
    metavar="MODEL",
    help="A directory or hub id: BERTScore beside the prompts' references.",
)
@click.option(
    "--harness",
    multiple=True,
    metavar="TASK[,TASK…]",
    help="Run tasks of lm-eval (ifeval, mmlu…) too, once all models are closed; may be repeated. Needs cai[harness].",
)
@click.option("--limit", type=Count(), help="Use only so many prompts, drawn from the seed.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Decides everything that is drawn.")
@sampling_options
@thinking_options
@click.option("--max-tokens", type=Count(), default=512, show_default=True, help="Tokens a response at most.")
@judge_options
@check_options
@engine_options
@cluster_options
@click.option(
    "--format",
    multiple=True,
    type=click.Choice(list(FORMATS)),
    help=f"Write it so too; may be repeated: {'; '.join(f'{one.name}, {one.about}' for one in FORMATS.values())}.",
)
@click.option("--prompts-dir", type=EXISTING_FOLDER, help="Your own request templates.")
@click.option("--out", type=LOCAL_FOLDER, help="Directory (default: evaluations/<constitution>).")
@click.option("--fresh", is_flag=True, help="Discard what the directory holds and start over.")
@RETRY_FAILED
@QUIET
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@config_option
def evaluate(models: tuple[LabelledModel, ...], quiet: bool, as_json: bool, **options: Any) -> None:
    """Measure models: principles broken, refusals, wins and collapse, with intervals.

    NAME=MODEL gives a model a name in tables. The same command again goes on where it was stopped, also with more
    models or prompts.
    """
    settings = EvaluateSettings(
        models=models,
        engine=take_engine_settings(options),
        judging=take_judge_settings(options),
        checking=take_check_settings(options),
        cluster=take_cluster_settings(options),
        usefulness=UsefulnessSettings(**{name: options.pop(name) for name in UsefulnessSettings.__dataclass_fields__}),
        **take_writing(options),
        **options,
    )
    plan = plan_evaluate(settings)
    if settings.fresh:
        confirm_fresh(plan.out)
    if settings.prompts:
        for line in plan.prompts.remarks:
            remark(line)
    if not as_json:
        if settings.judge is None:
            which = "the baseline" if plan.baseline is not None else "the first model"
            remark(f"judged by {plan.judge}, {which}; choose with --judge")
        if not settings.prompts and any(model.spec.kind == "tiny" for model in plan.models):
            remark("the embedded miniature knows only its micro-world; try --prompts tiny")
    result = run_to_end(lambda watch: evaluate_job(plan, watch), plan.out, quiet=quiet, as_json=as_json)
    if as_json:
        print_json({"status": "done", **result.as_json()})
    else:
        print_evaluation(Screen(), result)
