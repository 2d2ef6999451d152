"""What a model learns to end its turns with is what generation by it stops at, however the result is opened."""

import asyncio
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.models import EngineOptions, open_engine
from cai.models.base import Completion, Request, Sampling
from cai.models.local.loading import load
from cai.models.spec import ModelSpec
from cai.train.methods.sft import build_sft
from cai.train.settings import AdapterSettings, DataSettings, FitSettings, TrainSettings
from cai.train.template.preparing import prepare_template
from tests.test_train_templates import CHATML, make_tokenizer
from tests.train_context import GOOD, QUESTIONS, assistant, make_context, make_model, user
from tests.training import train

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    from trl import chat_template_utils

LORA = AdapterSettings(adapter="lora", rank=4)
CONTEXT = 8192
"""Tokens: some templates begin with a long text of their own."""
SHIPPED = sorted(
    name
    for name, value in vars(chat_template_utils).items()
    if name.endswith("_chat_template") and isinstance(value, str)
)


def base_model(directory: Path, template: str | None, end: str) -> Path:
    """Write a model that says token 0, `end`, over and over, and knows another token as its end: </s>."""
    tokenizer = make_tokenizer(template, first=end)
    assert tokenizer.convert_tokens_to_ids(end) == 0
    model = make_model()
    model.resize_token_embeddings(len(tokenizer))
    torch.nn.init.zeros_(model.model.norm.weight)  # all tokens are as likely, and the first one is taken
    eos = tokenizer.eos_token_id
    model.config.eos_token_id = model.generation_config.eos_token_id = eos
    model.config.max_position_embeddings = CONTEXT
    model.config.pad_token_id = model.generation_config.pad_token_id = None
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def run(directory: Path, model: Path, *, adapter: AdapterSettings | None = None, template: str | None = None) -> Path:
    """Train for a step at a rate too small to change a weight, and return OUT."""
    data = directory / "rows.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{i} {QUESTIONS[0]}", "completion": GOOD}) + "\n" for i in range(8)))
    settings = TrainSettings(
        method="sft",
        model=ModelSpec.checkpoint(str(model)),
        out=directory / "out",
        data=DataSettings((DataSource.parse(str(data)),), test_share=0.0),
        adapter=adapter or AdapterSettings(),
        fit=FitSettings(max_steps=1, batch_size=8, learning_rate=1e-60, device="cpu", max_length=CONTEXT),
        template=template,
    )
    train(settings, lambda _: None)
    return settings.out


def say(spec: str) -> Completion:
    async def ask() -> Completion:
        engine = await open_engine(ModelSpec.parse(spec), EngineOptions(device="cpu"))
        try:
            return await engine.complete(Request((user("Hm?")[0],), Sampling(temperature=0.0, max_tokens=8), 0))
        finally:
            await engine.close()

    return asyncio.run(ask())


def test_a_base_model_does_not_stop_at_what_it_never_learned(tmp_path: Path) -> None:
    said = say(f"transformers:{base_model(tmp_path / 'model', CHATML, '<|im_end|>')}")
    assert said.finish_reason == "length", "or the other tests here could not fail"


@pytest.mark.parametrize("adapter", [None, LORA, AdapterSettings(adapter="lora", rank=4, merge=True)])
@pytest.mark.slow
def test_the_learned_end_is_what_generation_stops_at(tmp_path: Path, adapter: AdapterSettings | None) -> None:
    model = base_model(tmp_path / "model", CHATML, "<|im_end|>")
    out = run(tmp_path, model, adapter=adapter)
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [1, 0]
    specs = [f"transformers:{out}"]
    if adapter is LORA:
        specs.append(f"transformers:{model}+{out}")
    for spec in specs:
        said = say(spec)
        assert (said.text, said.finish_reason, said.completion_tokens) == ("", "stop", 1)


@pytest.mark.parametrize(
    "choice", ["chatml", *(pytest.param(name, marks=pytest.mark.slow) for name in ("alpaca", "plain"))]
)
@pytest.mark.slow
def test_our_own_templates_end_with_the_end_of_sequence(tmp_path: Path, choice: str) -> None:
    model = base_model(tmp_path / "model", None, "</s>")
    assert say(f"transformers:{run(tmp_path, model, template=choice)}").finish_reason == "stop"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "glm4moe_chat_template" else pytest.mark.slow) for name in SHIPPED],
)
@pytest.mark.slow
def test_a_model_trained_with_a_shipped_template_stops_where_it_learned_to(tmp_path: Path, name: str) -> None:
    template = getattr(chat_template_utils, name)
    tokenizer = make_tokenizer(template)
    try:
        ends = prepare_template(tokenizer, None, need_markers=False).ends
    except UsageError:  # refused in one sentence, before anything is trained: the other thing that may come of it
        return
    end = tokenizer.convert_ids_to_tokens(ends[0])
    out = run(tmp_path, base_model(tmp_path / "model", template, end))
    assert say(f"transformers:{out}").finish_reason == "stop"


def test_the_end_is_learned_where_padding_is_the_same_token(tmp_path: Path) -> None:
    rows = [{"prompt": user(question), "completion": assistant(GOOD)} for question in QUESTIONS]
    context = make_context(tmp_path, "sft", "supervised", rows)
    tokenizer: Any = context.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    batch = next(iter(build_sft(context).get_train_dataloader()))
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        learned = ids[labels != -100]
        assert learned[-1] == tokenizer.eos_token_id
        assert (learned == tokenizer.eos_token_id).sum() == 1


def test_an_end_that_is_no_token_s_number_is_refused(tmp_path: Path) -> None:
    directory = base_model(tmp_path / "model", CHATML, "<|im_end|>")
    path = directory / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": "<|im_end|>"}))
    with pytest.raises(Exception, match=r"is no token's number|cannot be opened"):
        load(str(directory), "cpu", "auto")


@pytest.mark.slow
def test_a_reward_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = base_model(tmp_path / "model", CHATML, "<|im_end|>")
    data = tmp_path / "pairs.jsonl"
    pairs = ({"prompt": f"{i}?", "chosen": GOOD, "rejected": "No."} for i in range(8))
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    settings = TrainSettings(
        method="reward",
        model=ModelSpec.checkpoint(str(model)),
        out=tmp_path / "out",
        data=DataSettings((DataSource.parse(str(data)),), test_share=0.0),
        fit=FitSettings(max_steps=1, batch_size=8, device="cpu"),
    )
    train(settings, lambda _: None)
    config = transformers.AutoConfig.from_pretrained(settings.out)
    assert config.eos_token_id == 1
