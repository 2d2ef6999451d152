"""Options that several commands share, and what may be typed as their values: counts, paths, and where runs lie."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cai.cli.terminal import confirm
from cai.cluster import cluster_settings
from cai.cluster.settings import ClusterSettings
from cai.core.addresses import DataSource
from cai.core.mark import kind_of
from cai.core.paths import expand
from cai.core.urls import is_almost_url, is_url
from cai.method.settings import CheckSettings, JudgeSettings, RankingSettings
from cai.models.settings import EngineSettings
from cai.rundir.checkout import checkout, has_run, working_copy
from cai.rundir.origin import location, read_origin

SEED = click.IntRange(0, 2**63 - 1)


class Count(click.IntRange):
    """A whole number of things, `least` or more, and no more than 32 bits: what every library behind cai can take."""

    def __init__(self, least: int = 1) -> None:
        super().__init__(least)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what no library can take, which would end in its traceback."""
        number = super().convert(value, param, ctx)
        if number >= 2**31:
            self.fail(f"{value} is more than can be counted here.", param, ctx)
        return number


SAMPLES = click.IntRange(1, 100)
"""Responses a prompt. Each is compared with each: a thousand would be half a million judgements a prompt."""

ROUNDS = click.IntRange(0, 100)


class FiniteRange(click.FloatRange):
    """A range of numbers that are numbers: neither nan nor inf."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is not finite before the range is looked at."""
        number = click.FLOAT.convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return super().convert(number, param, ctx)


