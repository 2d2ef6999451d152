"""The items of an evaluation: its models' answers, the gates on them, and the pairs that the judge compared.

What an evaluation keeps is read from its lines (`cai.evaluate.directory` says which file holds what), while it is
written too. Lines that are damaged are passed over: the evaluation owes their prompts, and says so when it goes on.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from cai.annotation.items import ItemAnswer, ReviewItem, answer_item, gate_item, pair_item
from cai.annotation.kinds import ItemKind
from cai.annotation.sources.runs import NOT_ANSWERED
from cai.core.errors import RunError
from cai.core.paths import open_file
from cai.rundir.lines import read_lines, salt

RESPONSES, COMPARISONS = "responses", "comparisons"
_BETWEEN = "~"


def items_of_evaluation(directory: Path, kinds: Collection[ItemKind]) -> Iterator[list[ReviewItem]]:
    """Yield the items of each answer, then of each comparison; raises RunError when a file cannot be read."""
    answers: dict[str, Mapping[str, dict[str, Any]]] = {}
    for path in sorted((directory / RESPONSES).glob("*.jsonl")):
        answers[path.stem] = entries_of(path)
        for entry in answers[path.stem].values():
            yield list(_of_answer(entry, path.stem, directory, kinds))
    if "pair" in kinds:
        for path in sorted((directory / COMPARISONS).glob("*.jsonl")):
            first, _, second = path.stem.partition(_BETWEEN)
            if first in answers and second in answers:
                for name, entry in entries_of(path).items():
                    pair = answers[first].get(name), answers[second].get(name)
                    yield list(_of_comparison(entry, pair, (first, second), directory))


def entries_of(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a file by prompt, of each the last; failures are none."""
    found: dict[str, dict[str, Any]] = {}
    start = salt(f"{path.parent.name}/{path.name}")
    try:
        with open_file(path) as file:
            for line in read_lines(file, start):
                entry = None if line.data is None else orjson.loads(line.data)
                if entry is not None and "failure" not in entry:
                    found[str(entry["id"])] = entry
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    return found


def _of_answer(
    entry: Mapping[str, Any], label: str, directory: Path, kinds: Collection[ItemKind]
) -> Iterator[ReviewItem]:
    answer = ItemAnswer(entry["response"], label, label)
    place, tags = f"{directory}:{label}:{entry['id']}", entry["tags"]
    if not answer.text.strip():
        return
    if "gate" in kinds:
        for gate in entry["gates"]:
            broken = gate["probability"]
            yield gate_item(
                entry["id"],
                entry["messages"],
                answer,
                gate["principle_id"],
                place,
                broken=broken,
                abstained=NOT_ANSWERED if broken is None else None,
                tags=tags,
            )
    if "answer" in kinds:
        yield answer_item(entry["id"], entry["messages"], answer, place, tags=tags)


def _of_comparison(
    entry: Mapping[str, Any],
    pair: tuple[Mapping[str, Any] | None, Mapping[str, Any] | None],
    labels: tuple[str, str],
    directory: Path,
) -> Iterator[ReviewItem]:
    a, b = pair
    if a is None or b is None or a["response"].strip() == b["response"].strip():
        return
    if not a["response"].strip() or not b["response"].strip():
        return
    yield pair_item(
        a["id"],
        a["messages"],
        (ItemAnswer(a["response"], labels[0], labels[0]), ItemAnswer(b["response"], labels[1], labels[1])),
        f"{directory}:{_BETWEEN.join(labels)}:{a['id']}",
        probability=entry["probability"],
        abstained=entry["abstained"],
        tags=a["tags"],
    )
