"""The YAML file (`--config`) that may set any of a command's options.

It has the names of the command's long options, without the dashes; what stands on the command line wins. Its values are
taken as they are written, as if they had been typed: `out: no` is a directory of that name.
"""

import difflib
from pathlib import Path
from typing import NamedTuple

import click

from cai.cli.options import Command, WrittenPath
from cai.core.yamlfile import Problem, YamlFile, read_yaml


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
    set_by: dict[str, str] = {}
    names = _names(ctx.command)
    for name, value in data.items():
        line = file.line((name,))
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(Problem(line, f"unknown option {name!r}{hint}"))
            continue
        if value is None:
            continue
        option = str(names[name].option.name)
        if set_by.setdefault(option, name) != name:
            problems.append(Problem(line, f"{name} and {set_by[option]} are one option; keep one of them"))
            continue
        try:
            defaults[option] = _typed(ctx, names[name], file, name)
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
