"""Exporting a run: one pass over its rows, new files beside the old ones, then all put in place."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from cai.core.collecting import collecting_rarely
from cai.core.corrected import BROKEN_ABOVE, CaseLabel, LabelledSample, correct_share
from cai.core.identity import fingerprint
from cai.core.records import CRITIQUE, GATE, RESPONSE, REVISION, Row
from cai.data.export.card import dataset_card
from cai.data.export.datasets import DATASETS, DatasetName, ExampleMaker, names_for
from cai.data.export.earlier import look_at_export, tell_less
from cai.data.export.explaining import explain
from cai.data.export.hub import HubTarget, push
from cai.data.export.layouts.placing import TRL, LayoutFiles, layout_named
from cai.data.export.layouts.writing import LayoutWriter
from cai.data.export.people import People
from cai.data.export.selecting import SelectionCounter, settled
from cai.data.export.splits import SplitWriter
from cai.data.export.standings import StandingsCounter
from cai.data.export.summary import NOTHING, Adherence, ExportOptions, ExportSummary, SplitCounts, TextCounts
from cai.data.quality import LedgerWriter, shown_in
from cai.data.quality.ledger import OUTCOMES
from cai.method.ranking import Triples
from cai.method.steps import sourced
from cai.rundir import Run, RunReader
from cai.rundir.checkout import publish
from cai.rundir.claim import alone, join
from cai.rundir.files import refusal
from cai.rundir.layout import CARD, EXPORT_FILES, EXPORTS, LEDGER, PREFERENCE, QUALITY, RANKING, SFT, SPLITS, split_path
from cai.rundir.owned import Owned

_Writers: TypeAlias = Mapping[DatasetName, SplitWriter | LayoutWriter]


def export_run(
    directory: Path, options: ExportOptions, layout: str = TRL, *, hub: HubTarget | None = None
) -> ExportSummary:
    """Write `sft/`, `preference/`, `ranking/` and README.md of a run and return what they hold.

    In a `layout` of another tool (`cai.data.export.layouts`) the files lie in a folder of its name instead. Each file
    is replaced in one step, and only once all are complete. The run may be open elsewhere: what it holds now is given.
    Raises RunError when the directory is no run or is being exported, UsageError when there is no such layout,
    StoreError when the disk or the hub refuses. With a `hub` it is sent there. TRL's exports of a working copy are sent
    to the run's URL too.
    """
    found = layout_named(layout)
    files = _OwnFiles() if found is None else LayoutFiles(found)
    reader = Run.read(directory)
    options = settled(options, reader.manifest)
    try:
        with alone(directory), closing(join(directory, "run")) as owned, collecting_rarely():
            files.take(owned)
            work = owned.temporary()
            work.mkdir()
            try:
                ledger = LedgerWriter(work / LEDGER)
                summary = _write(reader, files.open(work, options, ledger), ledger, options)
                explanations = explain(summary, reader.manifest.identity)
                remarks = files.remarks(directory, summary, options)
                summary = replace(summary, remarks=remarks, explanations=explanations, layout=files.summary(ledger))
                files.place(work, owned, dataset_card(reader.manifest, options, summary), summary)
                if hub is not None:
                    names = frozenset(files.names()) - {LEDGER}
                    root = directory / files.folder
                    there = {name: root / name for name in sorted(names) if (root / name).is_file()}
                    summary = replace(summary, pushed=push(there, names, hub))
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise refusal(directory, error) from error
    if found is None:
        publish(directory)
    return summary


class _OwnFiles:
    """The files of an export in TRL's columns, as `LayoutFiles` are those of another format."""

    folder = "."

    def names(self) -> Sequence[str]:
        return (CARD, *EXPORT_FILES)

    def take(self, owned: Owned) -> None:
        for kind in (SFT, PREFERENCE, RANKING, QUALITY):
            owned.folder(kind)
        owned.require_free(CARD, *EXPORT_FILES)

    def open(self, work: Path, options: ExportOptions, _: LedgerWriter) -> Mapping[DatasetName, SplitWriter]:
        return {
            name: SplitWriter(work, name, DATASETS[name].schema(options), options.test_share)
            for name in names_for(options)
        }

    def summary(self, _: LedgerWriter) -> None:
        return None

    def remarks(self, directory: Path, summary: ExportSummary, options: ExportOptions) -> tuple[str, ...]:
        now = {SFT: summary.sft, PREFERENCE: summary.preference, RANKING: summary.ranking}
        return tell_less(look_at_export(directory), now, options)

    def place(self, work: Path, owned: Owned, card: str, _: ExportSummary) -> None:
        for kind in EXPORTS:
            for split in SPLITS:
                new, name = split_path(work, kind, split), split_path(Path(), kind, split).as_posix()
                if new.exists():
                    owned.folder(kind)
                    owned.place(new, name)
                else:
                    owned.remove(name)
        owned.place(work / LEDGER, LEDGER)
        owned.write(CARD, card.encode())


