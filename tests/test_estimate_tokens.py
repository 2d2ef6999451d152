"""Counting tokens without a model."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cai.core.errors import ModelError, RequestError
from cai.core.records import Message
from cai.models import TINY, open_counter
from cai.models.spec import ModelSpec
from cai.models.tokens import ByteCounter, TemplateCounter, WordCounter
from tests.building import assistant, user

tokenizer = AutoTokenizer.from_pretrained(str(TINY))
counter = open_counter(ModelSpec.parse("tiny"))


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=6))
@pytest.mark.slow
def test_the_embedded_model_s_tokens_are_counted_to_the_token(texts: list[str]) -> None:
    messages = [assistant(text) if i % 2 else user(text) for i, text in enumerate(texts)]
    whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert counter.count(messages) == len(tokenizer.encode(whole, add_special_tokens=False))


def test_a_conversation_that_the_template_refuses_is_refused_as_the_engine_refuses_it() -> None:
    strict = AutoTokenizer.from_pretrained(str(TINY))
    strict.chat_template = "{{ raise_exception('no system turns here') if messages[0].role == 'system' }}x"
    system: Message = {"role": "system", "content": "Be kind."}
    with pytest.raises(RequestError, match="no system turns here"):
        TemplateCounter(strict).count([system, user("hello")])


def test_servers_and_scripts() -> None:
    server = open_counter(ModelSpec.parse("openai:m@http://127.0.0.1:9/v1"))
    assert isinstance(server, ByteCounter)
    assert server.count([user("x" * 9)]) == 3 + 4
    # A Hangul syllable is three bytes: nearer to what tokenizers make of it than a quarter of a token.
    assert server.count([user("안녕하세요 여러분")]) == 7 + 4
    words = open_counter(ModelSpec.parse("scripted?delay_ms=5"))
    assert isinstance(words, WordCounter)
    assert words.count([user("a b"), assistant("c")]) == 3


def test_an_adapter_s_tokens_are_its_base_s_unless_it_has_its_own(tmp_path: Path) -> None:
    messages = [user("Can I take ibuprofen?"), assistant("No.")]
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": str(TINY), "peft_type": "LORA"}))
    assert open_counter(ModelSpec.parse(f"transformers:{tmp_path}")).count(messages) == counter.count(messages)
    assert open_counter(ModelSpec.parse(f"vllm:{TINY}+{tmp_path}")).count(messages) == counter.count(messages)
    wordier = AutoTokenizer.from_pretrained(str(TINY))
    wordier.chat_template = f"{{{{ 'Hello! ' * 9 }}}}{wordier.chat_template}"
    wordier.save_pretrained(tmp_path)
    for spec in (f"transformers:{tmp_path}", f"vllm:{TINY}+{tmp_path}"):
        assert open_counter(ModelSpec.parse(spec)).count(messages) > counter.count(messages) + 9
    config.write_text("{}")
    with pytest.raises(ModelError, match="does not say which model it adapts"):
        open_counter(ModelSpec.parse(f"transformers:{tmp_path}"))


def test_a_model_without_a_tokenizer_or_a_template_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"it has no config\.json"):
        open_counter(ModelSpec.parse(f"transformers:{tmp_path}"))
    with pytest.raises(ModelError, match="there is no model directory /nowhere"):
        open_counter(ModelSpec.parse("transformers:/nowhere"))
    shutil.copy(TINY / "config.json", tmp_path)
    with pytest.raises(ModelError, match=r"^the tokenizer of .* cannot be opened: "):
        open_counter(ModelSpec.parse(f"transformers:{tmp_path}"))
    bare = AutoTokenizer.from_pretrained(str(TINY))
    bare.chat_template = None
    bare.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has no chat template"):
        open_counter(ModelSpec.parse(f"transformers:{tmp_path}"))