def require_no_slip(kind: click.Path, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> None:
    """Refuse a path that was meant as a URL, as `s3:/bucket/run` was."""
    if isinstance(value, str) and is_almost_url(value):
        kind.fail(
            f"{value} looks like a URL with one slash, or without a name; write it like s3://bucket/folder, or "
            f"./{value} if you mean a path.",
            param,
            ctx,
        )


class WrittenPath(click.Path):
    """A path as a person writes it, in a config file too, where no shell reads it first: `~` is the home."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty name, which would be the working directory, whatever lies there."""
        if value == "":
            self.fail("the name is empty; give one, or leave the option out.", param, ctx)
        return super().convert(str(expand(value)) if isinstance(value, str) else value, param, ctx)


EXISTING_FOLDER = WrittenPath(file_okay=False, exists=True, path_type=Path)


class LocalFolder(WrittenPath):
    """A directory on this machine, where no URL will do."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a URL, which would otherwise become a directory with a strange name."""
        if isinstance(value, str) and is_url(value):
            self.fail(f"{value} is a URL; give a directory on this machine (only runs may be at a URL).", param, ctx)
        require_no_slip(self, value, param, ctx)
        return super().convert(value, param, ctx)


LOCAL_FOLDER = LocalFolder(path_type=Path)


class NewRun(WrittenPath):
    """Where a run is written: a directory, or a URL, which becomes its working copy here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the directory to write in; asks nobody whether the URL can be reached."""
        if isinstance(value, str) and (named := DataSource.parse(value)).is_url:
            return working_copy(str(named))
        require_no_slip(self, value, param, ctx)
        return super().convert(value, param, ctx)


class ExistingRun(WrittenPath):
    """A run to be read, likewise."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the directory to read from, with all that is at the URL; raises as `checkout` does."""
        if isinstance(value, str) and (named := DataSource.parse(value)).is_url:
            return checkout(str(named))
        require_no_slip(self, value, param, ctx)
        return super().convert(value, param, ctx)


NEW_RUN = NewRun(path_type=Path)
EXISTING_RUN = ExistingRun(file_okay=False, exists=True, path_type=Path)

ENGINE_OPTION = click.option(
    "--engine-option",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of vLLM's engine, for vllm:MODEL, e.g. max-model-len=4096; may be repeated.",
)

THINKING_MODE = click.Choice(["off", "on", "auto"])

JUDGE_THINKING = click.option(
    "--judge-thinking",
    type=THINKING_MODE,
    default="off",
    show_default=True,
    help="Think before gates and judgements; labels are clamped to 40-60 %.",
)

JUDGE_CALIBRATION = click.option(
    "--judge-calibration",
    type=WrittenPath(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    help="Soft labels as sure as the judge may be: what `cai judge bench --calibrate` wrote of it.",
)

THINKING_BUDGET = click.option(
    "--thinking-budget", type=Count(), help="Tokens of thought beside those of a text (default: of the same)."
)

TEMPLATE_OPTION = click.option(
    "--template-option",
    multiple=True,
    metavar="KEY=VALUE",
    help="A variable of the model's chat template, e.g. reasoning_effort=low; may be repeated.",
)

RETRY_FAILED = click.option(
    "--retry-failed", is_flag=True, help="Ask again for what failed for good, now that the cause is mended."
)

QUIET = click.option("--quiet", is_flag=True, help="Do not tell on standard error how far the work is.")

Command = Callable[..., Any]
Group = Callable[[Command], Command]


def option_group(*options: Group) -> Group:
    """Return one decorator that adds options to a command, in the order in which its help shows them."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


engine_options = option_group(
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto."),
    click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16, float16 or auto."),
    click.option("--concurrency", type=Count(), help="Requests held at once (default: the engine's own)."),
    click.option(
        "--timeout",
        type=FiniteRange(0, min_open=True),
        default=600.0,
        show_default=True,
        help="Seconds a server may take over one request.",
    ),
    ENGINE_OPTION,
    TEMPLATE_OPTION,
)
"""The options that say how models are opened."""


judge_options = option_group(
    click.option(
        "--judge-principles",
        type=Count(),
        default=1,
        show_default=True,
        help="Principles drawn per pair; the preference is their mean.",
    ),
    click.option(
        "--judge-orders",
        type=click.Choice(["both", "one"]),
        default="both",
        show_default=True,
        help="Show each pair in both orders, or once: half the cost, position bias included.",
    ),
    click.option(
        "--judge-by",
        type=click.Choice(["logprobs", "text"]),
        default="logprobs",
        show_default=True,
        help="Read the letters' probabilities, or the answer's text where a server has no log-probabilities.",
    ),
    click.option(
        "--judge-reasoning",
        is_flag=True,
        help="Let the judge write down reasons first; labels are clamped to 40-60 %.",
    ),
    JUDGE_THINKING,
    JUDGE_CALIBRATION,
)
"""The options that say how pairs are judged."""


ranking_options = option_group(
    click.option("--rank", is_flag=True, help="Compare every answer of a prompt with every other, and rank them."),
    click.option("--rank-budget", type=Count(), help="Comparisons a prompt at most; those that tell most come first."),
)
"""The options that say how many of a prompt's answers are compared."""


sampling_options = option_group(
    click.option("--temperature", type=FiniteRange(0), default=1.0, show_default=True),
    click.option("--top-p", type=FiniteRange(0, 1, min_open=True), default=1.0, show_default=True),
    click.option("--top-k", type=Count(), help="Draw from so many tokens, the likeliest (default: all)."),
    click.option(
        "--min-p",
        type=FiniteRange(0, 1),
        default=0.0,
        show_default=True,
        help="Leave out tokens less likely than this times the likeliest.",
    ),
    click.option(
        "--repetition-penalty",
        type=FiniteRange(0, min_open=True),
        default=1.0,
        show_default=True,
        help="Above 1, tokens that were there become less likely.",
    ),
    click.option("--stop", multiple=True, metavar="TEXT", help="End a text before this; may be repeated."),
)
"""The options that say how the model's texts are drawn."""


revision_options = option_group(
    click.option(
        "--revise-temperature",
        type=FiniteRange(0),
        help="Of critiques and revisions (default: that of responses, as in the paper).",
    ),
    click.option("--revise-top-p", type=FiniteRange(0, 1, min_open=True), help="Likewise."),
    click.option(
        "--critique-thinking",
        type=THINKING_MODE,
        help="Think before critiques and revisions (default: as --thinking).",
    ),
)
"""The options that say how critiques and revisions are drawn."""


thinking_options = option_group(
    click.option(
        "--thinking",
        type=THINKING_MODE,
        default="auto",
        show_default=True,
        help="Think before responses, or not; auto: as the model does by itself.",
    ),
    THINKING_BUDGET,
)
"""The options that say whether a model thinks before it answers."""


cluster_options = option_group(
    click.option("--cluster", metavar="auto|local|HOST:PORT", help="Make the rows on a Ray cluster (cai[ray])."),
    click.option("--replicas", type=Count(), help="Copies of the models on the cluster (default: 1)."),
    click.option("--gpus-per-replica", type=FiniteRange(0), help="GPUs for each, or a part of one (default: 0)."),
)
"""The options that say where rows are made."""


check_options = option_group(
    click.option(
        "--judge-check/--no-judge-check",
        default=True,
        show_default=True,
        help="Test the judge on pairs whose better answer is known, for a minute at most.",
    ),
    click.option("--strict", is_flag=True, help="Make nothing with a judge that the test finds unfit."),
)
"""The options that say whether the judge is tested first."""


def take_check_settings(options: dict[str, Any]) -> CheckSettings:
    """Move the options of the judge's test out of a command's options."""
    return CheckSettings(**{name: options.pop(name) for name in CheckSettings.__dataclass_fields__})


def take_cluster_settings(options: dict[str, Any]) -> ClusterSettings:
    """Move the cluster's options out of a command's options; raises UsageError when they make no sense."""
    return cluster_settings(*(options.pop(name) for name in ("cluster", "replicas", "gpus_per_replica")))


def take_engine_settings(options: dict[str, Any]) -> EngineSettings:
    """Move the engine options out of a command's options."""
    return EngineSettings(**{name: options.pop(name) for name in EngineSettings.__dataclass_fields__})


def take_judge_settings(options: dict[str, Any]) -> JudgeSettings:
    """Move the judge options out of a command's options."""
    return JudgeSettings(**{name: options.pop(name) for name in JudgeSettings.__dataclass_fields__})


def take_ranking_settings(options: dict[str, Any]) -> RankingSettings:
    """Move the ranking options out of a command's options."""
    return RankingSettings(**{name: options.pop(name) for name in RankingSettings.__dataclass_fields__})


def confirm_fresh(directory: Path) -> None:
    """Ask on a terminal whether a run may be discarded; raises click.Abort on no. In a script `--fresh` is a yes.

    Only what cai wrote is ever discarded (`cai.rundir.claim`); there is nothing to ask where that is nothing.
    """
    if not sys.stdin.isatty():
        return
    origin = read_origin(directory)
    if has_run(origin.url) if origin is not None else kind_of(directory) is not None:
        confirm(f"{location(directory)} holds a run; discard it and start over?")
