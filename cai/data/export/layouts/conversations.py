"""Formats of conversations whose turns are {from, value}: LLaMA-Factory's, and ShareGPT's own.

LLaMA-Factory reads `dataset_info.json` beside the data (`llamafactory/data/parser.py`, `converter.py`, 0.9.5): the
turns after the system's must alternate, `chosen` and `rejected` are one turn each, `kto_tag` is true or false.
"""

import json
from collections.abc import Mapping
from typing import Any

from cai.data.export.layouts.descriptor import Counts, ExportLayout, Part, Place, ToolRecord, split_names
from cai.data.export.layouts.turns import said, taken_apart

INFORMATION = "dataset_info.json"

_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "sft": {"columns": {"messages": "conversations"}},
    "preference": {
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    },
    "kto": {"columns": {"messages": "conversations", "kto_tag": "kto_tag"}},
}

_TRAINING = """Run `llamafactory-cli train` with a YAML file that has, beside model and template:

```yaml
stage: sft            # dpo with cai_preference, kto with cai_kto, rm with cai_preference
dataset_dir: .        # this directory, which has dataset_info.json
dataset: cai_sft
mask_history: true    # learn from the last answer alone, as the paper does
```
"""


def _conversation(example: Mapping[str, Any], _: Place) -> ToolRecord:
    taken_apart(example["prompt"])
    turns = [*example["prompt"], example["completion"][-1]]
    return {"id": example["id"], "conversations": [said(turn) for turn in turns]}


def _compared(example: Mapping[str, Any], _: Place) -> ToolRecord:
    taken_apart(example["prompt"])
    return {
        "id": example["id"],
        "conversations": [said(turn) for turn in example["prompt"]],
        "chosen": said(example["chosen"][-1]),
        "rejected": said(example["rejected"][-1]),
    }


def _labelled(example: Mapping[str, Any], place: Place) -> ToolRecord:
    return {**_conversation(example, place), "kto_tag": example["label"]}


def information(
    counts: Counts, files: Mapping[str, Mapping[str, str]], described: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return dataset_info.json: an entry for every file that there is, named `cai_` and its part."""
    entries = {
        f"cai_{folder}{'' if split == 'train' else f'_{split}'}": {
            "file_name": files[folder][split],
            **described[folder],
        }
        for folder, count in counts.items()
        for split in split_names(count)
    }
    return json.dumps(entries, indent=2) + "\n"


def _told(counts: Counts) -> Mapping[str, str]:
    files = {part.folder: part.files() for part in LLAMA_FACTORY.parts}
    described = {folder: {"formatting": "sharegpt", **columns} for folder, columns in _COLUMNS.items()}
    return {INFORMATION: information(counts, files, described)}


LLAMA_FACTORY = ExportLayout(
    "llama-factory",
    "LLaMA-Factory",
    (
        Part("sft", "sft", _conversation),
        Part("preference", "preference", _compared),
        Part("kto", "thumbs", _labelled),
    ),
    _TRAINING,
    _told,
    (INFORMATION,),
)

SHAREGPT = ExportLayout(
    "sharegpt",
    "ShareGPT",
    (Part("sft", "sft", _conversation, "json"), Part("preference", "preference", _compared, "json")),
    "Each file is one JSON array. A conversation is `conversations`, a list of `{from, value}` by `system`, `human` "
    "and `gpt`; a pair has the answers beside it, `chosen` and `rejected`, as LLaMA-Factory extended the format.\n",
)
