"""`cai advise DATA`: which training suits the data, why, and what it costs here."""

import click

from cai.advice.outcome import Advice
from cai.advice.settings import AdviseSettings
from cai.cli.screen import Screen
from cai.cli.terminal import print_json, remark
from cai.core.addresses import DataSource
from cai.models.spec import ModelSpec
from cai.train import missing_package


@click.command()
@click.argument("data", type=DataSource.parse, metavar="DATA")
@click.option(
    "--model",
    type=ModelSpec.checkpoint,
    metavar="MODEL",
    default="tiny",
    show_default=True,
    help="The model to train: tiny, a directory or a hub id.",
)
@click.option("--split", help="The split of a dataset with several.")
@click.option("--shape", help="The layout of a public data set, where it cannot be told from its columns.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps or auto.")
@click.option("--json", "as_json", is_flag=True, help="Print the advice as JSON.")
def advise(
    data: DataSource, model: ModelSpec, split: str | None, shape: str | None, device: str, as_json: bool
) -> None:
    """Say which training suits data, why, who says so, and what it costs on this machine.

    DATA is a run, a file, a saved dataset or a hub name, as after --data of `cai train`. Nothing is trained.
    """
    try:
        from cai.advice.plan import plan_advise  # noqa: PLC0415  (torch and transformers: seconds)
        from cai.advice.run import advise as find_advice  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    advice = find_advice(plan_advise(AdviseSettings(data, model, split, shape, device)))
    if as_json:
        print_json(advice.as_json())
    else:
        _print(Screen(), advice)


def _print(screen: Screen, advice: Advice) -> None:
    for line in advice.remarks:
        remark(line)
    for line in advice.facts:
        screen.print(line, soft_wrap=True)
    for number, each in enumerate(advice.advised, 1):
        screen.print(f"\n{number}. {each.recommendation.method}: {each.recommendation.reason}", soft_wrap=True)
        screen.print(f"   source: {each.recommendation.source}", soft_wrap=True)
        if each.cost is not None:
            screen.print(f"   costs {each.cost.sentence(each.recommendation.draws)}", soft_wrap=True)
        screen.print(f"   {each.command}", soft_wrap=True)