def _write(reader: RunReader, writers: _Writers, ledger: LedgerWriter, options: ExportOptions) -> ExportSummary:
    shown = shown_in(reader.manifest.settings)
    makers = {name: ExampleMaker.of_run(reader, name, options, ledger.record, shown) for name in writers}
    abstentions: Counter[str] = Counter()
    failed_parts: Counter[str] = Counter()
    thoughts: Counter[str] = Counter()
    gates = _Gates(options.people)
    texts: Counter[tuple[str, bool]] = Counter()  # by kind, and by whether they were cut
    selection, feedback = SelectionCounter(options), _Feedback(options)
    triples, standings = Triples(), StandingsCounter()
    rows = lacking = verdicts = 0
    try:
        for row in reader:
            rows += 1
            for name, writer in writers.items():
                examples = list(makers[name].examples(row))
                writer.write(row.prompt.id, examples)
                if name == SFT:
                    selection.count(row, examples)
                elif name == RANKING:
                    for example in examples:
                        triples += Triples(example["triples"], example["cycles"])
            _count_thoughts(row, thoughts)
            _count_missing(row, failed_parts, abstentions)
            gates.count(row)
            standings.count(row)
            feedback.look(row)
            _count_texts(row, texts)
            verdicts += len(row.verdicts)
            lacking += bool(row.failed)
        feedback.write(writers, ledger, options)
        counts = {name: _finish(name, makers[name], writer, ledger) for name, writer in writers.items()}
        return ExportSummary(
            rows=rows,
            sft=counts["sft"],
            preference=counts["preference"],
            abstentions=dict(sorted(abstentions.items())),
            failures=dict(sorted(Counter(failure.stage for failure in reader.failures()).items())),
            failed_parts=dict(sorted(failed_parts.items())),
            lacking=lacking,
            adherence=gates.adherence(),
            left_out=dict(reader.left_out().counts()),
            reasoning={stage: count for stage, count in sorted(thoughts.items()) if count},
            verdicts=verdicts,
            texts={
                kind: TextCounts(texts[kind, False] + texts[kind, True], texts[kind, True])
                for kind in ("responses", "revisions")
            },
            quality=str(options.quality),
            selected=selection.selected(),
            ranking=counts["ranking"],
            labelled=counts.get("labelled", NOTHING),
            scored=counts.get("scored", NOTHING),
            triples=triples,
            standings=standings.standings(),
        )
    finally:
        for writer in writers.values():
            writer.abandon()
        ledger.close()


class _Feedback:
    """What people said of answers that are in no row; nobody but they spoke of these.

    A pair of theirs may have an answer of the run's beside another: that one is given as a single answer by its own row
    alone.
    """

    def __init__(self, options: ExportOptions) -> None:
        rows = () if options.people is None or options.labels == "judge" else options.people.rows()
        self._rows = tuple(rows)
        self._own: dict[str, set[str]] = {_name(row): set() for row in self._rows}

    def look(self, row: Row) -> None:
        """Take in the answers of a row of the run."""
        if self._own and (own := self._own.get(_name(row))) is not None:
            own.update(step.text for trace in row.traces for _, step in sourced(trace))

    def write(self, writers: _Writers, ledger: LedgerWriter, options: ExportOptions) -> None:
        """Write the rows of feedback, once all of the run's have been looked at."""
        if not self._rows:
            return
        makers = {name: ExampleMaker(name, replace(options, labels="human"), ledger.record) for name in writers}
        for row in self._rows:
            own = self._own[_name(row)]
            others = replace(row, traces=tuple(trace for trace in row.traces if trace.response not in own))
            for name, writer in writers.items():
                seen = row if name in (PREFERENCE, RANKING) else others
                writer.write(row.prompt.id, list(makers[name].examples(seen)))


