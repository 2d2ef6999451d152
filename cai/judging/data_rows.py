"""The pairs and ranked answers of a data set as rows to be judged.

Every row of two answers or more becomes one: the prompt, and a trace for each answer, in an order that is drawn from
the row, so that no place goes with the label that the data set has. That label is not looked at: what the run that is
made says is the judge's word alone.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.identity import draw, fingerprint, key
from cai.core.keyset import KeySet
from cai.core.records import INPUT, Failure, Prompt, Provenance, Row, Trace, Usage
from cai.data.columns import REFERENCE
from cai.data.drafts import BROKEN, read_identifier, read_references, read_tags
from cai.data.examples.conversations import Turns, spoken
from cai.data.examples.opening import open_examples
from cai.data.examples.tables import Example, TableExamples
from cai.data.export.splits import further_pair
from cai.data.formats import suffix_of
from cai.data.rows import BadRowError, BrokenRow, broken

NOBODY = "none"
"""In the provenance of answers that were not made with cai: their constitution and templates."""

_BESIDE = ("id", "tags", REFERENCE)


class _Answer(NamedTuple):
    """One answer, what was thought before it, and who gave it, where that is known."""

    text: str
    reasoning: str | None
    model: str | None


class DataRows:
    """The rows of a data set with several answers to a prompt; `inputs` is the fingerprint of its content.

    A prompt without an id of its own is named by the fingerprint of its content, as everywhere; further pairs of one
    prompt are `… pair 2`, and lie in the same split. `duplicates` counts rows of the same prompt and answers, since the
    beginning of the last reading. Memory is about 32 bytes a row.
    """

    def __init__(self, examples: TableExamples) -> None:
        """`examples` are pairs or ranked answers."""
        self._examples = examples
        self.name = self.place = examples.name
        self.inputs = examples.fingerprint
        self.identity: Mapping[str, str] = {"data": examples.fingerprint, "read-as": examples.kind}
        # Of answers that somebody compared, one is worse: what is learnt of each prompt is what the judge prefers.
        self.settings: Mapping[str, Any] = {"select": "judge"}
        self.remarks = examples.remarks
        self.duplicates = 0

    def size(self) -> int | None:
        """Return how many rows the data set has, or None where nobody counted."""
        return self._examples.size

    def rows(self) -> Iterator[Row | Failure]:
        """Yield each row, or why it is none."""
        self.duplicates = 0
        contents, ids, more = KeySet(), KeySet(), Counter[str]()
        for ordinal, item in enumerate(self._examples.examples(_BESIDE)):
            read = item if isinstance(item, BrokenRow) else _read(item)
            if isinstance(read, BrokenRow):
                yield Failure(BROKEN + read.place, ordinal, INPUT, read.cause, read.raw, retryable=False)
                continue
            prompt, answers = read
            said = sorted(answer.text for answer in answers)
            if not contents.add(key(fingerprint([prompt.messages, said]))):
                self.duplicates += 1
                continue
            name = base = prompt.id or fingerprint(prompt.messages)
            while not ids.add(key(name)):
                more[base] += 1
                name = further_pair(base, 1 + more[base])
            yield self._row(replace(prompt, id=name, ordinal=ordinal), answers)

    def out(self, ending: str) -> Path:
        """Return where they are judged when nobody says."""
        name = self.name.rstrip("/").rpartition("/")[2]
        return Path("runs") / f"{name.removesuffix(suffix_of(name) or '')}-{ending}"

    def _row(self, prompt: Prompt, answers: Sequence[_Answer]) -> Row:
        """Return the answers as traces of a row that nobody judged yet."""
        order = sorted(answers, key=lambda answer: draw(0, "place", prompt.id, answer.text))
        traces = tuple(
            Trace(number, 0, answer.text, (), answer.text, False, answer.reasoning, answer.model)
            for number, answer in enumerate(order)
        )
        provenance = Provenance(self.name, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, self.inputs, 0, 0)
        return Row(prompt, traces, (), Usage(), provenance)


def open_data(source: DataSource, split: str | None, shape: str | None) -> DataRows:
    """Open a data set that is no run; raises InputError, in one sentence, when it has no two answers to a prompt."""
    try:
        opened = open_examples(source, "ranked", split=split, shape=shape)
    except InputError:  # it says what is wrong for pairs too
        opened = open_examples(source, "pairs", split=split, shape=shape, purpose="judging")
    return DataRows(cast("TableExamples", opened))


def _read(example: Example) -> tuple[Prompt, tuple[_Answer, ...]] | BrokenRow:
    """Return the prompt, named if it has a name of its own, and its answers; or why what is beside it is none."""
    values = example.values
    try:
        own, tags = read_identifier(example.about.get("id")), read_tags(example.about.get("tags"))
        references = read_references(example.about.get(REFERENCE))
    except BadRowError as error:
        return broken(example.place, str(error), values["prompt"][-1]["content"])
    if "answers" in values:
        answers = [_answer(answer["completion"], answer["model"]) for answer in values["answers"]]
    else:
        answers = [_answer(values[name], None) for name in ("chosen", "rejected")]
    return Prompt(own or "", 0, tuple(spoken(values["prompt"])), tags, (), references), tuple(answers)


def _answer(turns: Turns, model: str | None) -> _Answer:
    return _Answer(turns[0]["content"], turns[0].get("thinking"), model)
