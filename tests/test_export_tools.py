"""Exports read by the tools' own code, each in a process of its own: `make test-tools`, which installs them.

NeMo-RL is on no package index: its reader is tried where its repository is on PYTHONPATH. The tools' models and
trainers are not needed. What each demands of the columns is in `test_export_layouts.py` in any case.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cai.data.export import ExportOptions, export_run
from tests.layouts import make_run, records
from tests.templates import SHIPPED
from tests.test_evaluate_job import Models, bad, good, settings
from tests.test_evaluate_job import run as run_evaluation

pytestmark = pytest.mark.tools

COMMON = """
import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
folder = sys.argv[1]

def absent(name):  # imported for pictures and sounds, and not used
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    sys.modules.setdefault(name, module)

class Tokenizer:
    chat_template = sys.argv[2]
    bos_token_id = None
    eos_token, eos_token_id, pad_token_id = "</s>", 0, 0
    def apply_chat_template(self, messages, tokenize=False, add_generation_prompt=False, chat_template=None, **_):
        import jinja2
        text = jinja2.Template(chat_template or self.chat_template).render(
            messages=messages, add_generation_prompt=add_generation_prompt, eos_token="</s>", bos_token=""
        )
        return list(text.encode()) if tokenize else text
    def encode(self, text, add_special_tokens=False):
        return [1]
    def __call__(self, text, return_tensors=None, **_):
        import torch
        ids = torch.tensor([list(text.encode())])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
"""

LLAMA_FACTORY = """
absent("torchaudio")
from datasets import load_dataset
from llamafactory.data.converter import get_dataset_converter
from llamafactory.data.parser import get_dataset_list
told = {}
names = list(json.load(open(f"{folder}/dataset_info.json")))
for attributes in get_dataset_list(names, folder):
    rows = load_dataset("json", data_files=f"{folder}/{attributes.dataset_name}", split=attributes.split)
    convert = get_dataset_converter(attributes.formatting, attributes, SimpleNamespace(media_dir=None))
    told[attributes.dataset_name.split("/")[0]] = [convert(row) for row in rows]
"""

AXOLOTL = """
import yaml
from axolotl.prompt_strategies.chat_template import ChatTemplatePrompter, ChatTemplateStrategy
from axolotl.prompt_strategies.dpo import chat_template as dpo
from axolotl.prompt_strategies.kto import chatml
from axolotl.utils.dict import DictDefault
from datasets import load_dataset
told = {}
for name in ("sft", "preference", "kto"):
    settings = DictDefault(yaml.safe_load(open(f"{folder}/{name}.yaml")))
    settings.chat_template, settings.chat_template_jinja = "tokenizer_default", None
    (one,) = settings.datasets
    rows = load_dataset(one.ds_type, data_files=f"{folder}/{one.path}", split=one.split)
    if name == "sft":
        prompter = ChatTemplatePrompter(
            Tokenizer(), Tokenizer.chat_template, message_field_training=one.message_field_training
        )
        strategy = ChatTemplateStrategy(prompter, Tokenizer(), False, 4096, roles_to_train=["assistant"])
        told[name] = [strategy.get_conversation_thread(row) for row in rows]
    elif name == "preference":
        assert one.type == "chat_template.default"
        transform, _ = dpo.default(settings)
        told[name] = [transform(row, Tokenizer()) for row in rows]
    else:
        assert one.type == "chatml.argilla_chat"
        told[name] = [chatml.argilla_chat(settings)(row) for row in rows]
"""

OPENRLHF = """
from openrlhf.datasets.reward_dataset import RewardDataset
from openrlhf.datasets.sft_dataset import SFTDataset
from datasets import load_dataset
told = {}
for name, kind in (("sft", SFTDataset), ("preference", RewardDataset)):
    words = open(f"{folder}/{name}.args").read().split()
    options = {word.removeprefix("--"): follow for word, follow in zip(words, [*words[1:], None])}
    data = SimpleNamespace(**{
        key.removeprefix("data."): True if value is None else value
        for key, value in options.items()
        if key.startswith("data.")
    })
    strategy = SimpleNamespace(args=SimpleNamespace(data=data))
    rows = load_dataset("json", data_files=f"{folder}/{data.dataset}", split="train")
    made = kind(rows, Tokenizer(), 4096, strategy, num_processors=None)
    if name == "sft":
        told[name] = [[prompt, response] for prompt, response in zip(made.prompts, made.responses)]
    else:
        told[name] = [list(each) for each in zip(made.prompts, made.chosens, made.rejects)]