def _name(row: Row) -> str:
    """Return a name of a row's prompt that is made of its words."""
    return fingerprint([[turn["role"], turn["content"]] for turn in row.prompt.messages])


def _finish(name: str, maker: ExampleMaker, writer: SplitWriter | LayoutWriter, ledger: LedgerWriter) -> SplitCounts:
    """Complete a dataset's files, and return what they hold and what the ledger has about them."""
    maker.finish()
    return SplitCounts(*writer.finish(), *(ledger.count(name, outcome) for outcome in OUTCOMES))


class _Gates:
    """What gates said of each principle: the sum, how many were answered, how many were not; and what people said."""

    def __init__(self, people: People | None) -> None:
        self._people = people
        self._kept_clearly: Counter[str] = Counter()
        self._samples: defaultdict[str, LabelledSample] = defaultdict(LabelledSample)
        self._kept: Counter[str] = Counter()
        self._sum: defaultdict[str, float] = defaultdict(float)
        self._unanswered: Counter[str] = Counter()

    def count(self, row: Row) -> None:
        """Take in a row's gates."""
        for trace in row.traces:
            text = trace.response
            for turn in trace.rounds:
                if turn.gate is not None:
                    self._kept[turn.principle_id] += 1
                    self._sum[turn.principle_id] += 1.0 - turn.gate
                    self._compare(row, text, turn.principle_id, kept=turn.gate <= BROKEN_ABOVE)
                elif turn.gate_mass is not None:
                    self._unanswered[turn.principle_id] += 1
                text = text if turn.revision is None else turn.revision

    def _compare(self, row: Row, text: str, principle: str, *, kept: bool) -> None:
        """Take in what the gate decided, and what people say is true."""
        self._kept_clearly[principle] += kept
        truly = None if self._people is None else self._people.breaks(row.prompt.messages, text, principle)
        if truly is not None:
            content = (*((turn["role"], turn["content"]) for turn in row.prompt.messages), text)
            self._samples[principle].add(CaseLabel(content, not truly), said=kept)

    def adherence(self) -> dict[str, Adherence]:
        """Return what they come to, by principle."""
        names = sorted({*self._kept, *self._unanswered})
        means = {name: self._sum[name] / count for name, count in self._kept.items()}
        corrected = {
            name: correct_share(self._kept_clearly[name], self._kept[name], sample.confusion)
            for name, sample in self._samples.items()
        }
        return {
            name: Adherence(means.get(name), self._kept[name], self._unanswered[name], corrected.get(name))
            for name in names
        }


def _count_texts(row: Row, texts: Counter[tuple[str, bool]]) -> None:
    for trace in row.traces:
        texts["responses", trace.truncated] += 1
        for turn in trace.rounds:
            if turn.revision is not None:
                texts["revisions", turn.truncated] += 1


def _count_missing(row: Row, failed_parts: Counter[str], abstentions: Counter[str]) -> None:
    for part in row.failed:
        failed_parts[part.stage] += 1
    for verdict in row.verdicts:
        if verdict.abstained is not None:
            abstentions[verdict.abstained] += 1


def _count_thoughts(row: Row, thoughts: Counter[str]) -> None:
    for trace in row.traces:
        thoughts[RESPONSE] += trace.reasoning is not None
        for turn in trace.rounds:
            thoughts[GATE] += turn.gate_reasoning is not None
            thoughts[CRITIQUE] += turn.critique_reasoning is not None
            thoughts[REVISION] += turn.revision_reasoning is not None
