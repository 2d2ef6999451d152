"""Variables for chat templates: how they are read, refused, and where they arrive."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from benchmarks.embedded.tokenizer import load_tokenizer
from cai.core.errors import ModelError
from cai.models import TINY, EngineOptions, check_engine_options, open_counter, open_engine
from cai.models.conversation import ChatTokenizer
from cai.models.spec import ModelSpec
from cai.models.template_options import read_template_options, told_variables


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("enable_thinking=false", False),
        ("budget=64", 64),
        ("effort=low", "low"),
        ('effort="low"', "low"),
        ("date=2026-11-25", "2026-11-25"),
        ("share=0.5", 0.5),
        ("nothing=null", None),
        ("words=", ""),
        ("odd=NaN", "NaN"),
        ("sum=1=1", "1=1"),
        ('topics=["a", 1]', ["a", 1]),
    ],
)
def test_a_value_is_json_or_text(text: str, value: Any) -> None:
    assert list(read_template_options([text]).values()) == [value]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["thinking"], "'thinking' is not of the form key=value"),
        (["=1"], "is not of the form key=value"),
        (["a-b=1"], "'a-b' is not of the form key=value"),
        (["a=1", "a=2"], "a is given twice"),
        (["messages=[]"], "cai sets that"),
        (["add_generation_prompt=false"], "cai sets that"),
        (["return_dict=true"], "cai sets that"),
        (["api_key=k"], "api_key is a .*no chat template needs one"),
    ],
)
def test_what_cannot_be_is_refused_without_its_value(options: list[str], told: str) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        read_template_options(options)
    assert "=k" not in str(caught.value)


def test_models_without_a_template_refuse_them() -> None:
    scripted, tiny = ModelSpec.parse("scripted"), ModelSpec.parse("tiny")
    check_engine_options((scripted, tiny), (), ("a=1",))
    check_engine_options((scripted,), (), ())
    with pytest.raises(ModelError, match=r"--template-option is for a model's chat template.*tiny, transformers:MODEL"):
        check_engine_options((scripted,), (), ("a=1",))


def test_a_template_renders_with_them_wherever_it_does(tmp_path: Path) -> None:
    tokenizer: Any = load_tokenizer(TINY)
    tokenizer.chat_template = "{{ mood | default('') }}" + tokenizer.chat_template
    chat = ChatTokenizer(tokenizer, None, {"mood": "cheerful"})
    plain = ChatTokenizer(tokenizer, None)
    messages: Any = [{"role": "user", "content": "Hello"}]
    assert tokenizer.decode(chat.encode_prompt(messages)).startswith("cheerful")
    for path in TINY.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    (tmp_path / "chat_template.jinja").write_text(tokenizer.chat_template)
    spec = ModelSpec.parse(f"transformers:{tmp_path}")
    options = EngineOptions(device="cpu", template_options=("mood=cheerful",))
    more = len(chat.encode_prompt(messages)) - len(plain.encode_prompt(messages))
    assert open_counter(spec, options).count(messages) == open_counter(spec).count(messages) + more

    async def name() -> str:
        engine = await open_engine(spec, options)
        await engine.close()
        return engine.name

    assert asyncio.run(name()).endswith(' mood="cheerful"')


def test_a_name_has_them_in_one_order() -> None:
    assert told_variables({"b": "x", "a": False}) == ["a=false", 'b="x"']
