"""Exporting a run: one pass over its rows, new files beside the old ones, then all put in place."""

import shutil
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from cai.core.records import CRITIQUE, GATE, RESPONSE, REVISION, Row
from cai.data.export.card import dataset_card
from cai.data.export.datasets import DATASETS
from cai.data.export.earlier import look_at_export, tell_less
from cai.data.export.splits import SplitWriter
from cai.data.export.summary import Adherence, ExportOptions, ExportSummary
from cai.rundir import Run, RunReader
from cai.rundir.checkout import publish
from cai.rundir.claim import alone, join
from cai.rundir.files import refusal
from cai.rundir.layout import CARD, PREFERENCE, SFT, SPLITS, split_path
from cai.rundir.owned import Owned


def export_run(directory: Path, options: ExportOptions) -> ExportSummary:
    """Write `sft/`, `preference/` and README.md of a run and return what they hold.

    Each file is replaced in one step, and only once all are complete. The run may be open elsewhere: what it holds
    now is exported. Raises RunError when the directory is no run or is being exported, StoreError when the disk
    refuses. The exports of a working copy are sent to the run's URL too.
    """
    reader = Run.read(directory)
    try:
        with alone(directory), closing(join(directory, "run")) as owned:
            _take(owned)
            work = owned.temporary()
            work.mkdir()
            try:
                summary = _write(reader, work, options)
                now = {SFT: summary.sft, PREFERENCE: summary.preference}
                summary = replace(summary, remarks=tell_less(look_at_export(directory), now, options))
                card = dataset_card(reader.manifest, options, summary)
                _put_in_place(work, owned, card)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise refusal(directory, error) from error
    publish(directory)
    return summary


def _take(owned: Owned) -> None:
    """Make the folders of an export before any work is done; raises RunError when a name of it is somebody else's."""
    for kind in (SFT, PREFERENCE):
        owned.folder(kind)
    owned.require_free(
        CARD, *(split_path(Path(), kind, split).as_posix() for kind in (SFT, PREFERENCE) for split in SPLITS)
    )


def _write(reader: RunReader, work: Path, options: ExportOptions) -> ExportSummary:
    writers = {
        name: SplitWriter(work, name, made.schema(options), options.test_share) for name, made in DATASETS.items()
    }
    abstentions: Counter[str] = Counter()
    failed_parts: Counter[str] = Counter()
    gates: dict[str, list[float]] = {}  # for each principle, the sum of what its gates said and their number
    thoughts: Counter[str] = Counter()
    rows = lacking = 0
    try:
        for row in reader:
            rows += 1
            for name, writer in writers.items():
                writer.write(row.prompt.id, DATASETS[name].examples(row, options, writer.left_out))
            _count_gates(row, gates)
            _count_thoughts(row, thoughts)
            lacking += bool(row.failed)
            failed_parts.update(part.stage for part in row.failed)
            abstentions.update(verdict.abstained for verdict in row.verdicts if verdict.abstained is not None)
        failures = Counter(failure.stage for failure in reader.failures())
        return ExportSummary(
            rows=rows,
            sft=writers["sft"].finish(),
            preference=writers["preference"].finish(),
            abstentions=dict(sorted(abstentions.items())),
            failures=dict(sorted(failures.items())),
            failed_parts=dict(sorted(failed_parts.items())),
            lacking=lacking,
            adherence={name: Adherence(total / count, int(count)) for name, (total, count) in sorted(gates.items())},
            left_out=dict(reader.left_out().counts()),
            reasoning={stage: count for stage, count in sorted(thoughts.items()) if count},
        )
    finally:
        for writer in writers.values():
            writer.abandon()


def _count_gates(row: Row, gates: dict[str, list[float]]) -> None:
    for trace in row.traces:
        for turn in trace.rounds:
            if turn.gate is not None:
                sums = gates.setdefault(turn.principle_id, [0.0, 0.0])
                sums[0] += 1.0 - turn.gate
                sums[1] += 1.0


def _count_thoughts(row: Row, thoughts: Counter[str]) -> None:
    for trace in row.traces:
        thoughts[RESPONSE] += trace.reasoning is not None
        for turn in trace.rounds:
            thoughts[GATE] += turn.gate_reasoning is not None
            thoughts[CRITIQUE] += turn.critique_reasoning is not None
            thoughts[REVISION] += turn.revision_reasoning is not None


def _put_in_place(work: Path, owned: Owned, card: str) -> None:
    for kind in (SFT, PREFERENCE):
        for split in SPLITS:
            new, name = split_path(work, kind, split), split_path(Path(), kind, split).as_posix()
            if new.exists():
                owned.place(new, name)
            else:
                owned.remove(name)
    owned.write(CARD, card.encode())
