"""`cai constitution list | show NAME | check FILE… | schema`, and beside them `cai constitution tenets`."""

from collections.abc import Sequence

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from cai.cli.screen import Screen, assembled, shown
from cai.cli.tenets import tenets
from cai.cli.terminal import print_json, say
from cai.constitution import (
    Constitution,
    Principle,
    Source,
    json_schema,
    load_sources,
    origins,
    resolve,
    shipped_constitutions,
)
from cai.constitution.lint import lint
from cai.core.counts import counted
from cai.core.errors import ConstitutionError

_COLOURS = {"critical": "red", "major": "yellow", "minor": "cyan"}


@click.group()
def constitution() -> None:
    """List, show and check constitutions; split them into tenets."""


constitution.add_command(tenets)


@constitution.command("list")
def list_() -> None:
    """List the constitutions that come with cai."""
    table = Table(box=None, pad_edge=False)
    for column in ("name", "version", "language", "principles", "extends"):
        table.add_column(column, no_wrap=True)
    table.add_column("summary")
    for name in shipped_constitutions():
        resolved = resolve(load_sources(name))
        extends = ", ".join(resolved.extends) or "-"
        count = str(len(resolved.principles))
        cells = (resolved.name, resolved.version, resolved.language, count, extends, resolved.summary or "")
        table.add_row(*map(shown, cells))
    Screen().print(table)


@constitution.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, with the file each principle comes from.")
def show(name: str, *, as_json: bool) -> None:
    """Print the constitution NAME (a path or a shipped name) with all it extends."""
    sources = load_sources(name)
    resolved = resolve(sources)
    if as_json:
        print_json(_plain(sources, resolved), indent=True)
        return
    console = Screen()
    facts = f" {resolved.version} · language {resolved.language} · fingerprint {resolved.fingerprint}"
    console.print(assembled((resolved.name, "bold"), facts))
    if resolved.summary:
        console.print(shown(resolved.summary))
    plan = resolved.revision
    gate = "gate first" if plan.gate else "no gate"
    console.print(shown(f"revision: {plan.schedule}, {_count(plan.rounds, 'round')}, {gate}, form {plan.form}"))
    console.print(shown(f"prompts: {resolved.prompts or 'none'} · exemplars: {len(resolved.exemplars)}"))
    places = origins(sources)
    for principle in resolved.principles:
        source, line = places[principle.id]
        _print_principle(console, principle, f"{source.path}:{line}")


@constitution.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.pass_context
def check(context: click.Context, files: tuple[str, ...]) -> None:
    """Check that each FILE is a constitution, and look for what its author cannot have meant.

    Exit code 0: valid, perhaps with warnings; 2: at least one FILE has a mistake.
    """
    wrong = False
    for name in files:
        try:
            sources = load_sources(name)
        except ConstitutionError as error:
            wrong = True
            say(f"{name}: {error}" if "\n" in str(error) else str(error))
            continue
        remarks = lint(sources)
        for remark in remarks:
            say(f"{remark.path}:{remark.line}: warning: {remark.message}")
        principles = _count(len(resolve(sources).principles), "principle")
        say(f"{sources[-1].path}: valid, {principles}, {_count(len(remarks), 'warning')}")
    if wrong:
        context.exit(2)


@constitution.command()
def schema() -> None:
    """Print the JSON Schema of constitution files, for editors."""
    print_json(json_schema(), indent=True)


def _count(number: int, thing: str) -> str:
    return counted(number, thing) if number else f"no {thing}s"


def _plain(sources: Sequence[Source], resolved: Constitution) -> dict[str, object]:
    files = {name: str(source.path) for name, (source, _) in origins(sources).items()}
    return {"fingerprint": resolved.fingerprint, **resolved.model_dump(mode="json"), "files": files}


def _print_principle(console: Console, principle: Principle, place: str) -> None:
    severity = str(principle.severity)
    colour = _COLOURS[severity]
    head = assembled("\n", (principle.id, "bold"), "  ", (severity, colour), f"  weight {principle.weight:g}")
    if principle.applies_to is not None:
        head.append(f"  applies to {', '.join(principle.applies_to) or 'nothing'}")
    console.print(head.append(f"  {place}", style="dim"))
    console.print(Padding(shown(principle.text), (0, 0, 0, 2), expand=False))
    for label, text in (
        ("critique", principle.critique),
        ("revision", principle.revision),
        ("preference", principle.preference),
    ):
        if text is not None:
            console.print(Padding(assembled((f"{label}: ", "dim"), text), (0, 0, 0, 2), expand=False))