"""

VERL = """
import yaml
from omegaconf import OmegaConf
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.dataset.rm_dataset import RMDataset
told = {}
sft = OmegaConf.create(yaml.safe_load(open(f"{folder}/sft.yaml"))["data"])
sft.pad_mode = "no_padding"
made = MultiTurnSFTDataset.__new__(MultiTurnSFTDataset)
MultiTurnSFTDataset.__init__(made, f"{folder}/{sft.train_files}", Tokenizer(), sft)
told["sft"] = [list(messages) for messages in made.messages]
rl = OmegaConf.create(yaml.safe_load(open(f"{folder}/rl.yaml"))["data"])
rl.filter_overlong_prompts = False
made = RLHFDataset(f"{folder}/{rl.train_files}", Tokenizer(), rl)
told["rl"] = [made[place]["reward_model"] for place in range(len(made))]
made = RMDataset(f"{folder}/preference/train.parquet", Tokenizer(), max_length=4096)
told["preference"] = [made[place]["input_ids"].shape[0] for place in range(len(made))]
"""

NEMO_RL = """
import yaml
from nemo_rl.data.datasets.preference_datasets.preference_dataset import PreferenceDataset
from nemo_rl.data.datasets.response_datasets.oai_format_dataset import OpenAIFormatDataset
told = {}
for name, kind in (("sft", OpenAIFormatDataset), ("preference", PreferenceDataset)):
    one = yaml.safe_load(open(f"{folder}/{name}.yaml"))["data"]["train"]
    assert one["dataset_name"] == {"sft": "openai_format", "preference": "PreferenceDataset"}[name]
    told[name] = [dict(row) for row in kind(data_path=f"{folder}/{one['data_path']}").dataset]
"""

ARGILLA = """
from unittest.mock import MagicMock, patch
import argilla
from argilla._models import DatasetModel
from argilla.records._io import JsonIO
told = {}
with patch.object(argilla.Argilla, "_get_default", return_value=MagicMock()):
    for name in ("sft", "preference"):
        below = f"{folder}/{name}"
        DatasetModel(**json.load(open(f"{below}/.argilla/dataset.json")))
        settings = argilla.Settings.from_json(f"{below}/.argilla/settings.json")
        settings.validate()
        fields = {field.name for field in settings.fields}
        labels = {question.name: question.labels for question in settings.questions}
        told[name] = []
        for record in JsonIO._records_from_json(f"{below}/records.json"):
            assert set(record.fields.to_dict()) == fields
            for suggestion in record.suggestions:
                assert suggestion.value in labels[suggestion.question_name]
            told[name].append(record.fields.to_dict())
