"""Options that several commands share, and the YAML file (`--config`) that may set any of them.

A config file has the names of the command's long options, without the dashes; what stands on the command line wins. Its
values are taken as they are written, as if they had been typed: `out: no` is a directory of that name.
"""

import difflib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from cai.core.paths import expand
from cai.core.urls import is_almost_url, is_url
from cai.core.yamlfile import Problem, YamlFile, read_yaml
from cai.method.settings import JudgeSettings
from cai.models.settings import EngineSettings

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

ENGINE_OPTION = click.option(
    "--engine-option",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of vLLM's engine, for vllm:MODEL, e.g. max-model-len=4096; may be repeated.",
)

RETRY_FAILED = click.option(
    "--retry-failed", is_flag=True, help="Ask again for what failed for good, now that the cause is mended."
)

Command = TypeVar("Command", bound=Callable[..., Any])


def engine_options(command: Command) -> Command:
    """Add the options that say how models are opened."""
    for option in reversed(
        [
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
        ]
    ):
        command = option(command)
    return command


def judge_options(command: Command) -> Command:
    """Add the options that say how pairs are judged."""
    for option in reversed(
        [
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
                "--judge-reasoning", is_flag=True, help="Let the judge think first; labels are clamped to 40-60 %."
            ),
        ]
    ):
        command = option(command)
    return command


def take_engine_settings(options: dict[str, Any]) -> EngineSettings:
    """Move the engine options out of a command's options."""
    return EngineSettings(**{name: options.pop(name) for name in EngineSettings.__dataclass_fields__})


def take_judge_settings(options: dict[str, Any]) -> JudgeSettings:
    """Move the judge options out of a command's options."""
    return JudgeSettings(**{name: options.pop(name) for name in JudgeSettings.__dataclass_fields__})


def config_option(command: Command) -> Command:
    """Add `--config FILE`."""
    return click.option(
        "--config",
        type=WrittenPath(dir_okay=False, exists=True, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="YAML file with this command's options; the command line wins.",
    )(command)


def _read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Make a file's values the defaults of the command that is being parsed, as if they had been typed."""
    if path is None:
        return
    file = read_yaml(path)
    problems = list(file.problems)
    data = file.data if isinstance(file.data, dict) and not problems else {}
    if not problems and file.data is not data:
        problems.append(Problem(1, "expected a mapping of option names to values"))
    defaults: dict[str, str | list[str]] = {}
    names = _names(ctx.command)
    for name, value in data.items():
        line = file.line((name,))
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(Problem(line, f"unknown option {name!r}{hint}"))
        elif value is not None:
            try:
                defaults[str(names[name].option.name)] = _typed(ctx, names[name], file, name)
            except click.BadParameter as error:
                problems.append(Problem(line, f"{name}: {error.message}"))
    if problems:
        raise click.UsageError("; ".join(file.describe(problem) for problem in sorted(problems)), ctx)
    ctx.default_map = defaults


class _Spelling(NamedTuple):
    """A long option's name: what it sets, and whether it says no (`--no-gate`)."""

    option: click.Option
    inverted: bool


def _typed(ctx: click.Context, spelling: _Spelling, file: YamlFile, name: str) -> str | list[str]:
    """Return what would have been typed for an option that a file sets; raises click.BadParameter."""
    value, option = file.data[name], spelling.option
    items = value if option.multiple and isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) for item in items):
        raise click.BadParameter("takes one value")
    if items is value:
        said = [file.spellings[name, number] for number in range(len(items))]
    elif not spelling.inverted:
        said = [file.spellings[(name,)]]
    elif isinstance(value, bool):
        said = [str(not value)]
    else:
        raise click.BadParameter("is true or false")
    for item in said:
        option.type(item, option, ctx)
    return said if option.multiple else said[0]


def _names(command: click.Command) -> dict[str, _Spelling]:
    """Return the long names of a command's options."""
    return {
        spelled.removeprefix("--"): _Spelling(option, spelled in option.secondary_opts)
        for option in command.params
        if isinstance(option, click.Option) and option.name != "config"
        for spelled in (*option.opts, *option.secondary_opts)
        if spelled.startswith("--")
    }
