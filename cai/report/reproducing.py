"""How a run or a loop is made again: the command line that its recorded settings are, and how to check its rows."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cai.core.addresses import DataSource
from cai.core.settings import plain
from cai.generate.settings import GenerateSettings
from cai.judging.settings import RejudgeSettings
from cai.loop.recorded import loop_options
from cai.loop.settings import LoopSettings
from cai.report.asked import facts_table, written_by
from cai.report.document import Block, Commands, Paragraph, Section
from cai.report.linking import Linker
from cai.report.run_facts import RowFacts
from cai.rundir.manifest import Manifest

PASSING = frozenset({"fresh", "retry_failed", "resolved_constitution", "public_sets"})
"""Settings that are none of the rows' : what a process does first, and what the constitution was."""


def reproducing_run(link: Linker, manifest: Manifest, facts: RowFacts) -> Section:
    """Return the section of a run."""
    texts, recorded = link.texts, manifest.settings
    lines = [command_of_run(recorded)]
    hashes = [
        (texts("again.rows"), f"sha256 {facts.fingerprint}"),
        (texts("again.inputs"), manifest.inputs),
        *(
            (name, manifest.identity[name])
            for name in ("constitution", "templates", "model", "judge")
            if name in manifest.identity
        ),
        (texts("asked.written"), written_by(manifest.writers, texts)),
    ]
    blocks: list[Block] = [
        Paragraph(texts("again.note")),
        Commands([*lines, link.command()]),
        facts_table(texts, hashes, "again.hashes"),
        Paragraph(texts("again.hash-note"), "note"),
    ]
    return Section(link.anchor("again"), link.title("again.title"), blocks)


def reproducing_loop(link: Linker, recorded: Mapping[str, Any] | None) -> Section:
    """Return the section of a loop; `recorded` are its settings, None where it was made before they were kept."""
    texts, commands = link.texts, [link.command()]
    if recorded is not None:
        usual = {**loop_options(LoopSettings(constitution="")), "constitution": None}
        commands.insert(0, command_line("cai loop", [], recorded, usual))
    note = texts("again.loop-note" if recorded is not None else "again.loop-unknown")
    return Section(link.anchor("again"), link.title("again.title"), [Paragraph(note), Commands(commands)])


def command_of_run(recorded: Mapping[str, Any]) -> str:
    """Return the command line that a run's settings are: `cai generate`, or `cai judge` of another run's rows."""
    if "data" in recorded:
        usual = plain(RejudgeSettings(DataSource.parse(str(recorded["data"]))))
        own = {name: value for name, value in recorded.items() if name in usual and name != "data"}
        return command_line("cai judge", [str(recorded["data"])], own, usual)
    usual = plain(GenerateSettings(constitution=str(recorded.get("constitution"))))
    usual["constitution"] = None
    return command_line("cai generate", [], recorded, usual)


def command_line(command: str, arguments: Sequence[str], recorded: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """Return a command with the options whose values are not the usual ones, quoted for a shell."""
    words = [command, *map(shlex.quote, arguments)]
    for name, value in recorded.items():
        if name in PASSING or value is None or value in ([], "") or value == usual.get(name):
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        elif isinstance(value, list):
            words += [f"{option} {shlex.quote(str(item))}" for item in value]
        else:
            words.append(f"{option} {shlex.quote(str(value))}")
    return " ".join(words)
