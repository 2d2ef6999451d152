"""Formats of no tool in particular: JSON lines, which hold all that the datasets have, and CSV for spreadsheets."""

from collections.abc import Mapping
from typing import Any

from cai.data.export.layouts.descriptor import (
    NUL,
    ORIGIN,
    REASONING,
    SCORES,
    SOFT_LABELS,
    ExportLayout,
    Part,
    Place,
    ToolRecord,
    UnfitError,
)
from cai.data.export.layouts.turns import one_question

_ALL = frozenset((SOFT_LABELS, REASONING, ORIGIN, SCORES))

_ASKED = ("id", "system", "prompt")


def _whole(example: Mapping[str, Any], _: Place) -> ToolRecord:
    return dict(example)


def _asked(example: Mapping[str, Any]) -> ToolRecord:
    system, question = one_question(example["prompt"])
    return {"id": example["id"], "system": system, "prompt": question}


def _answered(example: Mapping[str, Any], _: Place) -> ToolRecord:
    return _row({**_asked(example), "completion": example["completion"][-1]["content"]})


def _compared(example: Mapping[str, Any], _: Place) -> ToolRecord:
    answers = {name: example[name][-1]["content"] for name in ("chosen", "rejected")}
    return _row({**_asked(example), **answers, "chosen_probability": example["chosen_probability"]})


def _row(cells: ToolRecord) -> ToolRecord:
    """Return the cells of a row; raises UnfitError where a reader of CSV would not take one of them."""
    if any("\0" in cell for cell in cells.values() if isinstance(cell, str)):
        raise UnfitError(NUL)
    return cells


JSONL = ExportLayout(
    "jsonl",
    "JSON lines",
    (
        Part("sft", "sft", _whole, holds=_ALL),
        Part("preference", "preference", _whole, holds=_ALL),
        Part("ranking", "ranking", _whole, holds=_ALL),
    ),
    "One example a line, with all columns of the Parquet files that TRL reads.\n",
)

CSV = ExportLayout(
    "csv",
    "CSV",
    (
        Part("sft", "sft", _answered, "csv", columns=(*_ASKED, "completion")),
        Part(
            "preference",
            "preference",
            _compared,
            "csv",
            holds=frozenset((SOFT_LABELS,)),
            columns=(*_ASKED, "chosen", "rejected", "chosen_probability"),
        ),
    ),
    "For spreadsheets: UTF-8 with the mark by which they know it, a question and its answers a row. A cell that begins "
    "with `=` is text and no formula; import it as text.\n",
)
