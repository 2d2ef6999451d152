"""`cai export RUN`: the datasets trainers read."""

import dataclasses
from pathlib import Path
from typing import Literal

import click

from cai.annotation.labels import labels_for_export
from cai.cli.options import EXISTING_RUN
from cai.cli.screen import Screen
from cai.cli.tables import print_export
from cai.cli.terminal import print_json, remark
from cai.data.export import ExportOptions, export_run
from cai.data.export.hub import hub_target
from cai.data.export.layouts.placing import FORMATS, TRL
from cai.data.quality import load_quality


@click.command()
@click.argument("run", type=EXISTING_RUN)
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    default=TRL,
    show_default=True,
    help="What is to read it: TRL, or another tool, with the settings it needs, in a folder of that name in the run.",
)
@click.option("--all-revisions", is_flag=True, help="Every round's revision is SFT data, as in the paper.")
@click.option(
    "--reasoning", is_flag=True, help="With what the model thought before each answer, in TRL's field thinking."
)
@click.option(
    "--pairs",
    type=click.Choice(["all", "best-worst", "adjacent"]),
    default="all",
    show_default=True,
    help="All judged pairs; or of each prompt's ranking the best against the worst, or each against the next.",
)
@click.option(
    "--select",
    type=click.Choice(["final", "judge", "gates", "rubric", "reward", "random"]),
    help="Choose one SFT answer a prompt; final: the last of every sample (default: as the run was made).",
)
@click.option(
    "--labels",
    type=click.Choice(["judge", "human", "both"]),
    default="judge",
    show_default=True,
    help="Whose labels: the judge's; what people said and nothing else; or people's where there are some.",
)
@click.option(
    "--test-share",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of the prompts that goes to the test split.",
)
@click.option(
    "--quality",
    default="default",
    show_default=True,
    metavar="default|strict|none|FILE",
    help="Which quality filters leave out, clean or list examples; FILE is a YAML file of your own.",
)
@click.option(
    "--push-to-hub",
    metavar="NAME",
    help="Send the export with its card to this dataset of the Hugging Face hub: private.",
)
@click.option("--public", is_flag=True, help="With --push-to-hub: everybody may see it.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def export(
    run: Path,
    format: str,  # noqa: A002  (the option's name)
    all_revisions: bool,
    reasoning: bool,
    pairs: Literal["all", "best-worst", "adjacent"],
    select: Literal["final", "judge", "gates", "rubric", "reward", "random"] | None,
    labels: Literal["judge", "human", "both"],
    test_share: float,
    quality: str,
    push_to_hub: str | None,
    public: bool,
    as_json: bool,
) -> None:
    """Write a run's SFT, preference and ranking datasets, as TRL or another tool reads them."""
    people = labels_for_export(run, labels)
    options = ExportOptions(all_revisions, test_share, reasoning, pairs, load_quality(quality), select, labels, people)
    hub = None if push_to_hub is None else hub_target(push_to_hub, public=public)
    summary = export_run(run, options, format, hub=hub)
    for line in people.remarks:
        remark(line)
    if as_json:
        print_json(dataclasses.asdict(summary))
    else:
        print_export(Screen(), run, summary)
