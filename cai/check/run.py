"""`check`: the data read, measured and filtered, and written down where a directory is named."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from cai.check.directory import CheckDirectory
from cai.check.plan import DataCheckPlan, open_fluency
from cai.check.results import SHOWN, DataCheck, FilterFindings, filter_counts
from cai.data.drafts import readable_tags
from cai.data.examples.tables import Example
from cai.data.export.datasets import ExampleMaker, names_for
from cai.data.export.summary import ExportOptions
from cai.data.quality import CHOSEN, COMPLETION, REJECTED, Item, LedgerEntry, Quality, QualityPass, Record, shown_in
from cai.data.rows import BrokenRow
from cai.data.validation.collecting import CollectedSet, collect_set
from cai.data.validation.contamination import Contamination
from cai.data.validation.fluency import read_fluency
from cai.data.validation.items import BESIDE, CheckedItem, identity, item_of
from cai.data.validation.run_facts import read_run_facts
from cai.data.validation.set_findings import record_set_findings, rows_of
from cai.data.validation.table import validate
from cai.data.validation.truncation import Truncator
from cai.rundir import RunReader
from cai.rundir.files import refusal

_EVERY = 10.0
"""Seconds between two lines about how far it is."""

Say = Callable[[str], None]


def check(plan: DataCheckPlan, say: Say = lambda _: None) -> DataCheck:
    """Read the data and return what was found; `say` is told a line now and then.

    Raises UsageError or RunError as reading does, StoreError when the disk refuses.
    """
    findings, out = FilterFindings(), plan.settings.out
    try:
        with ExitStack() as stack:
            directory = None
            if out is not None:
                directory = CheckDirectory.open(out, plan.examples.name, fresh=plan.settings.fresh)
                stack.enter_context(closing(directory))

            def record(entry: LedgerEntry) -> None:
                findings.record(entry)
                if directory is not None:
                    directory.ledger.record(entry)

            found = _collect(plan, record, say)
            result = _result(plan, found, findings)
            if directory is not None:
                directory.finish(result.as_json(), result.as_markdown())
            return result
    except OSError as error:
        raise refusal(Path(error.filename or out or tempfile.gettempdir()), error) from error


def _collect(plan: DataCheckPlan, record: Record, say: Say) -> CollectedSet:
    examples = plan.examples
    found = collect_set(
        _filtered(plan, record),
        examples.kind,
        examples.layout,
        near_duplicates=plan.settings.near_duplicates,
        contamination=Contamination(plan.evaluation_prompts),
        truncator=_truncator(plan),
        tell=_telling(say),
    )
    if plan.run is not None:
        found.run = read_run_facts(plan.run.rows())
        _filter_run(plan.run, plan.quality, record)
    if plan.settings.fluency is not None:
        say(f"reading how fluent the answers are to {plan.settings.fluency}")
        model, least = open_fluency(plan.settings.fluency), plan.settings.least_fluency
        found.fluency = read_fluency(_items(plan), examples.kind, model, least, record, _telling(say))
    # Counts are known; without a ledger only what is shown has to be read again.
    most = SHOWN if plan.settings.out is None else None
    record_set_findings(_items(plan), found, plan.evaluation_prompts, record, most)
    return found


def _items(plan: DataCheckPlan) -> Iterator[CheckedItem]:
    examples = plan.examples
    return (item_of(example, examples.layout) for example in examples.examples(BESIDE) if isinstance(example, Example))


def _truncator(plan: DataCheckPlan) -> Truncator | None:
    length = plan.settings.max_length
    return None if length is None else Truncator(plan.tokenizer, length)


def _filtered(plan: DataCheckPlan, record: Record) -> Iterator[Example | BrokenRow]:
    """Yield every example, whatever filters find of it: the table is about the data as it is."""
    quality = QualityPass(plan.quality, plan.examples.kind, record)
    for example in plan.examples.examples(BESIDE):
        if plan.run is None and not quality.is_off and isinstance(example, Example):
            quality.check(_quality_item(item_of(example, plan.examples.layout)))
        yield example
    quality.finish()


def _filter_run(run: RunReader, quality: Quality, record: Record) -> None:
    """Record what an export of the run would leave out, clean and report: filters know more of rows than of pairs."""
    options = ExportOptions(quality=quality)
    # Not the ranking: it has the answers of the pairs once more, and what it leaves out would be counted with theirs.
    names, shown = [name for name in names_for(options) if name != "ranking"], shown_in(run.manifest.settings)
    makers = [ExampleMaker.of_run(run, name, options, record, shown) for name in names]
    for row in run.rows():
        for maker in makers:
            for _ in maker.examples(row):
                pass
    for maker in makers:
        maker.finish()


def _quality_item(item: CheckedItem) -> Item:
    names = (CHOSEN, REJECTED) if len(item.answers) > 1 else (COMPLETION,)
    return Item(
        id=identity(item),
        messages=item.prompt,
        answers=dict(zip(names, item.answers, strict=False)),
        place=item.place,
        tags=readable_tags(item.about.get("tags")),
    )


def _result(plan: DataCheckPlan, found: CollectedSet, findings: FilterFindings) -> DataCheck:
    return DataCheck(
        data=plan.examples.name,
        kind=plan.examples.kind,
        rows=found.rows,
        examples=found.examples,
        sampled=len(found.sample),
        sets=plan.sets,
        quality=str(plan.quality),
        measured=validate(found),
        filters=filter_counts(findings, {name: len(rows) for name, rows in rows_of(found).items()}),
        remarks=plan.remarks,
        out=plan.settings.out,
        first=dict(findings.first),
    )


def _telling(say: Say) -> Callable[[int], None]:
    """Return what says how far it is, not too often."""
    last = time.monotonic()

    def tell(examples: int) -> None:
        nonlocal last
        if time.monotonic() - last > _EVERY:
            last = time.monotonic()
            say(f"{examples:,} examples read")

    return tell
