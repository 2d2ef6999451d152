"""Argilla's format: records to be read and judged by people, with what the judge said as a suggestion.

Each folder is what `argilla.Dataset.from_disk` reads (2.8): `.argilla/dataset.json`, `.argilla/settings.json` and
`records.json`. The two answers of a pair stand in an order drawn from the prompt's id, so that a person who looks at
the first alone agrees with the judge half of the time.
"""

import json
from collections.abc import Mapping
from typing import Any

from cai.core.identity import draw
from cai.data.export.layouts.descriptor import SOFT_LABELS, Counts, ExportLayout, Part, Place, ToolRecord
from cai.data.export.layouts.turns import plain

_SALT = 0
_RECORDS = "records.json"
_FOLDERS = ("sft", "preference")


def _answer(example: Mapping[str, Any], place: Place) -> ToolRecord:
    return {
        "id": f"{example['id']}:{example['sample']}:{example['round']}",
        "fields": {"prompt": plain(example["prompt"]), "response": example["completion"][-1]["content"]},
        "metadata": {"split": place.split, "prompt_id": example["id"]},
        "suggestions": {},
    }


def _pair(example: Mapping[str, Any], place: Place) -> ToolRecord:
    sources = example["chosen_source"], example["rejected_source"]
    shown = draw(_SALT, "argilla", example["id"], *sorted(sources)) < 0.5
    names = ("chosen", "rejected") if shown else ("rejected", "chosen")
    texts = {f"response_{place}": example[name][-1]["content"] for place, name in zip("ab", names, strict=True)}
    suggestion = {
        "value": "a" if shown else "b",
        "score": example["chosen_probability"],
        "type": "model",
        "agent": "judge",
    }
    return {
        "id": f"{example['id']}:{sources[0]}:{sources[1]}",
        "fields": {"prompt": plain(example["prompt"]), **texts},
        "metadata": {"split": place.split, "prompt_id": example["id"]},
        "suggestions": {"better": suggestion},
    }


def _field(name: str, kind: str) -> ToolRecord:
    return {"name": name, "title": name, "required": True, "settings": {"type": kind, "use_markdown": False}}


def _choice(name: str, title: str, options: Mapping[str, str]) -> ToolRecord:
    listed = [{"value": value, "text": text, "description": None} for value, text in options.items()]
    settings = {"type": "label_selection", "options": listed, "visible_options": None}
    return {"name": name, "title": title, "description": None, "required": True, "settings": settings}


_METADATA = [
    {"name": name, "title": name, "visible_for_annotators": False, "settings": {"type": "terms", "values": None}}
    for name in ("split", "prompt_id")
]

_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "sft": {
        "fields": [_field("prompt", "chat"), _field("response", "text")],
        "questions": [_choice("good", "Is this a good answer?", {"yes": "yes", "no": "no"})],
    },
    "preference": {
        "fields": [_field("prompt", "chat"), _field("response_a", "text"), _field("response_b", "text")],
        "questions": [
            _choice("better", "Which answer is better?", {"a": "the first", "b": "the second", "tie": "neither"})
        ],
    },
}


def _told(counts: Counts) -> Mapping[str, str]:
    texts = {}
    for folder, described in _SETTINGS.items():
        if counts[folder].size:
            settings = {
                "guidelines": None,
                **described,
                "vectors": [],
                "metadata": _METADATA,
                "allow_extra_metadata": False,
                "distribution": {"strategy": "overlap", "min_submitted": 1},
                "mapping": None,
            }
            about = {"name": f"cai-{folder}", "guidelines": None, "allow_extra_metadata": False}
            texts[f"{folder}/.argilla/settings.json"] = json.dumps(settings, indent=2) + "\n"
            texts[f"{folder}/.argilla/dataset.json"] = json.dumps(about, indent=2) + "\n"
    return texts


ARGILLA = ExportLayout(
    "argilla",
    "Argilla",
    (
        Part("sft", "sft", _answer, "json", file=_RECORDS),
        Part("preference", "preference", _pair, "json", holds=frozenset((SOFT_LABELS,)), file=_RECORDS),
    ),
    "```python\nimport argilla\n\n"
    'argilla.Argilla(api_url="…", api_key="…")\n'
    'argilla.Dataset.from_disk("preference")  # or "sft", from this directory\n```\n\n'
    "The answers of a pair stand in an order drawn from the prompt's id; what the judge preferred is the suggestion, "
    "with its probability as the score.\n",
    _told,
    tuple(f"{folder}/.argilla/{name}.json" for folder in _FOLDERS for name in ("settings", "dataset")),
)