"""


def read_by(module: str, program: str, folder: Path) -> dict[str, list[Any]]:
    """Return what a tool's own code reads of a format's folder; skips where the tool is not installed."""
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    template = SHIPPED["qwen2_5"].read_text(encoding="utf-8")
    code = f"{COMMON}{program}\nprint('TOLD', json.dumps(told, default=str))"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder), template], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: dict[str, list[Any]] = json.loads(ran.stdout.partition("TOLD ")[2])
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("tools") / "run", "plain", "system", "talk", "both")


def folder_of(run: Path, name: str) -> Path:
    export_run(run, ExportOptions(test_share=0.0), name)
    return run / name


def pairs_of(run: Path) -> list[dict[str, Any]]:
    return records(folder_of(run, "jsonl"), "preference")


def texts(turns: list[dict[str, str]]) -> list[str]:
    return [turn["content"] for turn in turns]


@pytest.mark.parametrize("name", ["llama-factory", "alpaca"])
def test_llama_factory(run: Path, name: str) -> None:
    found = read_by("llamafactory", LLAMA_FACTORY, folder_of(run, name))
    pairs = pairs_of(run)
    assert [texts(one["_response"]) for one in found["preference"]] == [
        texts([*pair["chosen"], *pair["rejected"]]) for pair in pairs
    ]
    for one, pair in zip(found["preference"], pairs, strict=True):
        whole = [*([one["_system"]] if one["_system"] else []), *texts(one["_prompt"])]
        assert whole == texts(pair["prompt"])
    examples = records(run / "jsonl", "sft")
    assert [texts(one["_response"]) for one in found["sft"]] == [texts(one["completion"]) for one in examples]
    tagged = {one["_response"][0]["content"] != "" for one in found["kto"]}
    assert tagged == {True, False}


def test_axolotl(run: Path) -> None:
    found = read_by("axolotl", AXOLOTL, folder_of(run, "axolotl"))
    pairs = pairs_of(run)
    for one, pair in zip(found["preference"], pairs, strict=True):
        assert one["chosen"].startswith(pair["chosen"][0]["content"].rstrip())
        assert one["rejected"].startswith(pair["rejected"][0]["content"].rstrip())
        assert all(text in one["prompt"] for text in texts(pair["prompt"]))
    for one, example in zip(found["sft"], records(run / "jsonl", "sft"), strict=True):
        assert texts(one) == texts(example["messages"])
        assert [turn["training"] for turn in one] == [*[False] * (len(one) - 1), True]
    assert {one["label"] for one in found["kto"]} == {True, False}
    assert all(one["prompt"].endswith("<|im_start|>assistant\n") for one in found["kto"])


def test_openrlhf(run: Path) -> None:
    found = read_by("openrlhf", OPENRLHF, folder_of(run, "openrlhf"))
    pairs = pairs_of(run)
    for (prompt, chosen, rejected), pair in zip(found["preference"], pairs, strict=True):
        assert all(text in prompt for text in texts(pair["prompt"]))
        assert pair["chosen"][0]["content"] in chosen
        assert pair["rejected"][0]["content"] in rejected
    for (_, response), example in zip(found["sft"], records(run / "jsonl", "sft"), strict=True):
        assert example["completion"][0]["content"] in response


def test_verl(run: Path) -> None:
    found = read_by("verl", VERL, folder_of(run, "verl"))
    folder_of(run, "jsonl")
    assert [texts(one) for one in found["sft"]] == [texts(one["messages"]) for one in records(run / "jsonl", "sft")]
    assert len(found["rl"]) == len({one["id"] for one in records(run / "jsonl", "sft")})
    assert {one["style"] for one in found["rl"]} == {"model"}
    assert set(found["preference"]) == {2}  # chosen and rejected


def test_nemo_rl(run: Path) -> None:
    found = read_by("nemo_rl", NEMO_RL, folder_of(run, "nemo-rl"))
    for one, pair in zip(found["preference"], pairs_of(run), strict=True):
        assert one["context"] == pair["prompt"]
        best, worst = sorted(one["completions"], key=lambda completion: int(completion["rank"]))
        assert (best["completion"], worst["completion"]) == (pair["chosen"], pair["rejected"])
    assert [one["messages"] for one in found["sft"]] == [one["messages"] for one in records(run / "jsonl", "sft")]


def test_argilla(run: Path) -> None:
    found = read_by("argilla", ARGILLA, folder_of(run, "argilla"))
    for one, pair in zip(found["preference"], pairs_of(run), strict=True):
        assert one["prompt"] == pair["prompt"]
        assert {one["response_a"], one["response_b"]} == {pair[name][0]["content"] for name in ("chosen", "rejected")}


INSPECT = """
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries
told = {}
for info in list_eval_logs(folder):
    log = read_eval_log(info)
    assert log.status == "success" and log.results is not None and log.samples is not None
    told[log.eval.metadata["label"]] = [
        [one.id, one.input[-1].text, one.output.completion, {name: score.value for name, score in one.scores.items()}]
        for one in log.samples
    ]
    told["metrics"] = [[score.name, score.metrics["mean"].value] for score in log.results.scores]
    assert len(read_eval_log_sample_summaries(info)) == len(log.samples)
"""


def test_inspect_opens_the_logs_of_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, judge=good, poor=bad)
    found = run_evaluation(settings(tmp_path, "poor", judge="judge", format=("inspect",)))
    told = read_by("inspect_ai", INSPECT, tmp_path / "out" / "inspect")
    assert len(told["poor"]) == 12
    first = next(one for one in told["poor"] if one[0] == "q3")
    assert first[1:3] == ["Question 3, please?", "bad answer to Question 3, please?"]
    assert first[3]["breaks privacy"] is True
    metrics = dict(map(tuple, told["metrics"]))
    assert metrics["breaks any principle"] == found.measurement("breaks any principle", "poor").value == 1
