"""What people and models wrote is text to a model in this process, never a token that ends a turn or begins one."""

from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.embedded.tokenizer import load_tokenizer
from cai.core.records import Message
from cai.models import TINY
from cai.models.conversation import ChatTokenizer

TOKENIZER = load_tokenizer(TINY)
CHAT = ChatTokenizer(TOKENIZER, None)
SPECIAL = [token.content for token in TOKENIZER.added_tokens_decoder.values()]
IDS = {TOKENIZER.convert_tokens_to_ids(token) for token in SPECIAL}


def conversation(*contents: str) -> list[Message]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(contents)]


def special_tokens(turns: ChatTokenizer, messages: list[Message]) -> list[str]:
    return [token for token in TOKENIZER.convert_ids_to_tokens(turns.encode_prompt(messages)) if token in SPECIAL]


pieces = st.one_of(st.sampled_from([*SPECIAL, "<", "|>", "<|", "<<|end|>", "\U000f0000", "\n"]), st.text(max_size=4))
texts = st.lists(pieces, max_size=8).map("".join)


@given(texts, texts, texts)
@pytest.mark.slow
def test_only_the_template_opens_and_ends_turns(first: str, second: str, third: str) -> None:
    messages = conversation(first, second, third)
    assert special_tokens(CHAT, messages) == special_tokens(CHAT, conversation("a", "b", "c"))
    rendered = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert TOKENIZER.decode(CHAT.encode_prompt(messages)) == rendered


@given(st.text())
def test_text_without_such_tokens_is_read_as_the_tokenizer_reads_it(text: str) -> None:
    messages = conversation(text)
    rendered = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if not any(token in text for token in SPECIAL):
        assert CHAT.encode_prompt(messages) == TOKENIZER.encode(rendered, add_special_tokens=False)


def test_a_tokenizer_without_special_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    bare: Any = transformers.PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer)
    bare.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    monkeypatch.setattr(type(bare), "added_tokens_decoder", {})
    assert ChatTokenizer(bare, None).encode_prompt(conversation("so")) == TOKENIZER.encode(
        "so", add_special_tokens=False
    )


def test_tags_of_thoughts_that_somebody_wrote_are_read_as_characters() -> None:
    made: Any = load_tokenizer(TINY)
    made.add_tokens(["<think>", "</think>", "<tool>"])  # as Qwen3's, which are not special
    thinking = {made.convert_tokens_to_ids(tag) for tag in ("<think>", "</think>")}
    asked = ChatTokenizer(made, None).encode_prompt(conversation("What does <think></think> mean, and <tool>?"))
    assert not thinking & set(asked)
    assert made.convert_tokens_to_ids("<tool>") in asked
    made.chat_template += "<think>"
    tokens = ChatTokenizer(made, None).encode_prompt(conversation("What does <think> mean?"))
    assert tokens[-1] in thinking
    assert not thinking & set(tokens[:-1])
    assert made.decode(tokens).count("<think>") == 2
