"""The model that is trained: found, measured, adapted, settled on a machine, and what comes out loads again."""

import asyncio
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import peft
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainingArguments

from cai.core.errors import ModelError, UsageError
from cai.core.machine import whole_memory
from cai.models import EngineOptions, open_engine
from cai.models.base import Request, Sampling
from cai.models.spec import ModelSpec
from cai.train import machine as machines
from cai.train.adapters.building import settle_adapter
from cai.train.context import Context
from cai.train.hardware import Choices, Workload, settle
from cai.train.machine import Machine, find_machine
from cai.train.methods import find_method
from cai.train.methods.dpo import DPOSettings
from cai.train.model import find_source, load_model, load_tokenizer, measure
from cai.train.plan import TrainPlan, plan_train
from cai.train.run import train as train_plan
from cai.train.settings import AdapterSettings
from tests.building import user
from tests.train_context import make_model
from tests.training import curve, make_settings, save_model, train

NONE = AdapterSettings()
LORA = AdapterSettings(adapter="lora", rank=4)
GIB = 1 << 30
CPU = Machine("cpu", "4 CPU cores", 8 * GIB, 4, False, 1, False)
GPU = Machine("cuda", "NVIDIA H100", 80 * GIB, 32, True, 1, False)
TINY = Workload(2_600_000, 2_600_000, 5, 192, 2048, 400, 1024, 1, False, False)
EIGHT = Workload(8_000_000_000, 8_000_000_000, 32, 4096, 128_256, 2000, 131_072, 1, False, False)


def answer(spec: str) -> tuple[str, str]:
    """Return an engine's name and what it says, drawn greedily."""

    async def ask() -> tuple[str, str]:
        engine = await open_engine(ModelSpec.parse(spec), EngineOptions(device="cpu"))
        try:
            request = Request((user("Can I rest?"),), Sampling(temperature=0.0, max_tokens=12), 0)
            return engine.name, (await engine.complete(request)).text
        finally:
            await engine.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
@pytest.mark.slow
def test_an_adapter_loads_in_the_engine_and_says_what_its_merged_model_says(tmp_path: Path, kind: Any) -> None:
    adapter = AdapterSettings(adapter=kind, rank=None if kind == "ia3" else 4)
    numbers: dict[str, Any] = {"max_steps": 12, "learning_rate": 0.3 if kind == "ia3" else 1e-2, "rows": 40}
    train(make_settings(tmp_path, out="adapter", adapter=adapter, **numbers), lambda _: None)
    train(make_settings(tmp_path, out="whole", adapter=replace(adapter, merge=True), **numbers), lambda _: None)
    assert (tmp_path / "adapter" / "adapter_config.json").exists()
    assert not (tmp_path / "adapter" / "config.json").exists()
    assert not (tmp_path / "whole" / "adapter_config.json").exists()
    assert orjson.loads((tmp_path / "adapter" / "train.json").read_bytes())["adapter"] == kind
    name, said = answer(f"transformers:{tmp_path / 'adapter'}")
    _, said_whole = answer(f"transformers:{tmp_path / 'whole'}")
    _, said_before = answer(f"transformers:{tmp_path / 'model'}")
    assert said == said_whole != said_before
    assert "/adapter#" in name
    assert "/model#" in name
    losses = [value for _, value in curve(tmp_path / "adapter")]
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.slow
def test_full_fine_tuning_goes_on_from_an_adapter_and_a_second_adapter_is_refused(tmp_path: Path) -> None:
    train(make_settings(tmp_path, out="first", adapter=LORA, max_steps=2, learning_rate=1e-2, rows=40), lambda _: None)
    first = str(tmp_path / "first")
    with pytest.raises(ModelError, match="is itself an adapter"):
        train(make_settings(tmp_path, out="second", model=first, adapter=LORA, rows=40), lambda _: None)
    source = find_source(ModelSpec.checkpoint(first), NONE)
    merged = load_model(source, NONE, weights="float32")
    base = load_model(find_source(ModelSpec.checkpoint(str(tmp_path / "model")), NONE), NONE, weights="float32")
    assert not torch.equal(merged.model.layers[0].mlp.up_proj.weight, base.model.layers[0].mlp.up_proj.weight)
    dpo = make_settings(tmp_path, "dpo", out="second", model=first, rows=40, max_steps=2)
    train(dpo, lambda _: None)
    # The reference is the merged model, not the base that its configuration names.
    assert curve(tmp_path / "second", "rewards/margins")[0][1] == pytest.approx(0, abs=1e-4)


def test_half_precision_weights_are_widened_for_a_cpu() -> None:
    source = find_source(ModelSpec.checkpoint("tiny"), NONE)
    model = load_model(source, NONE, weights="float32")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    tokenizer = load_tokenizer(source)
    assert tokenizer.pad_token_id == 0


