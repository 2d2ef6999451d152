"""Examples from a run's rows, as `cai export` derives them: an export need not be there nor be of the same options.

What an earlier export kept for testing stays out of training: prompts are held out in the order of their ids' hashes
(`cai.data.export.splits`), so the last of the exported test prompts tells where the export drew the line. A larger
share asked for here holds out more, and never less.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cai.core.addresses import DataSource
from cai.core.digest import check_digest
from cai.core.errors import InputError, RunError
from cai.core.paths import expand
from cai.core.records import Row
from cai.data.examples.conversations import read_prompt
from cai.data.examples.labels import gate_label
from cai.data.examples.ranked import read_ranked
from cai.data.examples.shaping import COLUMNS, NEEDS, ExampleKind, Layout, label_pair
from cai.data.examples.tables import Example
from cai.data.export.datasets import DatasetName, ExampleMaker
from cai.data.export.selecting import settled
from cai.data.export.sft import answer_message
from cai.data.export.splits import place_of
from cai.data.export.summary import ExportOptions
from cai.data.quality import DEFAULT_QUALITY, Quality, count_left_out, shown_in
from cai.data.rows import BrokenRow, broken
from cai.data.rubrics import rubric_rows
from cai.method.selectors import SELECTORS
from cai.method.steps import answers
from cai.rundir import Run, checkout
from cai.rundir.layout import EXPORTS, split_path

UNCLEAR = "the gates do not say whether it is good"
TRUNCATED = "truncated"
NOT_SCORED = "an answer without a score"

_SCORERS = tuple(name for name, selector in SELECTORS.items() if selector.asks)

_LAYOUTS: Mapping[ExampleKind, Layout] = {
    "supervised": "completion",
    "pairs": "pairs",
    "ranked": "ranked",
    "labelled": "labelled",
    "scored": "scored",
    "prompts": "prompts",
}


_DATASETS: Mapping[ExampleKind, DatasetName] = {"supervised": "sft", "ranked": "ranking"}
"""The export that examples of a kind are; of the other kinds it is the pairs."""


@dataclass(frozen=True, slots=True)
class RunChoices:
    """What is taken from a run: which revisions, whose labels, what filters leave, the least share that is held out."""

    revisions: Literal["final", "all"] = "final"
    labels_from: Literal["verdicts", "gates"] = "verdicts"
    test_share: float = 0.0
    quality: Quality = DEFAULT_QUALITY


class MadeBy(NamedTuple):
    """The names of the model that answered and of the judge, by the run; None where nothing says."""

    model: str | None = None
    judge: str | None = None


class RunExamples:
    """The examples of a run directory; nothing is written into it."""

    remarks: tuple[str, ...] = ()

    def __init__(self, source: DataSource, kind: ExampleKind, choices: RunChoices) -> None:
        """Look at the run; raises RunError when it holds nothing yet, InputError when it cannot give the kind."""
        directory = checkout(str(source)) if source.is_url else expand(source.reveal())
        self.name = str(source)
        self.layout = _LAYOUTS[kind]
        self.distinct = kind == "labelled"
        self.kind = kind
        self._choices = choices
        self._reader = Run.read(directory)
        if next(self._reader.rows(), None) is None:
            raise RunError(f"{source} holds no finished rows yet; fill it with `cai generate --out {source}`.")
        self._last_test_draw = _last_test_draw(directory)
        identity = self._reader.manifest.identity
        scorer = str(identity.get("select") or "").partition(":")[0]
        if kind == "scored" and scorer not in _SCORERS:
            raise InputError(
                f"{source} is a run without scores of its answers: make one with `cai generate --select rubric`, or "
                f"give a table with {NEEDS[kind]}."
            )
        if kind == "scored":
            self.remarks = (f"{self.name}: every answer has the score that {scorer} gave it",)
        self.made_by = MadeBy(identity.get("model"), identity.get("judge"))

    def examples(self, also: Collection[str] = ()) -> Iterator[Example | BrokenRow]:
        """Yield each example and whether its prompt is held out, and what is left out of the run, with the reason.

        Answers have what the model thought before them, if they did. What an export has in the columns of `also`, and
        the prompt's tags, stand beside them.
        """
        left_out: Counter[str] = Counter()
        options = ExportOptions(self._choices.revisions == "all", reasoning=True, quality=self._choices.quality)
        options = settled(options, self._reader.manifest)
        name = _DATASETS.get(self.kind, "preference")
        shown_texts = shown_in(self._reader.manifest.settings)
        maker = ExampleMaker.of_run(self._reader, name, options, count_left_out(left_out), shown_texts)
        for row in self._reader.rows():
            place = place_of(row.prompt.id)
            held_out = place <= self._last_test_draw or place < self._choices.test_share
            shown = f"{self.name}:{row.prompt.id}"
            left_out.clear()
            for example in self._of_row(row, maker, left_out):
                values = {name: example[name] for name in COLUMNS[self.layout]}
                known = {**example, "tags": row.prompt.tags}
                about = {name: known[name] for name in also if name in known}
                yield Example(shown, values | {"prompt": list(values["prompt"])}, held_out, about)
            for reason in left_out.elements():
                yield broken(shown, reason, row.prompt.messages[-1]["content"])

    def _of_row(self, row: Row, maker: ExampleMaker, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
        if self.kind == "ranked":
            for example in maker.examples(row):
                yield {**example, "answers": read_ranked(example["answers"], read_prompt(list(row.prompt.messages)))}
        elif self.kind == "prompts":
            asked = row.prompt
            yield {"prompt": asked.messages, "rubric": rubric_rows(asked.rubric), "tags": list(asked.tags)}
        elif self.kind == "scored":
            yield from _by_scores(row, left_out)
        elif self.kind == "labelled" and self._choices.labels_from == "gates":
            yield from _by_gates(row, left_out)
        else:
            for example in maker.examples(row):
                yield from label_pair(example) if self.kind == "labelled" else (example,)


def _by_gates(row: Row, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    for trace in row.traces:
        label = gate_label(trace)
        if trace.truncated:
            left_out[TRUNCATED] += 1
        elif label is None:
            left_out[UNCLEAR] += 1
        else:
            answer = [answer_message(trace.response, trace.reasoning, thinking=True)]
            yield {"prompt": row.prompt.messages, "completion": answer, "label": label}


def _by_scores(row: Row, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield every answer of the row that was scored when the row was made, in the scorer's own unit."""
    pool, values = answers(row.traces), {score.source: score.value for score in row.scores}
    for source, step in pool.items():
        value = values.get(source)
        if value is None:
            left_out[NOT_SCORED] += 1
        else:
            answer = [answer_message(step.text, step.reasoning, thinking=True)]
            yield {"prompt": row.prompt.messages, "completion": answer, "score": value}


def _last_test_draw(directory: Path) -> float:
    """Return the largest draw of the prompts in the exported test splits, or -1 where there is none."""
    last = -1.0
    for kind in EXPORTS:
        path = split_path(directory, kind, "test")
        if not path.is_file():
            continue
        try:
            if check_digest(path) != "whole":
                raise RunError(f"{path} is damaged; write it again with `cai export {directory}`.")
            for batch in pq.ParquetFile(path).iter_batches(columns=["id"]):
                last = max(last, *(place_of(name) for name in batch.column("id").to_pylist()))
        except (OSError, pa.ArrowException, KeyError) as error:
            raise RunError(f"{path} cannot be read: {error}; write it again with `cai export {directory}`.") from error
    return last
