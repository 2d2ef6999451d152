"""Alpaca's format: an instruction and its output, with the `system` and `history` that LLaMA-Factory added to it.

`input` stays empty: a question is one text. `history` is a list of [question, answer].
"""

from collections.abc import Mapping
from typing import Any

from cai.data.export.layouts.conversations import INFORMATION, information
from cai.data.export.layouts.descriptor import Counts, ExportLayout, Part, Place, ToolRecord
from cai.data.export.layouts.turns import for_columns

_ASKED = {"prompt": "instruction", "query": "input", "system": "system", "history": "history"}

_DESCRIBED: Mapping[str, Mapping[str, Any]] = {
    "sft": {"formatting": "alpaca", "columns": {**_ASKED, "response": "output"}},
    "preference": {
        "formatting": "alpaca",
        "ranking": True,
        "columns": {**_ASKED, "chosen": "chosen", "rejected": "rejected"},
    },
    "kto": {"formatting": "alpaca", "columns": {**_ASKED, "response": "output", "kto_tag": "kto_tag"}},
}


def _asked(example: Mapping[str, Any]) -> ToolRecord:
    parts = for_columns(example["prompt"])
    return {
        "id": example["id"],
        "instruction": parts.question,
        "input": "",
        "system": parts.system,
        "history": parts.history,
    }


def _answered(example: Mapping[str, Any], _: Place) -> ToolRecord:
    return {**_asked(example), "output": example["completion"][-1]["content"]}


def _compared(example: Mapping[str, Any], _: Place) -> ToolRecord:
    answers = {name: example[name][-1]["content"] for name in ("chosen", "rejected")}
    return {**_asked(example), **answers}


def _labelled(example: Mapping[str, Any], place: Place) -> ToolRecord:
    return {**_answered(example, place), "kto_tag": example["label"]}


def _told(counts: Counts) -> Mapping[str, str]:
    return {INFORMATION: information(counts, {part.folder: part.files() for part in ALPACA.parts}, _DESCRIBED)}


ALPACA = ExportLayout(
    "alpaca",
    "Alpaca",
    (
        Part("sft", "sft", _answered, "json"),
        Part("preference", "preference", _compared, "json"),
        Part("kto", "thumbs", _labelled, "json"),
    ),
    "Each file is one JSON array of `instruction`, `input` (empty) and `output`; a system turn is `system`, earlier "
    "turns are `history`, a list of [question, answer]. Readers of the first Alpaca know neither: keep to single "
    "questions there. `dataset_info.json` tells LLaMA-Factory about the files.\n",
    _told,
    (INFORMATION,),
)
