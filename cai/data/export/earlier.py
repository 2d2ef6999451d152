"""What a run exported earlier, and what a person is told when the same run gives less of it now."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cai.core.arrow import THINKING_MESSAGES
from cai.core.counts import counted
from cai.data.export.datasets import DATASETS
from cai.data.export.summary import ExportOptions, SplitCounts
from cai.rundir.layout import SFT, SPLITS, split_path


@dataclass(frozen=True, slots=True)
class EarlierExport:
    """The examples of each dataset that the files in a run directory hold; `all_revisions`: of every round.

    `reasoning`: with what the model thought.
    """

    counts: Mapping[str, SplitCounts]
    all_revisions: bool
    reasoning: bool


def look_at_export(directory: Path) -> EarlierExport:
    """Return what was exported before; a file that cannot be read, and is about to be replaced, holds nothing."""
    counts: dict[str, SplitCounts] = {}
    for name in DATASETS:
        train, test = (_count(split_path(directory, name, split)) for split in SPLITS)
        counts[name] = SplitCounts(train, test, {})
    files = [split_path(directory, SFT, split) for split in SPLITS]
    return EarlierExport(counts, any(map(_has_rounds, files)), any(map(_has_reasoning, files)))


def tell_less(earlier: EarlierExport, counts: Mapping[str, SplitCounts], options: ExportOptions) -> tuple[str, ...]:
    """Return a sentence on each dataset that holds less than before, with the option that has it again if there is one.

    A row's examples only grow in number, and its split follows from its prompt: with no fewer examples, fewer in one
    split mean another share.
    """
    told = []
    for name, now in counts.items():
        before = earlier.counts[name]
        less = now.train + now.test, before.train + before.test
        if less[0] < less[1]:
            why = ""
            if name == SFT and earlier.all_revisions and not options.all_revisions:
                why = ": they were of every round, which --all-revisions exports again"
            elif name == SFT and options.selector is not None:
                why = f": now it has one answer a prompt, selected by {options.selector}; --select final has all"
            told.append(f"{name} holds {counted(less[0], 'example')} where the last export had {less[1]:,}{why}")
        elif now.train < before.train or now.test < before.test:
            told.append(
                f"{name} holds {counted(now.train, 'example')} for training and {now.test:,} for testing where the "
                f"last export had {before.train:,} and {before.test:,}: --test-share was another one"
            )
    if earlier.reasoning and not options.reasoning:
        told.append("the last export had the model's reasoning, which --reasoning exports again")
    return tuple(told)


def _count(path: Path) -> int:
    with suppress(OSError, pa.ArrowException):
        return int(pq.read_metadata(path).num_rows)
    return 0


def _has_rounds(path: Path) -> bool:
    """Tell whether a sample has several examples; they are neighbours."""
    with suppress(OSError, pa.ArrowException, KeyError), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["id", "sample"]):
            ids, samples = (batch.column(name).to_pylist() for name in ("id", "sample"))
            if any(one == other for one, other in pairwise(zip(ids, samples, strict=True))):
                return True
    return False


def _has_reasoning(path: Path) -> bool:
    with suppress(OSError, pa.ArrowException, KeyError):
        return bool(pq.read_schema(path).field("completion").type == THINKING_MESSAGES)
    return False
