"""Adapters named beside their base, and what is said about `vllm:` where vLLM is not installed."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from cai.core.errors import ModelError
from cai.core.records import Message
from cai.models import EngineOptions, check_engine_options, open_engine
from cai.models.base import Choice, Completion, Request, Sampling
from cai.models.checkpoint.resolve import Checkpoint, lora_rank
from cai.models.spec import ModelSpec

CHECKPOINT = Path(__file__).parent.parent / "cai" / "tiny" / "checkpoint"
QUESTION: tuple[Message, ...] = ({"role": "user", "content": "Can I take ibuprofen with a cold?"},)


def write_adapter(directory: Path, **config: Any) -> Path:
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4} | config))
    return directory


def write_base(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    return directory


def test_a_name_is_taken_apart_by_one_rule(tmp_path: Path) -> None:
    base, plus = write_base(tmp_path / "base"), write_base(tmp_path / "a+b")
    adapter = write_adapter(tmp_path / "mine+yours" / "lora", base_model_name_or_path=str(base))
    for name, where, on in (
        ("org/model", "org/model", None),
        (str(base), str(base), None),
        (str(plus), str(plus), None),
        (str(adapter), str(base), adapter),
        (f"org/model+{adapter}", "org/model", adapter),
        (f"{plus}+{adapter}", str(plus), adapter),
    ):
        assert Checkpoint.resolve(name) == Checkpoint(name, where, on, where)
    (adapter / "tokenizer_config.json").write_text("{}")
    assert Checkpoint.resolve(f"org/model+{adapter}").tokenizer == str(adapter)
    assert Checkpoint.resolve(str(base)).tokenizer == str(base)
    link = tmp_path / "link"
    link.symlink_to(base)
    assert Checkpoint.resolve(str(link)) == Checkpoint(str(link), str(base), None, str(base))
    for wrong in (f"org/model+{tmp_path}", f"+{adapter}", "org/model+"):
        with pytest.raises(ModelError, match=r"is no adapter: a directory with adapter_config\.json"):
            Checkpoint.resolve(wrong)


def test_what_cannot_be_resolved_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    moved = write_adapter(tmp_path / "moved", base_model_name_or_path="/elsewhere/base")
    for name, told in (
        (str(tmp_path), r"is no model: it has no config\.json and no adapter_config\.json$"),
        (str(tmp_path / "file"), "is a file; a model is a directory"),
        ("/nowhere/model", "there is no model directory /nowhere/model$"),
        ("some/deep/model", "there is no model directory"),
        (str(moved), rf"no model directory /elsewhere/base, which {moved} names as its base: .*BASE\+ADAPTER$"),
    ):
        with pytest.raises(ModelError, match=told):
            Checkpoint.resolve(name)
    assert Checkpoint.resolve(f"org/model+{moved}").base == "org/model"


def test_provenance_names_base_adapter_and_precision(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    adapter = write_adapter(tmp_path / "lora", base_model_name_or_path=str(base))
    plain, adapted = Checkpoint.resolve(str(base)), Checkpoint.resolve(str(adapter))
    assert re.fullmatch(rf"{tmp_path.name}/base#[0-9a-f]{{12}}", plain.label)
    assert re.fullmatch(rf"{tmp_path.name}/lora#[0-9a-f]{{12}}", adapted.label)
    assert plain.provenance("vllm", "float32", None) == f"vllm:{plain.label} float32"
    assert adapted.provenance("x", "bfloat16", None) == f"x:{adapted.label} on x:{plain.label} bfloat16"
    hub = Checkpoint.resolve("org/model")
    assert (hub.label, hub.provenance("x", "float16", "a" * 40)) == ("org/model", f"x:org/model#{'a' * 12} float16")


def test_the_rank_is_the_largest_of_all_layers_and_other_kinds_are_refused(tmp_path: Path) -> None:
    assert lora_rank(write_adapter(tmp_path / "plain")) == 4
    assert lora_rank(write_adapter(tmp_path / "some", rank_pattern={"q_proj": 12, "v_proj": 2})) == 12
    for name, config in (("dora", {"use_dora": True}), ("prefix", {"peft_type": "PREFIX_TUNING"})):
        with pytest.raises(ModelError, match="vLLM serves LoRA alone beside its base: open it with transformers:"):
            lora_rank(write_adapter(tmp_path / name, **config))


async def ask(spec: str) -> tuple[str, Completion, Choice]:
    engine = await open_engine(ModelSpec.parse(spec), EngineOptions(device="cpu"))
    try:
        completion = await engine.complete(Request(QUESTION, Sampling(temperature=0.0, max_tokens=24), seed=0))
        return engine.name, completion, await engine.choose(Request(QUESTION), ("A", "B"))
    finally:
        await engine.close()


@pytest.mark.slow
def test_the_base_before_the_plus_takes_the_adapter(tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(str(tmp_path / "adapter"))
    written = tmp_path / "adapter" / "adapter_config.json"
    by_itself = asyncio.run(ask(f"transformers:{tmp_path / 'adapter'}"))
    # A machine on which the base lies elsewhere than where the adapter was trained.
    written.write_text(json.dumps(json.loads(written.read_text()) | {"base_model_name_or_path": "/elsewhere"}))
    named = asyncio.run(ask(f"transformers:{CHECKPOINT}+{tmp_path / 'adapter'}"))
    assert named[1:] == by_itself[1:]
    assert "/adapter#" in named[0]
    assert " on transformers:tiny/checkpoint#" in named[0]
    plain = asyncio.run(ask(f"transformers:{CHECKPOINT}"))
    assert plain[2] != named[2]


def test_engine_options_without_vllm_are_refused() -> None:
    vllm, openai, tiny, local = map(
        ModelSpec.parse, ("vllm:org/model", "openai:m@http://127.0.0.1:1/v1", "tiny", "transformers:org/model")
    )
    check_engine_options((vllm, openai), ("max-model-len=5",))
    check_engine_options((tiny,), ())
    with pytest.raises(ModelError, match=r"--engine-option is for vLLM's engine, and no model here is a vllm:MODEL"):
        check_engine_options((tiny, local), ("max-model-len=5",))
    with pytest.raises(ModelError, match="is none of: tiny"):
        ModelSpec.parse("vllm:")


def test_the_command_line_passes_them_on_and_refuses_them() -> None:
    command = [sys.executable, "-m", "cai", "generate", "--constitution", "medical", "--engine-option", "dtype=half"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "cai: --engine-option is for vLLM's engine, and no model here is a vllm:MODEL\n"


def test_without_vllm_the_fix_is_named() -> None:
    program = (
        "import asyncio, sys\nsys.modules['vllm'] = None\n"
        "from cai.core.errors import ModelError\nfrom cai.models import open_engine\n"
        "from cai.models.spec import ModelSpec\n"
        "try:\n    asyncio.run(open_engine(ModelSpec.parse('vllm:org/model')))\nexcept ModelError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "vllm:org/model needs vllm: pip install 'cai[vllm]'\n"
