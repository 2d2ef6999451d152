"""The public API beside the command line: the same names, defaults and limits; light, short, documented."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

import cai
from cai.api.options import GIVEN, checked
from cai.api.training import own_options
from cai.cli.main import COMMANDS
from cai.cli.main import cai as command_line
from cai.core import errors
from tests.test_architecture import HEAVY

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "generate": cai.generate,
    "judge": cai.judge,
    "judge bench": cai.judge_bench,
    "evaluate": cai.evaluate,
    "loop": cai.loop,
    "advise": cai.advise,
    "train": cai.train,
    "check": cai.check,
    "abtest plan": cai.plan_abtest,
    "abtest read": cai.read_abtest,
    "review": cai.review,
    "report": cai.report,
    "export": cai.Run.export,
    "drop": cai.Run.drop,
    "feedback import": cai.Run.import_feedback,
    "constitution tenets": cai.draft_tenets,
    "models check": cai.check_model,
    "models convert": cai.convert_model,
}
OTHERWISE = {
    "show": "iterating over a Run",
    "constitution list": "about the terminal",
    "constitution show": "load_constitution",
    "constitution check": "check_constitution",
    "constitution schema": "a file for editors",
    "completion": "about the terminal",
}
LEFT_OUT = {
    "as_json": "about the terminal",
    "agreement": "cai.agreement",
    "config": "a Python program is its own file",
    "dry_run": "cai.plan",
    "show": "DataCheck.findings",
    "rows": "Report.rows",
    "quiet": "progress=False",
    "speed_prompt": "Plan.estimate has the tokens, to divide and multiply",
    "speed_completion": "the same",
    "price_prompt": "the same",
    "price_completion": "the same",
}
CALLED = {"spec": "model"}
"""Arguments that a shell shows by another name."""
OWN = {"self", "method", "own", "progress", "run"}
"""What the command line has as words, what methods from elsewhere have, and progress, which it draws on a terminal."""


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group) and command.params:  # `cai judge RUN`, which has commands beside it
            yield f"{before}{name}", command
        if isinstance(command, click.Group) and name != "train":
            yield from commands(command, f"{before}{name} ")
        elif isinstance(command, click.Group):
            for method in command.list_commands(context):
                found = command.get_command(context, method)
                assert found is not None
                yield "train", found
        else:
            assert command is not None
            yield f"{before}{name}", command


ALL = list(commands(command_line))


def options_of(name: str) -> list[tuple[str, click.Parameter]]:
    """Return the options of a command, or of all its methods, under the names that a function has for them."""
    return [
        (CALLED.get(str(option.name), str(option.name)), option)
        for told, command in ALL
        if told == name
        for option in command.params
        if option.name not in LEFT_OUT or (name == "report" and str(option.name).startswith("price"))
    ]


def test_every_command_is_a_function_or_said_to_be_something_else() -> None:
    assert {name for name, _ in ALL} == {*FUNCTIONS, *OTHERWISE}
    assert set(COMMANDS) == {name.split()[0] for name in (*FUNCTIONS, *OTHERWISE)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_names_and_defaults_are_those_of_the_command_line(name: str) -> None:
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    told = {option: default_of(parameter) for option, parameter in options_of(name) if option in parameters}
    assert {option: parameters[option].default for option in told} == told
    assert {*parameters} - OWN == {option for option, _ in options_of(name)} - OWN


def default_of(option: click.Parameter) -> Any:
    """Return what a function should have as the default of an option."""
    if option.required:
        return inspect.Parameter.empty
    default = option.get_default(click.Context(click.Command("any")))
    if "UNSET" in str(default):  # click's own way to say that there is none
        default = None
    if isinstance(option, click.Option) and option.is_flag and not option.secondary_opts:
        return bool(default)
    return () if getattr(option, "multiple", False) and default is None else default


def test_a_method_has_the_options_of_its_command() -> None:
    train = command_line.get_command(click.Context(command_line), "train")
    assert isinstance(train, click.Group)
    everywhere = {option for option, _ in options_of("train")} - {*own_options()}
    context = click.Context(train)
    for name in train.list_commands(context):
        command = train.get_command(context, name)
        assert command is not None
        own = {option for option, methods in own_options().items() if name in methods}
        assert {option.name for option in command.params} - {*LEFT_OUT} == everywhere | own, name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_is_in_the_docstring(name: str) -> None:
    told = inspect.getdoc(FUNCTIONS[name]) or ""
    parameters = set(inspect.signature(FUNCTIONS[name]).parameters) - {"self", "method", "run"}
    assert {one for one in parameters if f"`{one}" not in told} == set()


def limits(option: click.Parameter) -> Iterator[tuple[Any, bool]]:
    """Yield values at and beyond the limits of an option, and whether it takes them."""
    kind = option.type
    if isinstance(kind, click.Choice):
        yield from ((choice, True) for choice in kind.choices)
        yield "nonsense", False
    elif isinstance(kind, click.IntRange | click.FloatRange):
        whole = isinstance(kind, click.IntRange)
        step = 1 if whole else 0.001
        if kind.min is not None:
            yield kind.min, not kind.min_open
            yield kind.min + step, True
            yield kind.min - step, False
        if kind.max is not None:
            yield kind.max, not kind.max_open
            yield kind.max + step, False
        elif whole:  # cai.cli.options.Count
            yield 2**31, False
        yield "1", False
        yield from () if whole else ((float("nan"), False), (float("inf"), False))
        yield from ((1.5, False),) if whole else ()


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("export", "drop", "feedback import")])
def test_what_an_option_takes_is_what_the_command_line_takes(name: str) -> None:
    function = FUNCTIONS[name]
    needed = {"constitution": "medical", "data": "x", "file": "x", "out": "x", "models": "tiny", "run": "x"}
    needed |= {"feedback": "x", "new": "x", "old": "y"}
    needed["directory"] = "x"
    needed["method"] = "sft"
    given = {
        parameter.name: needed.get(parameter.name) if parameter.default is parameter.empty else parameter.default
        for parameter in inspect.signature(function).parameters.values()
    }
    checked(function, given)
    for option, parameter in options_of(name):
        for one, taken in limits(parameter):
            value = (one,) if getattr(parameter, "multiple", False) else one
            if taken:
                checked(function, given | {option: value})
            else:
                with pytest.raises(errors.UsageError, match=f": {option} is "):
                    checked(function, given | {option: value})
        if option not in GIVEN:
            with pytest.raises(errors.UsageError, match=f": {option} is "):
                checked(function, given | {option: object()})


def test_the_names_are_there_and_no_others() -> None:
    assert sorted(cai.__all__) == cai.__all__
    assert {*cai.__all__} == {*dir(cai)}
    for name in cai.__all__:
        assert inspect.getdoc(getattr(cai, name)), name
    with pytest.raises(AttributeError, match="'cai' has no attribute 'nonsense'"):
        _ = cai.nonsense  # type: ignore[attr-defined]


def test_a_function_keeps_its_name_although_a_package_has_it_too() -> None:
    program = (
        "import cai.generate.plan, cai.train.settings, cai.loop.settings, cai.evaluate.settings, sys, types\n"
        "import cai\n"
        "for function in (cai.generate, cai.train, cai.loop, cai.evaluate):\n"
        "    assert isinstance(function, types.FunctionType)\n"
        "import cai.generate.run\n"
        "from cai.generate.run import generate\n"
        "assert cai.generate.__module__ == 'cai.api.generation', cai.generate\n"
        "assert isinstance(sys.modules['cai.generate'], types.ModuleType)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_cai_imports_nothing() -> None:
    program = (
        "import sys\nbefore = set(sys.modules)\nimport cai\n"
        "new = set(sys.modules) - before\n"
        "assert {name for name in new if name.startswith('cai')} == {'cai'}, new\n"
        "assert len(new) < 40, new\n"
        "cai.__version__, cai.errors.UsageError\n"
        f"heavy = ({HEAVY} | {{'asyncio'}}) & set(sys.modules)\nassert not heavy, heavy\n"
        "cai.generate, cai.Run\n"
        f"heavy = ({HEAVY} - {{'pydantic', 'rich'}}) & set(sys.modules)\nassert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_error_is_told_on_one_page() -> None:
    kinds = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.CaiError)
    }
    assert {*cai.errors.__all__} == kinds
    page = cai.errors.__doc__ or ""
    for name in kinds:
        assert f"{name} " in page
        assert getattr(cai.errors, name) is getattr(errors, name)
