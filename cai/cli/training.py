"""The options of `cai train`, in groups: what all methods have, and a method's own, read from its descriptor."""

import shlex
from dataclasses import Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from cai.cli.config import config_option
from cai.cli.options import EXISTING_FOLDER, LOCAL_FOLDER, QUIET, SEED, Count, FiniteRange, Group, option_group
from cai.core.addresses import DataSource
from cai.models.jury import parse_judge
from cai.models.spec import ModelSpec
from cai.train.adapters import ADAPTERS
from cai.train.methods import gather_settings
from cai.train.settings import Activation, TrainSettings

common_options = option_group(
    click.option(
        "--data",
        multiple=True,
        required=True,
        help="Runs, files or datasets, each perhaps with :WEIGHT; several in one string or several times.",
    ),
    click.option(
        "--model",
        type=ModelSpec.checkpoint,
        metavar="MODEL",
        default="tiny",
        show_default=True,
        help="tiny, a directory or a hub id.",
    ),
    click.option("--out", type=LOCAL_FOLDER, required=True, help="Where the model is written."),
    click.option("--mixing-temperature", type=FiniteRange(0, min_open=True), default=1.0, show_default=True),
    click.option(
        "--revisions",
        type=click.Choice(["final", "all"]),
        default="final",
        show_default=True,
        help="Of a run: final revisions, or those of every round, as in the paper.",
    ),
    click.option(
        "--labels-from",
        type=click.Choice(["verdicts", "gates"]),
        default="verdicts",
        show_default=True,
        help="Of a run: what says which response is good.",
    ),
    click.option(
        "--quality",
        default="default",
        show_default=True,
        metavar="default|strict|none|FILE",
        help="Of a run: which quality filters leave out or clean examples.",
    ),
    click.option("--split", help="The split of a dataset with several."),
    click.option("--shape", help="The layout of a public data set, where it cannot be told from its columns."),
    click.option("--limit", type=Count(), help="Use only so many examples, to train on and to measure with."),
    click.option(
        "--test-share",
        type=FiniteRange(0, 1, max_open=True),
        default=0.05,
        show_default=True,
        help="Share of the prompts that is kept for measuring.",
    ),
    click.option("--template", help="chatml, alpaca or plain: a chat template for a base model without one."),
    click.option("--seed", type=SEED, default=0, show_default=True, help="Decides everything that is drawn."),
    click.option("--fresh", is_flag=True, help="Discard what OUT holds and start over."),
    click.option("--dry-run", is_flag=True, help="Print what would be done; train nothing."),
    QUIET,
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
    config_option,
)

reasoning_option = click.option(
    "--reasoning", is_flag=True, help="Learn what was thought before answers, too, as the chat template prints it."
)
"""For methods that learn answers which the data holds."""

task_options = option_group(
    click.option(
        "--schedule",
        type=click.Choice(["proportional", "alternating", "balanced"]),
        help="What a step holds of the items of --data (default: proportional; with pcgrad balanced).",
    ),
    click.option(
        "--task-weight",
        type=FiniteRange(0, min_open=True),
        multiple=True,
        help="Weight of a task's loss, once for each item of --data, in order.",
    ),
    click.option(
        "--task-gradients",
        type=click.Choice(["summed", "measured", "pcgrad"]),
        default="summed",
        show_default=True,
        help="measured compares the tasks' gradients at evaluations; pcgrad projects those that conflict.",
    ),
    click.option("--curriculum", metavar="length|loss|certainty|COLUMN", help="Easy examples first, by this."),
    click.option(
        "--pace", type=click.Choice(["sqrt", "linear"]), default="sqrt", show_default=True, help="The curriculum's."
    ),
    click.option(
        "--pace-share",
        type=FiniteRange(0, 1, min_open=True),
        default=0.5,
        show_default=True,
        help="Share of the steps after which all examples are open.",
    ),
)
"""For methods whose trainers tell the items of `--data` apart."""

