"""What a run cannot show, in plain words: each sentence is there because the rows, or what was recorded, say so."""

from collections.abc import Iterator

from cai.core.shares import sign_test, wilson
from cai.method.judge_check import FEWEST_PAIRS
from cai.report.document import Block, Cell, Listing, Paragraph, Section
from cai.report.linking import Linker
from cai.report.run_facts import PLACES, RowFacts
from cai.report.shares import PromptShare
from cai.rundir.manifest import Manifest

SMALL = 100
"""Prompts below which shares are rough: the interval of one half is wider than twenty points."""


def limits_of_run(link: Linker, manifest: Manifest, facts: RowFacts, *, validated: bool, benched: bool) -> Section:
    """Return the section of a run; `validated`: people labelled some of it; `benched`: its judge has a bench."""
    items = [*_of_rows(link, manifest, facts), *_of_judge(link, manifest, facts, benched=benched)]
    texts = link.texts
    if not validated:
        items.append(Cell(texts("limits.not-validated")))
    elif not any(_is_corrected(share) for _, share in facts.shares.below("")):
        items.append(Cell(texts("limits.not-corrected")))
    items.append(Cell(texts("limits.one-seed", seed=manifest.identity.get("seed", "0"))))
    blocks: list[Block] = [Paragraph(texts("limits.note")), Listing(items)]
    return Section(link.anchor("limits"), link.title("limits.title"), blocks)


def _is_corrected(share: PromptShare) -> bool:
    return share.corrected is not None and share.corrected.value is not None


def _of_rows(link: Linker, manifest: Manifest, facts: RowFacts) -> Iterator[Cell]:
    texts, tallies = link.texts, facts.tallies
    rows = tallies["rows"]
    if manifest.status != "done":
        yield Cell(texts("limits.not-done", status=texts.term(manifest.status)))
    if rows.count < SMALL:
        yield link.of(texts("limits.small", rows=f"{rows.count:,}"), "rows", rows)
    for name in ("failed prompts", "failed parts"):
        if tallies[name].count:
            yield link.of(texts(f"limits.{name}", count=f"{tallies[name].count:,}"), name, tallies[name])
    for reason, tally in tallies.below("left out: "):
        told = texts("limits.left-out", count=f"{tally.count:,}", reason=texts.term(reason))
        yield link.of(told, f"left out: {reason}", tally)
    for part, whole in (
        ("responses cut", "responses"),
        ("revisions cut", "revisions"),
        ("gates unanswered", "gates"),
        ("verdicts not decided", "verdicts"),
    ):
        if tallies[part].count:
            counts = {"count": f"{tallies[part].count:,}", "whole": f"{tallies[whole].count:,}"}
            yield link.of(texts(f"limits.{part}", **counts), part, tallies[part])
    few = [name for name, share in facts.shares.below("kept: ") if share.interval is None]
    if few:
        yield Cell(texts("limits.few-gates", principles=", ".join(few)))
    longer, shorter = (tallies[f"chosen {which}"] for which in ("longer", "shorter"))
    if longer.count > shorter.count and sign_test(longer.count, shorter.count) < 0.05:
        counts = {"count": f"{longer.count:,}", "whole": f"{longer.count + shorter.count:,}"}
        yield link.of(texts("limits.longer", **counts), "chosen longer", longer)
    if tallies["personal data"].count:
        told = texts("limits.personal", count=f"{tallies['personal data'].count:,}")
        yield link.of(told, "personal data", tallies["personal data"])
    if any(writer.dirty for writer in manifest.writers):
        yield Cell(texts("limits.dirty"))


def _of_judge(link: Linker, manifest: Manifest, facts: RowFacts, *, benched: bool) -> Iterator[Cell]:
    texts, check = link.texts, manifest.judge_check
    if facts.tallies["gates"].count:
        yield Cell(texts("limits.own-gate"))
    if facts.is_own_judge:
        yield Cell(texts("limits.own-judge"))
    places = [facts.tallies[f"both orders: {place}"] for place in PLACES]
    whole, same = facts.tallies["both orders"].count, sum(tally.count for tally in places)
    if whole and 2 * same >= whole:
        larger = max(PLACES, key=lambda place: facts.tallies[f"both orders: {place}"].count)
        told = texts("limits.positions", count=f"{same:,}", whole=f"{whole:,}")
        yield link.of(told, f"both orders: {larger}", facts.tallies[f"both orders: {larger}"])
    if check is None:
        if not benched:
            yield Cell(texts("limits.not-tested"))
    elif check.answered >= FEWEST_PAIRS and wilson(check.right, check.answered).low <= 0.5:
        told = texts("limits.guesses", right=f"{check.right:g}", whole=f"{check.answered:,}")
        yield link.recorded(told, "run.json: judge_check")
