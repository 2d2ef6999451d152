"""`datasets` and TRL take an export as it is."""

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from cai.core.records import Row, Verdict
from cai.data.export import ExportOptions, export_run
from cai.method.verdicts import TIE_LEAD
from cai.rundir import Run
from tests.small_model import small_model
from tests.storage import fill, make_row

TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    fill(tmp_path / "run", [make_row(number) for number in range(40)])
    export_run(tmp_path / "run", ExportOptions(test_share=0.2))
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep `datasets` off the network and its cache in the test's own directory."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        # Other people's libraries, at import and in training.
        warnings.simplefilter("ignore")
        yield


def load(directory: Path, name: str) -> Any:
    return importlib.import_module("datasets").load_dataset(
        str(directory), name, cache_dir=str(directory.parent / "cache")
    )


def _leads(verdict: Verdict) -> bool:
    return verdict.probability is not None and abs(verdict.probability - 0.5) >= TIE_LEAD


@pytest.mark.slow
def test_datasets_loads_both_configs(exported: Path) -> None:
    sft, preference = load(exported, "sft"), load(exported, "preference")
    assert sft["train"].num_rows + sft["test"].num_rows == 80
    led = [verdict for row in Run.read(exported).rows() for verdict in row.verdicts if _leads(verdict)]
    assert preference["train"].num_rows + preference["test"].num_rows == len(led) > 100
    example = sft["train"][0]
    assert example["messages"] == example["prompt"] + example["completion"]
    assert [turn["role"] for turn in example["messages"]] == ["user", "assistant"]
    pair = preference["test"][0]
    assert pair["chosen"][0]["role"] == "assistant"
    assert pair["chosen"] != pair["rejected"]
    assert pair["chosen_probability"] > 0.5


def test_datasets_loads_what_is_there_when_a_split_is_empty(tmp_path: Path) -> None:
    fill(tmp_path / "run", [make_row(number) for number in range(3)])
    export_run(tmp_path / "run", ExportOptions(test_share=0.0))
    for name, each in (("sft", 2), ("preference", 3)):
        assert load(tmp_path / "run", name).num_rows == {"train": each * 3}


def test_datasets_loads_the_one_dataset_when_the_other_is_empty(tmp_path: Path) -> None:
    row = make_row(0)
    fill(tmp_path / "run", [Row(row.prompt, row.traces, (), row.usage, row.provenance)])
    export_run(tmp_path / "run", ExportOptions(test_share=0.0))
    assert load(tmp_path / "run", "sft").num_rows == {"train": 2}
    with pytest.raises(ValueError, match="preference"):
        load(tmp_path / "run", "preference")


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    special = ["</s>", "<user>", "<assistant>"]
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(special)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="</s>", chat_template=TEMPLATE
    )


def model() -> Any:
    torch.set_num_threads(1)
    return small_model(transformers.LlamaConfig, 260, eos_token_id=0, bos_token_id=0, pad_token_id=0)


def arguments(directory: Path) -> dict[str, Any]:
    return {
        "output_dir": str(directory),
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def test_trl_fine_tunes_on_the_completions(exported: Path, tmp_path: Path) -> None:
    trl = importlib.import_module("trl")
    words, sft = tokenizer(), load(exported, "sft")
    trainer = trl.SFTTrainer(
        model=model(),
        args=trl.SFTConfig(**arguments(tmp_path / "out"), max_length=None),
        train_dataset=sft["train"],
        eval_dataset=sft["test"],
        processing_class=words,
    )
    prepared = trainer.train_dataset[0]
    learnt = [token for token in prepared["labels"] if token != -100]
    assert words.decode(learnt) == sft["train"][0]["completion"][0]["content"] + "</s>"
    assert words.decode(prepared["input_ids"]).startswith("<user>question")
    assert trainer.train().training_loss > 0


@pytest.mark.slow
def test_trl_learns_preferences(exported: Path, tmp_path: Path) -> None:
    trl = importlib.import_module("trl")
    words, preference = tokenizer(), load(exported, "preference")
    trainer = trl.DPOTrainer(
        model=model(),
        ref_model=model(),
        args=trl.DPOConfig(**arguments(tmp_path / "out"), max_length=None),
        train_dataset=preference["train"],
        eval_dataset=preference["test"],
        processing_class=words,
    )
    prepared, pair = trainer.train_dataset[0], preference["train"][0]
    assert words.decode(prepared["chosen_ids"]) == pair["chosen"][0]["content"] + "</s>"
    assert words.decode(prepared["rejected_ids"]) == pair["rejected"][0]["content"] + "</s>"
    assert trainer.train().training_loss == pytest.approx(0.693, abs=0.01)