def test_a_base_before_the_plus_takes_the_adapter_and_goes_on_from_there(tmp_path: Path) -> None:
    base, adapter = Path(save_model(tmp_path / "base")), tmp_path / "adapter"
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(str(adapter))
    written = adapter / "adapter_config.json"
    written.write_bytes(orjson.dumps(orjson.loads(written.read_bytes()) | {"base_model_name_or_path": "/elsewhere"}))
    model = ModelSpec.checkpoint(f"{base}+{adapter}")
    source = find_source(model, NONE)
    assert (source.base, source.adapter, source.tokenizer) == (str(base), adapter, str(base))
    merged = load_model(source, NONE, weights="float32")
    plain = load_model(find_source(ModelSpec.checkpoint(str(base)), NONE), NONE, weights="float32")
    assert all(weight.requires_grad for weight in merged.parameters())
    pairs = zip(merged.state_dict().items(), plain.state_dict().values(), strict=True)
    assert any(not torch.equal(mine, its) for (name, mine), its in pairs if "q_proj" in name)
    with pytest.raises(ModelError, match="is itself an adapter"):
        find_source(model, LORA)
    with pytest.raises(ModelError, match=r"there is no model directory /elsewhere, which .* names as its base"):
        find_source(ModelSpec.checkpoint(str(adapter)), NONE)


def test_a_model_is_measured_without_its_weights(tmp_path: Path) -> None:
    source = find_source(ModelSpec.checkpoint(f"transformers:{save_model(tmp_path / 'model')}"), LORA)
    shape = measure(source, LORA)
    model = make_model()
    assert shape.parameters == model.num_parameters()
    settings = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    assert shape.adapter_parameters == peft.get_peft_model(model, settings).get_nb_trainable_parameters()[0]
    assert (shape.layers, shape.hidden, shape.context) == (2, 32, 256)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("/nowhere/model", "there is no model directory"),
        ("openai:gpt@http://127.0.0.1:1/v1", "cannot be trained"),
        ("scripted", "cannot be trained"),
    ],
)
def test_what_is_no_model_is_one_sentence(model: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        find_source(ModelSpec.checkpoint(model), NONE)


def test_an_empty_directory_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"it has no config.json and no adapter_config.json"):
        find_source(ModelSpec.checkpoint(str(tmp_path)), NONE)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not say which model it adapts"):
        find_source(ModelSpec.checkpoint(str(tmp_path)), NONE)


def test_adapter_settings_that_contradict_one_another_are_told() -> None:
    with pytest.raises(UsageError, match="which is defined for lora, dora, ia3: with --adapter none leave it out"):
        settle_adapter(AdapterSettings(merge=True), "language")
    with pytest.raises(UsageError, match="add --adapter lora"):
        settle_adapter(AdapterSettings(quantize=True), "language")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU is here")
def test_four_bits_and_bfloat16_need_a_gpu() -> None:
    with pytest.raises(ModelError, match="CUDA GPU"):
        settle_adapter(AdapterSettings(adapter="lora", quantize=True), "language")
    with pytest.raises(ModelError, match="no usable CUDA"):
        find_machine("cuda")
    with pytest.raises(UsageError, match="trains in float32"):
        settle(replace(find_machine("cpu"), bfloat16=False), TINY, Choices(16, dtype="bfloat16"))


def test_a_container_s_limit_is_the_memory_that_a_batch_is_reckoned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(str(1 << 28))
    monkeypatch.setattr(machines, "whole_memory", partial(whole_memory, tmp_path))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert find_machine("cpu").memory == 1 << 27
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert find_machine("cpu").memory == 1 << 26


def test_a_gpu_that_only_emulates_bfloat16_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation

    gpu = SimpleNamespace(name="Tesla T4", total_memory=16 * GIB)
    for name, value in (("is_available", True), ("device_count", 1), ("get_device_properties", gpu)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    settled = settle(find_machine("cuda"), TINY, Choices(16))
    assert (settled.weights, settled.bfloat16) == ("float32", False)


@pytest.mark.parametrize(("launcher", "bfloat16", "settled"), [("bf16", False, "no"), ("no", True, "bf16")])
def test_the_precision_is_what_was_settled_whatever_a_launcher_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, bfloat16: bool, settled: str
) -> None:
    def build(context: Context) -> None:
        built.append(TrainingArguments(**context.arguments))
        raise InterruptedError

    built: list[Any] = []
    plan = plan_train(make_settings(tmp_path, rows=40))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    plan = replace(plan, hardware=replace(plan.hardware, bfloat16=bfloat16))
    monkeypatch.setattr(TrainPlan, "method", property(lambda self: replace(find_method("sft"), build=build)))
    with pytest.raises(InterruptedError):
        train_plan(plan, lambda _: None)
    assert built[0].mixed_precision == os.environ["ACCELERATE_MIXED_PRECISION"] == settled