adapter_options = option_group(
    click.option(
        "--adapter",
        type=click.Choice(["none", *ADAPTERS]),
        default="none",
        show_default=True,
        help="Train an adapter in place of all weights.",
    ),
    click.option("--rank", type=Count(), help="Of lora and dora (default: 16)."),
    click.option("--virtual-tokens", type=Count(), help="Of prompt and prefix (default: 16)."),
    click.option("--bottleneck", type=Count(), help="Width inside, of houlsby and pfeiffer (default: 16)."),
    click.option("--activation", type=click.Choice(get_args(Activation)), help="Inside a bottleneck (default: relu)."),
    click.option("--quantize", is_flag=True, help="Hold the base in 4 bits (QLoRA, CUDA only)."),
    click.option("--merge", is_flag=True, help="Write base and adapter as one whole model (lora, dora, ia3)."),
)


def fit_options(*, packing: bool) -> Group:
    """Return the options that say how long and how fast; `packing` only where examples can be packed."""
    options = [
        click.option("--epochs", type=FiniteRange(0, min_open=True), help="Times through the data."),
        click.option("--max-steps", type=Count(), help="Steps of the optimiser, in place of --epochs."),
        click.option("--learning-rate", type=FiniteRange(0, min_open=True), help="At its peak."),
        click.option("--batch-size", type=Count(), help="Examples an optimiser step, over all devices."),
        click.option("--max-length", type=Count(2), help="Tokens an example at most."),
        click.option(
            "--evaluations",
            type=Count(),
            help="How often the test split is measured and a checkpoint written (default: 10, 25 steps apart or more).",
        ),
        click.option("--patience", type=Count(), help="Evaluations without a better loss before stopping."),
        click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps or auto."),
        click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16 or auto."),
        click.option("--report-to", multiple=True, help="tensorboard, wandb or trackio."),
    ]
    if packing:
        options.insert(
            5,
            click.option(
                "--packing", is_flag=True, help="Fill every sequence with several examples, which stay apart."
            ),
        )
    return option_group(*options)


def own_options(kind: type[Any]) -> Group:
    """Return the options of a method's own settings: a field's type says what click reads, `option` the rest."""
    hints = get_type_hints(kind)
    return option_group(*(_own_option(each, hints[each.name]) for each in fields(kind)))


def _own_option(each: "Field[Any]", hint: Any) -> Group:
    told = each.metadata
    optional = get_origin(hint) in (Union, UnionType)
    plain = next(part for part in get_args(hint) if part is not NoneType) if optional else hint
    name = f"--{each.name.replace('_', '-')}"
    if plain is bool:
        return click.option(name, is_flag=True, default=each.default, help=told["help"])
    several = get_origin(hint) is tuple
    if several:
        plain = get_args(hint)[0]
    places: dict[Any, Any] = {Path: EXISTING_FOLDER, ModelSpec: parse_judge, DataSource: DataSource.parse}
    kind = places.get(plain)
    if plain is float:
        low = told["least"] if told["above"] is None else told["above"]
        kind = FiniteRange(low, min_open=told["above"] is not None)
    elif plain is int:
        kind = Count(1 if told["least"] is None else int(told["least"]))
    elif get_origin(plain) is Literal:
        kind = click.Choice(get_args(plain))
    metavar = {ModelSpec: "MODEL", DataSource: "DATA"}.get(plain)
    shown = {"multiple": True} if several else {"default": each.default, "show_default": each.default is not None}
    return click.option(name, type=kind, metavar=metavar, help=told["help"], **shown)


def take_train_settings(method: str, options: dict[str, Any]) -> TrainSettings:
    """Return a method's options as settings; what a method does not offer keeps its default."""
    data = tuple(DataSource.parse(part) for item in options["data"] for part in _sources(item))
    return gather_settings(method, {**options, "data": data})


def _sources(item: str) -> list[str]:
    """Return the sources that one `--data` names: a quotation mark that is not closed is a name's own."""
    try:
        return shlex.split(item)
    except ValueError:
        return [item]
