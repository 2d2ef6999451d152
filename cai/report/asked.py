"""What was asked: the constitution, the models, the settings, who wrote it and when, as the directory records it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cai.constitution import Constitution
from cai.report.catalogue import Catalogue
from cai.report.document import Block, Cell, Heading, Paragraph, Section, Table
from cai.report.linking import Linker
from cai.rundir.manifest import Manifest, Writer

NAMES = ("constitution", "judge-constitution", "model", "responders", "judge", "templates", "judge-templates", "seed")
"""Entries of an identity that the report names in words; the others are settings, under the options' names."""


def asked_of_run(link: Linker, manifest: Manifest) -> Section:
    """Return the section of a run."""
    texts = link.texts
    facts = [
        *_named(texts, manifest.identity),
        (texts("asked.prompts"), prompts_of(texts, manifest.settings)),
        (texts("asked.inputs"), manifest.inputs),
        (texts("asked.status"), texts.term(manifest.status)),
        (texts("asked.started"), manifest.started),
        (texts("asked.updated"), manifest.updated),
        (texts("asked.written"), written_by(manifest.writers, texts)),
    ]
    blocks: list[Block] = [
        Paragraph(texts("asked.run")),
        facts_table(texts, facts),
        *constitution_blocks(texts, manifest.settings.get("resolved_constitution")),
        Heading(texts("asked.settings")),
        Paragraph(texts("asked.settings-note"), "note"),
        settings_table(texts, {key: value for key, value in manifest.identity.items() if key not in NAMES}),
    ]
    return Section(link.anchor("asked"), link.title("asked.title"), blocks)


def prompts_of(texts: Catalogue, recorded: Mapping[str, Any]) -> str:
    """Return where prompts came from, with version, licence and citation of the public sets among them."""
    named = recorded.get("prompts")
    places = [named] if isinstance(named, str) else named or [texts("asked.own-prompts")]
    return "; ".join([*map(str, places), *licences_of(recorded)])


def licences_of(recorded: Mapping[str, Any]) -> list[str]:
    """Return what was recorded of public sets, a text each."""
    return [
        f"{one['title']} {one['version']}, {one['licence']} ({one['citation']})"
        for one in recorded.get("public_sets", ())
    ]


def _named(texts: Catalogue, identity: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in NAMES:
        if name in identity:
            yield texts(f"asked.{name}"), identity[name]


def facts_table(texts: Catalogue, facts: Sequence[tuple[str, str]], caption: str = "asked.facts") -> Table:
    """Return a table of a name and a text a row."""
    rows = [[Cell(name), Cell(value, None, "code")] for name, value in facts]
    return Table(texts(caption), (texts("asked.what"), texts("asked.value")), rows)


def settings_table(texts: Catalogue, identity: Mapping[str, str]) -> Table:
    """Return a table of settings under the options' names."""
    rows = [[Cell(name, None, "code"), Cell(value, None, "code")] for name, value in identity.items()]
    return Table(texts("asked.settings"), (texts("asked.option"), texts("asked.value")), rows)


def written_by(writers: Sequence[Writer], texts: Catalogue) -> str:
    """Return the versions of cai that wrote, each with its commit."""
    return "; ".join(
        f"cai {writer.cai}"
        + (f", commit {writer.commit}" if writer.commit else "")
        + (f" ({texts('asked.dirty')})" if writer.dirty else "")
        for writer in writers
    )


def constitution_blocks(texts: Catalogue, recorded: Any) -> list[Block]:
    """Return the principles that were in force, or a sentence where nobody wrote them down."""
    try:
        constitution = Constitution.model_validate(recorded)
    except ValueError:  # pydantic's are of that kind
        return [Heading(texts("asked.principles")), Paragraph(texts("asked.no-principles"), "warning")]
    rows = [
        [
            Cell(principle.id, None, "code"),
            Cell(principle.text),
            Cell(texts.term(principle.severity)),
            Cell(f"{principle.weight:g}", None, "number"),
            Cell(", ".join(principle.applies_to) if principle.applies_to else texts("asked.every-prompt")),
        ]
        for principle in constitution.principles
    ]
    head = [texts(f"asked.head.{name}") for name in ("principle", "text", "severity", "weight", "applies")]
    return [
        Heading(texts("asked.principles")),
        Paragraph(texts("asked.fingerprint", label=constitution.label)),
        Table(texts("asked.principles-of", label=constitution.label), head, rows),
    ]