def test_a_cpu_with_bfloat16_computes_in_it_when_asked_and_keeps_its_weights_in_float32() -> None:
    machine = replace(CPU, bfloat16=True)
    assert not settle(machine, TINY, Choices(16)).bfloat16
    asked = settle(machine, replace(TINY, trained=1000), Choices(16, dtype="bfloat16"))
    assert (asked.weights, asked.bfloat16) == ("float32", True)


def test_the_small_model_on_a_cpu_and_the_large_one_on_a_gpu() -> None:
    small = settle(CPU, TINY, Choices(16))
    assert small.sentence() == (
        "on 4 CPU cores: float32, batch 16 = 16 x 1, no checkpointing, no packing, up to 400 tokens"
    )
    large = settle(GPU, EIGHT, Choices(64))
    assert (large.weights, large.bfloat16, large.packing) == ("bfloat16", True, False)
    lora = settle(GPU, replace(EIGHT, trained=40_000_000), Choices(64))
    assert lora.weights == "bfloat16"
    assert lora.micro_batch >= large.micro_batch
    one = settle(GPU, replace(EIGHT, parameters=10**9, trained=10**9, layers=16, hidden=2048), Choices(64))
    assert (one.weights, one.bfloat16) == ("float32", True)


@given(
    batch=st.integers(1, 96),
    memory=st.integers(1, 200),
    longest=st.integers(1, 8000),
    sequences=st.sampled_from([1, 2]),
    cuda=st.booleans(),
    large=st.booleans(),
)
def test_a_step_always_sees_the_batch_that_was_asked_for(
    batch: int, memory: int, longest: int, sequences: int, cuda: bool, large: bool
) -> None:
    machine = replace(GPU if cuda else CPU, memory=memory * GIB)
    workload = replace(EIGHT if large else TINY, longest=longest, sequences=sequences)
    hardware = settle(machine, workload, Choices(batch))
    assert hardware.batch == batch
    assert hardware.max_length <= (workload.context or 0)
    assert hardware.max_length >= min(longest, workload.context or 0)
    more = settle(replace(machine, memory=2 * memory * GIB), workload, Choices(batch))
    if more.weights == hardware.weights and more.checkpointing == hardware.checkpointing:
        assert more.micro_batch >= hardware.micro_batch


def test_what_cannot_be_settled_is_one_sentence() -> None:
    for machine, choices, says in (
        (replace(CPU, processes=3), Choices(16), "multiple"),
        (CPU, Choices(16, max_length=2000), "context of 1024"),
        (GPU, Choices(16, dtype="float16"), "none of auto, float32, bfloat16"),
    ):
        with pytest.raises(UsageError, match=says):
            settle(machine, TINY, choices)


def test_a_reward_model_is_measured_with_its_head(tmp_path: Path) -> None:
    source = find_source(ModelSpec.checkpoint(str(save_model(tmp_path / "model"))), NONE)
    model = load_model(source, NONE, weights="float32", head="score")
    assert isinstance(model, transformers.LlamaForSequenceClassification)
    assert model.config.num_labels == 1
    assert measure(source, NONE, "score").parameters == model.num_parameters()
    assert model.config.pad_token_id == 0


def test_settings_of_other_methods_are_no_part_of_a_run_s_identity(tmp_path: Path) -> None:
    assert "beta" not in plan_train(make_settings(tmp_path, rows=40)).identity()
    assert plan_train(make_settings(tmp_path, "dpo", rows=40)).identity()["beta"] == "0.1"
    with pytest.raises(UsageError, match="sft has settings of its own, NoSettings, and was given DPOSettings"):
        plan_train(make_settings(tmp_path, rows=40, own=DPOSettings(beta=0.5)))


@pytest.mark.parametrize(
    ("recorded", "known"),
    [(None, None), ({"base_model": "org/name"}, "org/name"), ({"base_model": None}, None), ([], None)],
)
def test_the_hub_id_that_a_model_comes_from_is_passed_on_and_never_guessed(
    tmp_path: Path, recorded: Any, known: str | None
) -> None:
    model = save_model(tmp_path / "model")
    if recorded is not None:
        (model / "train.json").write_bytes(orjson.dumps(recorded))
    assert find_source(ModelSpec.checkpoint(str(model)), NONE).hub == known
    assert find_source(ModelSpec.checkpoint("org/other"), NONE).hub == "org/other"


@pytest.mark.slow
def test_a_card_names_the_base_on_the_hub(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    train(make_settings(tmp_path, out="unknown", max_steps=1, rows=40))
    assert "base_model" not in (tmp_path / "unknown" / "README.md").read_text()
    (model / "train.json").write_bytes(orjson.dumps({"base_model": "org/name"}))
    train(make_settings(tmp_path, out="known", max_steps=1, rows=40))
    assert "\nbase_model: org/name\n" in (tmp_path / "known" / "README.md").read_text()
    assert orjson.loads((tmp_path / "known" / "train.json").read_bytes())["base_model"] == "org/name"
