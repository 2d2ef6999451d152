"""The pairs of one prompt as one element of a batch, as InstructGPT's reward model was trained.

All comparisons of a prompt share its few answers: spread over an epoch they show each answer several times, and the
model over-fits; as one element each answer is seen in one step (arXiv 2203.02155, section 3.5). A batch then holds
prompts instead of pairs, as many as make about the same number of pairs.

A pair that a mixture repeats is none of the same element: its repetitions are elements of their own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from cai.core.identity import key
from cai.train.data.collecting import LENGTH, TASK

ELEMENT = "element"
"""The column that says which element of a batch a pair belongs to."""


@dataclass(frozen=True, slots=True)
class PairsPerPrompt:
    """How many pairs the elements hold: on average, and at most."""

    mean: float
    largest: int


def mark_elements(dataset: Dataset) -> tuple[Dataset, PairsPerPrompt]:
    """Return the pairs with the column `element`, and how many pairs an element holds."""
    elements: dict[tuple[int, int], int] = {}
    numbers: list[int] = []
    seen: Counter[int] = Counter()
    task = [TASK] if TASK in dataset.column_names else []  # an element is of one task
    for row in dataset.select_columns(["prompt", "chosen", "rejected", *task]):
        prompt, pair = (key(orjson.dumps(what).decode()) for what in ([row["prompt"], row.get(TASK)], row))
        numbers.append(elements.setdefault((prompt, seen[pair]), len(elements)))
        seen[pair] += 1
    sizes = np.bincount(numbers) if numbers else np.ones(1)
    return dataset.add_column(ELEMENT, numbers), PairsPerPrompt(float(sizes.mean()), int(sizes.max()))


def batch_arguments(arguments: Mapping[str, Any], pairs: PairsPerPrompt, processes: int) -> dict[str, Any]:
    """Return the arguments with sizes in elements in place of pairs, for about as many pairs a step and at once."""
    micro = int(arguments["per_device_train_batch_size"])
    step = micro * int(arguments.get("gradient_accumulation_steps", 1)) * processes
    at_once = max(1, int(micro / pairs.mean))
    accumulation = max(1, round(step / pairs.mean / at_once / processes))
    return {
        **arguments,
        "per_device_train_batch_size": at_once,
        "per_device_eval_batch_size": at_once,
        "gradient_accumulation_steps": accumulation,
    }


def gather_elements(prepared: Dataset) -> Dataset:
    """Return a row an element: lists of what its tokenized pairs have, and as `length` that of the longest, sorted."""
    table: pa.Table = prepared.with_format("arrow")[:]
    elements = table.column(ELEMENT).to_numpy()
    order = np.argsort(elements, kind="stable")
    _, starts = np.unique(elements[order], return_index=True)
    offsets = pa.array([*starts.tolist(), len(order)], pa.int64())
    lengths = np.sum(
        [pc.list_value_length(table.column(name)).to_numpy() for name in ("chosen_ids", "rejected_ids")], 0
    )
    longest = np.maximum.reduceat(lengths[order], starts)
    table = table.drop_columns([ELEMENT]).take(pa.array(order))
    columns = {
        name: pa.LargeListArray.from_arrays(offsets, table.column(name).combine_chunks()) for name in table.column_names
    }
    gathered = pa.table({**columns, LENGTH: pa.array(longest)})
    return Dataset(gathered.take(pa.array(np.argsort(longest, kind="stable"))))


def spread(elements: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the pairs of a batch's elements, one after the other; a pair that is an element alone as it is."""
    pairs: list[dict[str, Any]] = []
    for element in elements:
        names = [name for name in element if name != LENGTH]
        if element["chosen_ids"] and isinstance(element["chosen_ids"][0], list):
            pairs += [
                dict(zip(names, values, strict=True)) for values in zip(*(element[n] for n in names), strict=True)
            ]
        else:
            pairs.append({name: element[name] for name in names})
    return pairs
