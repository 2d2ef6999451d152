"""Formats of trainers that take lists of {role, content}: Axolotl, OpenRLHF, verl and NeMo-RL.

What each reads was taken from its own loaders: `axolotl/prompt_strategies` (0.19.0), `openrlhf/datasets` (0.11.2),
`verl/utils/dataset` (0.9.1), and of NeMo-RL `nemo_rl/data/datasets` (August 2026). Paths in their settings are relative
to the format's own folder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from cai.core.arrow import MESSAGES
from cai.data.export.layouts.descriptor import REASONING, Counts, ExportLayout, Part, Place, ToolRecord, split_names
from cai.data.export.layouts.turns import plain, question_alone

_BELOW = "Its paths are relative to this directory: run the tool from here, or put the directory before them.\n"


def _conversation(example: Mapping[str, Any], _: Place) -> ToolRecord:
    return {"id": example["id"], "messages": plain([*example["prompt"], example["completion"][-1]])}


def _pair(example: Mapping[str, Any]) -> ToolRecord:
    names = ("prompt", "chosen", "rejected")
    return {"id": example["id"], **{name: plain(example[name]) for name in names}}


# Axolotl ------------------------------------------------------------------------------------------------------------


def _axolotl_conversation(example: Mapping[str, Any], _: Place) -> ToolRecord:
    """Return a conversation of which only the last turn is learnt; what was thought before it stands beside it."""
    *before, answer = plain([*example["prompt"], example["completion"][-1]])
    thought = example["completion"][-1].get("thinking")
    last = {**answer, "training": True} | ({} if thought is None else {"reasoning_content": thought})
    return {"id": example["id"], "messages": [*({**turn, "training": False} for turn in before), last]}


def _axolotl_pair(example: Mapping[str, Any], _: Place) -> ToolRecord:
    pair = _pair(example)
    return {
        "id": pair["id"],
        "messages": pair["prompt"],
        "chosen": pair["chosen"][-1],
        "rejected": pair["rejected"][-1],
    }


def _axolotl_thumb(example: Mapping[str, Any], _: Place) -> ToolRecord:
    turns = plain([*example["prompt"], example["completion"][-1]])
    return {"id": example["id"], "completion": turns, "label": example["label"]}


_AXOLOTL: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "sft": ({}, {"type": "chat_template", "field_messages": "messages", "message_field_training": "training"}),
    "preference": (
        {"rl": "dpo"},
        {
            "type": "chat_template.default",
            "field_messages": "messages",
            "field_chosen": "chosen",
            "field_rejected": "rejected",
        },
    ),
    # Writes ChatML whatever the model's template is: Axolotl's KTO reads no chat template.
    "kto": ({"rl": "kto"}, {"type": "chatml.argilla_chat"}),
}


def _axolotl_settings(counts: Counts) -> Mapping[str, str]:
    texts = {}
    for part in AXOLOTL.parts:
        method, reading = _AXOLOTL[part.folder]
        found = {
            {"train": "datasets", "test": "test_datasets"}[split]: [
                {"path": part.files()[split], "ds_type": "json", "split": "train", **reading}
            ]
            for split in split_names(counts[part.folder])
        }
        if found:
            texts[f"{part.folder}.yaml"] = yaml.safe_dump({**method, **found}, sort_keys=False)
    return texts


AXOLOTL = ExportLayout(
    "axolotl",
    "Axolotl",
    (
        Part("sft", "sft", _axolotl_conversation, holds=frozenset((REASONING,))),
        Part("preference", "preference", _axolotl_pair),
        Part("kto", "thumbs", _axolotl_thumb),
    ),
    "Add the lines of `sft.yaml`, `preference.yaml` or `kto.yaml` to your configuration, beside model and adapter. "
    f"{_BELOW}\nOf a conversation the last answer alone is learnt (`message_field_training`). Axolotl's KTO knows no "
    "chat templates: `kto.yaml` has ChatML's type, which is `llama3.argilla_chat` for Llama 3.\n",
    _axolotl_settings,
    ("sft.yaml", "preference.yaml", "kto.yaml"),
)


# OpenRLHF -----------------------------------------------------------------------------------------------------------


def _openrlhf_answer(example: Mapping[str, Any], _: Place) -> ToolRecord:
    return {"id": example["id"], "input": plain(example["prompt"]), "output": plain(example["completion"])}


def _openrlhf_pair(example: Mapping[str, Any], _: Place) -> ToolRecord:
    return _pair(example)


_OPENRLHF: Mapping[str, Sequence[str]] = {
    "sft": ("--data.input_key input", "--data.output_key output"),
    "preference": ("--data.prompt_key prompt", "--data.chosen_key chosen", "--data.rejected_key rejected"),
}


def _openrlhf_arguments(counts: Counts) -> Mapping[str, str]:
    texts = {}
    for part in OPENRLHF.parts:
        files, splits = part.files(), split_names(counts[part.folder])
        options = {"train": "--data.dataset {}", "test": "--eval.dataset {} --eval.split train"}
        told = [options[split].format(files[split]) for split in splits]
        if told:
            lines = [*told, *_OPENRLHF[part.folder], "--data.apply_chat_template"]
            texts[f"{part.folder}.args"] = "\n".join(lines) + "\n"
    return texts


OPENRLHF = ExportLayout(
    "openrlhf",
    "OpenRLHF",
    (Part("sft", "sft", _openrlhf_answer), Part("preference", "preference", _openrlhf_pair)),
    "Give its command the arguments in `sft.args` or `preference.args`, beside your model:\n\n"
    "```sh\npython -m openrlhf.cli.train_sft $(cat sft.args) --model.model_name_or_path MODEL\n"
    "python -m openrlhf.cli.train_dpo $(cat preference.args) --model.model_name_or_path MODEL\n"
    f"python -m openrlhf.cli.train_rm $(cat preference.args) --model.model_name_or_path MODEL\n```\n\n{_BELOW}",
    _openrlhf_arguments,
    ("sft.args", "preference.args"),
)


# verl ---------------------------------------------------------------------------------------------------------------

_TEXT = pa.string()


def _verl_pair(example: Mapping[str, Any], _: Place) -> ToolRecord:
    """Return a pair as texts: its reader of pairs knows no chat templates, so there is one question and no system."""
    answers = {name: example[name][-1]["content"] for name in ("chosen", "rejected")}
    return {"id": example["id"], "prompt": question_alone(example["prompt"]), **answers}


def _verl_prompt(example: Mapping[str, Any], place: Place) -> ToolRecord:
    """Return a prompt to be answered, with an answer that a reward may compare with."""
    return {
        "data_source": "cai",
        "prompt": plain(example["prompt"]),
        "ability": "alignment",
        "reward_model": {"style": "model", "ground_truth": example["completion"][-1]["content"]},
        "extra_info": {"split": place.split, "index": place.number, "id": example["id"]},
    }


def _verl_settings(counts: Counts) -> Mapping[str, str]:
    texts = {}
    for part in VERL.parts:
        files, splits = part.files(), split_names(counts[part.folder])
        if splits and part.folder != "preference":
            key = {"messages_key": "messages"} if part.folder == "sft" else {"prompt_key": "prompt"}
            named = {f"{'train' if split == 'train' else 'val'}_files": files[split] for split in splits}
            texts[f"{part.folder}.yaml"] = yaml.safe_dump({"data": {**named, **key}}, sort_keys=False)
    return texts


VERL = ExportLayout(
    "verl",
    "verl",
    (
        Part("sft", "sft", _conversation, "parquet", schema=pa.schema([("id", _TEXT), ("messages", MESSAGES)])),
        Part(
            "preference",
            "preference",
            _verl_pair,
            "parquet",
            schema=pa.schema([(name, _TEXT) for name in ("id", "prompt", "chosen", "rejected")]),
        ),
        Part(
            "rl",
            "prompts",
            _verl_prompt,
            "parquet",
            schema=pa.schema(
                [
                    ("data_source", _TEXT),
                    ("prompt", MESSAGES),
                    ("ability", _TEXT),
                    ("reward_model", pa.struct([("style", _TEXT), ("ground_truth", _TEXT)])),
                    ("extra_info", pa.struct([("split", _TEXT), ("index", pa.int64()), ("id", _TEXT)])),
                ]
            ),
        ),
    ),
    "Add the lines of `sft.yaml` (SFT) or `rl.yaml` (PPO, GRPO) to your configuration. "
    f"{_BELOW}\n`rl` has every prompt once, to be answered by the policy; the ground truth is the run's own answer, "
    "and the reward is your reward model's. `preference` is plain text for `RMDataset`. verl learns every answer of a "
    "conversation, not only the last.\n",
    _verl_settings,
    ("sft.yaml", "rl.yaml"),
)


# NeMo-RL ------------------------------------------------------------------------------------------------------------


def _nemo_completions(prompt: Sequence[Mapping[str, Any]], ranked: Sequence[tuple[int, str]]) -> ToolRecord:
    completions = [{"rank": rank, "completion": [{"role": "assistant", "content": text}]} for rank, text in ranked]
    return {"context": plain(prompt), "completions": completions}


def _nemo_pair(example: Mapping[str, Any], _: Place) -> ToolRecord:
    """Return a pair; the lower rank is preferred, and ranks count from 0."""
    ranked = [(rank, example[name][-1]["content"]) for rank, name in enumerate(("chosen", "rejected"))]
    return {"id": example["id"], **_nemo_completions(example["prompt"], ranked)}


def _nemo_ranking(example: Mapping[str, Any], _: Place) -> ToolRecord:
    ranked = [(answer["rank"] - 1, answer["text"]) for answer in example["answers"]]
    return {"id": example["id"], **_nemo_completions(example["prompt"], ranked)}


_NEMO = {"sft": "openai_format", "preference": "PreferenceDataset"}


def _nemo_settings(counts: Counts) -> Mapping[str, str]:
    texts = {}
    for part in NEMO_RL.parts:
        files, splits = part.files(), split_names(counts[part.folder])
        if splits and part.folder in _NEMO:
            data = {
                {"train": "train", "test": "validation"}[split]: {
                    "dataset_name": _NEMO[part.folder],
                    "data_path": files[split],
                }
                for split in splits
            }
            texts[f"{part.folder}.yaml"] = yaml.safe_dump({"data": data}, sort_keys=False)
    return texts


NEMO_RL = ExportLayout(
    "nemo-rl",
    "NeMo-RL",
    (
        Part("sft", "sft", _conversation),
        Part("preference", "preference", _nemo_pair),
        Part("ranking", "ranking", _nemo_ranking),
    ),
    "Put the lines of `sft.yaml` or `preference.yaml` (DPO, reward models) in place of those in its example "
    f"configurations. {_BELOW}\n`ranking` has all answers of a prompt; its own trainers take pairs only.\n",
    _nemo_settings,
    ("sft.yaml", "preference.yaml"),
)
