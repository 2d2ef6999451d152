"""Python code that comes with a model is never run, and nobody is asked whether it may be."""

import ast
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from cai.cli.main import main
from cai.core.errors import ModelError
from cai.models import EngineOptions, check_engine_options
from cai.models.checkpoint.pretrained import load_pretrained
from cai.models.spec import ModelSpec

ROOT = Path(__file__).parent.parent
CHECKPOINT = ROOT / "cai" / "tiny" / "checkpoint"
LOADERS = {"from_pretrained", "from_config"}
FIXED = {"PeftModel", "LlamaForCausalLM", "PreTrainedTokenizerFast", "Masker"}
"""Classes with one meaning, which look at no `auto_map`; koredact's Masker opens an ONNX file."""


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, Path]:
    """Return a checkpoint whose own code writes a file as soon as it is imported, and that file."""
    model, marker = tmp_path / "model", tmp_path / "it-ran"
    shutil.copytree(CHECKPOINT, model)
    (model / "planted.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from transformers import LlamaConfig as Config, LlamaForCausalLM as Model, PreTrainedTokenizerFast as Words\n"
    )
    config = json.loads((model / "config.json").read_text())
    heads = ("AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoModel")
    config["model_type"] = "planted"
    config["auto_map"] = {"AutoConfig": "planted.Config", **dict.fromkeys(heads, "planted.Model")}
    (model / "config.json").write_text(json.dumps(config))
    words = json.loads((model / "tokenizer_config.json").read_text())
    words |= {"auto_map": {"AutoTokenizer": [None, "planted.Words"]}, "tokenizer_class": "PlantedTokenizer"}
    (model / "tokenizer_config.json").write_text(json.dumps(words))
    return model, marker


def test_the_planted_code_would_run(planted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, marker = planted
    # transformers notes on the class that it came with code, and would look for that code when any Llama is saved.
    monkeypatch.setattr(transformers.LlamaConfig, "_auto_class", transformers.LlamaConfig._auto_class)
    transformers.AutoConfig.from_pretrained(model, trust_remote_code=True)
    assert marker.exists(), "or the other tests here could not fail"


@pytest.mark.parametrize(
    "command",
    [
        ["models", "check", "transformers:{model}"],
        ["generate", "--constitution", "medical", "--limit", "1", "--model", "transformers:{model}"],
        ["generate", "--constitution", "medical", "--limit", "1", "--model", "transformers:{model}", "--dry-run"],
        ["evaluate", "transformers:{model}", "--constitution", "medical", "--limit", "1"],
        ["train", "sft", "--model", "{model}", "--data", "{data}"],
        ["train", "reward", "--model", "{model}", "--data", "{data}"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_no_command_runs_it_or_asks(
    planted: tuple[Path, Path],
    tmp_path: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, marker = planted
    data = tmp_path / "data.jsonl"
    row = {"prompt": "Hello?", "completion": "Hello."}
    if command[1] == "reward":
        row = {"prompt": "Hello?", "chosen": "Hello.", "rejected": "Bye."}
    data.write_text("".join(json.dumps(row | {"prompt": f"Hello {i}?"}) + "\n" for i in range(8)))
    words = [word.format(model=model, data=data) for word in command]
    if words[0] != "models":
        words += ["--out", str(tmp_path / "out")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    with pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr().err.splitlines()
    assert not marker.exists()
    assert left.value.code == 2, said
    assert "Python code that comes with it, which cai never runs" in said[-1]
    assert all(line.startswith("cai: ") for line in said)


def test_a_known_kind_needs_no_code_of_its_own(planted: tuple[Path, Path]) -> None:
    model, marker = planted
    config = json.loads((model / "config.json").read_text()) | {"model_type": "llama"}
    (model / "config.json").write_text(json.dumps(config))
    opened = load_pretrained(transformers.AutoModelForCausalLM.from_pretrained, str(model), dtype=torch.float32)
    assert type(opened) is transformers.LlamaForCausalLM
    assert not marker.exists()


def test_nobody_calls_a_loader_but_through_the_one_that_says_no() -> None:
    strays = []
    for path in sorted((ROOT / "cai").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = node.func
            if called.attr in LOADERS:
                owner = called.value.id if isinstance(called.value, ast.Name) else ast.unparse(called.value)
                if owner not in FIXED:
                    strays.append(f"{path.relative_to(ROOT)}:{node.lineno} {owner}.{called.attr}")
    assert not strays, "call them through cai.models.checkpoint.pretrained.load_pretrained"


@pytest.mark.parametrize(
    "option", ["trust-remote-code=true", "trust_remote_code=True", "--trust-remote-code=1", " trust-remote-code = yes"]
)
def test_vllm_cannot_be_told_to_run_it_either(option: str) -> None:
    options = EngineOptions(engine_options=("max-model-len=64", option))
    with pytest.raises(ModelError, match="never runs Python code that comes with a model"):
        check_engine_options((ModelSpec.parse("vllm:org/model"),), options.engine_options)
