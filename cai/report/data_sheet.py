"""An outline of the data sheet that laws ask for, filled from what the run knows and left open where it does not know.

The fields are those of the European Commission's template for the public summary of training content (Regulation (EU)
2024/1689, Article 53(1)(d); published on 24 July 2025, adopted as C(2025) 8311 on 5 December 2025): 1 general
information, 2 list of data sources, 3 data processing aspects; and what Korea's AI Basic Act (in force since 22 January
2026) asks of who offers high-impact AI: managed risks (Article 34(1)1), the results' main criteria and an overview of
the training data explained (34(1)2), users protected (34(1)3), people who oversee it (34(1)4) and documents (34(1)5);
and that what was generated says so (31(2)). An outline is no legal advice, and a field that cai cannot know says `not
stated`.
"""

from collections.abc import Iterator
from typing import NamedTuple

from cai.constitution import Constitution
from cai.report.asked import licences_of
from cai.report.document import Block, Cell, Paragraph, Section, Table
from cai.report.linking import Linker
from cai.report.run_facts import RowFacts
from cai.rundir.manifest import Manifest


class Field(NamedTuple):
    """One field: its key in the catalogue, where it is asked for, and what is known; None: nothing."""

    key: str
    asked_in: str
    known: Cell | None


def data_sheet(link: Linker, manifest: Manifest, facts: RowFacts) -> Section:
    """Return the section of a run."""
    texts = link.texts
    rows = [
        [
            Cell(texts(f"sheet.{field.key}")),
            Cell(field.asked_in),
            field.known or Cell(texts("sheet.not-stated"), None, "open"),
        ]
        for field in _fields(link, manifest, facts)
    ]
    head = [texts(f"sheet.head.{name}") for name in ("field", "asked", "known")]
    blocks: list[Block] = [
        Paragraph(texts("sheet.note")),
        Table(texts("sheet.title"), head, rows),
        Paragraph(texts("sheet.sources"), "note"),
    ]
    return Section(link.anchor("sheet"), link.title("sheet.title"), blocks)


def _fields(link: Linker, manifest: Manifest, facts: RowFacts) -> Iterator[Field]:
    texts, identity, rows = link.texts, manifest.identity, facts.tallies["rows"]
    models = " + ".join(value for name in ("model", "responders") if (value := identity.get(name, "")))
    prompts = manifest.settings.get("prompts")
    yield Field("provider", "EU 1.1", None)
    yield Field("model", "EU 1.2", Cell(models))
    yield Field("acquired", "EU 1.3", Cell(texts("sheet.between", first=manifest.started, last=manifest.updated)))
    yield Field("modality", "EU 1.3", Cell(texts("sheet.text-only")))
    yield Field("volume", "EU 1.3; KR 34(1)2", _volume(link, facts))
    yield Field("language", "EU 1.3", _language(link, manifest))
    yield Field("public", "EU 2.1", Cell(str(prompts)) if prompts else _shipped(link, manifest))
    yield Field("licensed", "EU 2.2", None)
    yield Field("crawled", "EU 2.3", Cell(texts("sheet.cai-crawls-nothing")))
    yield Field("users", "EU 2.4", None)
    told = texts("sheet.synthetic-by", models=models, rows=f"{rows.count:,}")
    yield Field("synthetic", "EU 2.5; KR 31(2)", link.of(told, "rows", rows))
    yield Field("other", "EU 2.6", None)
    yield Field("rights", "EU 3.1", None)
    licences = "; ".join(licences_of(manifest.settings))
    yield Field("licence", "EU 2", Cell(licences) if licences else None)
    yield Field("illegal", "EU 3.2", _filters(link, facts))
    yield Field("personal", "EU 3.3", _personal(link, facts))
    yield Field("criteria", "KR 34(1)2", Cell(identity.get("constitution", "")))
    yield Field("processing", "EU 3.3; KR 34(1)2", Cell(texts("sheet.processed")))
    yield Field("gaps", "KR 34(1)1", Cell(texts("sheet.see-limits")))
    yield Field("protection", "KR 34(1)3", None)
    yield Field("oversight", "KR 34(1)4", None)
    yield Field("kept", "KR 34(1)5", Cell(texts("sheet.kept-in", directory=link.directory)))


def _volume(link: Linker, facts: RowFacts) -> Cell:
    counts = {name: f"{facts.tallies[f'examples {name}'].count:,}" for name in ("sft", "preference", "ranking")}
    tokens = f"{facts.usage.completion_tokens:,}"
    told = link.texts("sheet.volume-of", rows=f"{facts.tallies['rows'].count:,}", tokens=tokens, **counts)
    return link.of(told, "rows", facts.tallies["rows"])


def _language(link: Linker, manifest: Manifest) -> Cell | None:
    try:
        constitution = Constitution.model_validate(manifest.settings.get("resolved_constitution"))
    except ValueError:
        return None
    return Cell(link.texts("sheet.language-of", language=constitution.language))


def _shipped(link: Linker, manifest: Manifest) -> Cell | None:
    recorded = manifest.settings.get("resolved_constitution")
    named = recorded.get("prompts") if isinstance(recorded, dict) else None
    return Cell(link.texts("sheet.shipped", name=named)) if isinstance(named, str) else None


def _filters(link: Linker, facts: RowFacts) -> Cell:
    counts = {}
    for outcome in ("left out", "cleaned", "reported"):
        found = [facts.tallies.below(f"filter {name}: {outcome}: ") for name in ("sft", "preference", "ranking")]
        counts[outcome.replace(" ", "_")] = f"{sum(tally.count for each in found for _, tally in each):,}"
    return Cell(link.texts("sheet.filtered", **counts))


def _personal(link: Linker, facts: RowFacts) -> Cell:
    tally = facts.tallies["personal data"]
    return link.of(link.texts("sheet.personal-found", count=f"{tally.count:,}"), "personal data", tally)
