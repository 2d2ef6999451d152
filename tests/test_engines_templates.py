"""Every chat template answers a conversation or is refused in a sentence; turns that it does not take are changed."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from cai.core.errors import CaiError, ModelError, RequestError
from cai.core.records import Message
from cai.models import TINY, EngineOptions, open_engine
from cai.models.base import Request, Sampling
from cai.models.conversation import ChatTokenizer
from cai.models.spec import ModelSpec
from cai.models.template_check import check_template
from cai.models.tokens import TemplateCounter
from cai.models.turns import JOINED, SYSTEM, RefusedTurnsError, TurnFitter
from tests.templates import MADE, TEMPLATES, make_tokenizer

ROLES: dict[str, Any] = {"s": "system", "u": "user", "a": "assistant"}
SHAPES = ("u", "su", "uau", "suau", "uasu", "uu", "uaau", "ssu", "susu", "suasu", "au", "sau")
UNREADABLE = {"idefics3", "smolvlm", "llava_next", "for tools alone", "needs tools", "parts of text alone", "broken"}
"""Templates of which nothing can be made: they print parts alone, or want tools."""


def turns_of(shape: str) -> list[Message]:
    return [{"role": ROLES[letter], "content": f"Words of {number}."} for number, letter in enumerate(shape)]


def require_one_sentence(error: CaiError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 400


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_answers_and_chooses_or_is_refused_in_a_sentence(name: str) -> None:
    tokenizer = make_tokenizer(TEMPLATES[name])
    try:
        check_template(tokenizer, name)
    except ModelError as error:
        require_one_sentence(error)
        assert name.removesuffix("_training") in {*UNREADABLE, "asks for no answer"}
        return
    chat = ChatTokenizer(tokenizer, 10_000)
    for shape in SHAPES:
        messages = turns_of(shape)
        try:
            tokens = chat.encode_prompt(messages)
        except RequestError as error:
            require_one_sentence(error)
            assert shape in ("au", "sau")
            continue
        text = tokenizer.decode(tokens)
        assert all(message["content"] in text for message in messages), (shape, text)
        assert text.count("<s>") <= 1
    counted = TemplateCounter(tokenizer)
    for shape in ("u", "su", "suau"):
        assert abs(counted.count(turns_of(shape)) - len(chat.encode_prompt(turns_of(shape)))) <= 2
    assert all(
        tuple(tokenizer.encode(letter)) in spelled for letter, spelled in zip("AB", chat.spell("AB").plain, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("no system turn", "su", "0 1"),
        ("no system turn", "suau", "0 1|2|3"),
        ("system turn left out", "suau", "0 1|2|3"),
        ("strict alternation", "su", "0 1"),
        ("strict alternation", "uu", "0 1"),
        ("strict alternation", "uaau", "0|1 2|3"),
        ("strict alternation", "susu", "0 1 2 3"),
        ("system turn first", "uasu", "0|1|2 3"),
        ("system turn first", "suasu", "0|1|2|3 4"),
        ("turns", "suasu", "0|1|2|3|4"),
        ("gemma", "su", "0 1"),
        ("gptoss", "uasu", "0|1|2 3"),
    ],
)
def test_what_a_template_does_not_take_stands_before_the_user_s_text(name: str, shape: str, says: str) -> None:
    chat = ChatTokenizer(make_tokenizer(TEMPLATES[name]), None)
    fitted = chat._turns.fit(turns_of(shape)).turns
    found = "|".join(
        " ".join(part.removeprefix("Words of ").removesuffix(".") for part in turn["content"].split("\n\n"))
        for turn in fitted
    )
    assert found == says


def test_it_is_said_once_and_counted() -> None:
    said: list[str] = []
    chat = ChatTokenizer(make_tokenizer(TEMPLATES["gemma"]), None, None, said.append)
    for shape in ("u", "su", "suau", "u"):
        chat.encode_prompt(turns_of(shape))
    assert said == [f"the model's chat template does not take the turns as they are: {SYSTEM}"]
    chat.tell_changes()
    assert said[1:] == [f"{SYSTEM} in 2 of 4 conversations"]


def test_an_engine_says_it_to_who_opened_it(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(TINY)
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + tokenizer.chat_template
    )
    tokenizer.save_pretrained(tmp_path / "model")
    said: list[str] = []

    async def answer() -> None:
        spec = ModelSpec.parse(f"transformers:{tmp_path / 'model'}")
        engine = await open_engine(spec, EngineOptions(device="cpu", say=said.append))
        try:
            for shape in ("su", "su", "u"):
                await engine.complete(Request(tuple(turns_of(shape)), Sampling(max_tokens=1)))
        finally:
            await engine.close()

    asyncio.run(answer())
    assert said[-2:] == [
        f"the model's chat template does not take the turns as they are: {SYSTEM}",
        f"{SYSTEM} in 2 of 3 conversations",
    ]


def test_a_conversation_that_the_assistant_begins_is_refused_with_the_template_s_reason() -> None:
    chat = ChatTokenizer(make_tokenizer(MADE["strict alternation"]), None)
    with pytest.raises(RequestError, match="refuses this conversation: TemplateError: roles must alternate"):
        chat.encode_prompt(turns_of("au"))


def test_an_empty_system_turn_leaves_no_blank_line() -> None:
    chat = ChatTokenizer(make_tokenizer(MADE["no system turn"]), None)
    messages: list[Message] = [{"role": "system", "content": " "}, {"role": "user", "content": "So?"}]
    assert chat._turns.fit(messages).turns == ({"role": "user", "content": "So?"},)


REFUSING = ("no system turn", "strict alternation", "system turn first", "nothing")


@given(st.text("sua", max_size=7).map(lambda shape: f"{shape}u"), st.sampled_from(REFUSING))
def test_no_word_is_lost_and_what_is_said_keeps_its_order(shape: str, name: str) -> None:
    def render(messages: Any, _prompt: bool) -> str:
        text = ""
        for place, message in enumerate(messages):
            if name == "no system turn" and message["role"] == "system":
                raise ValueError("no")
            if name == "strict alternation" and (message["role"] == "user") != (place % 2 == 0):
                raise ValueError("no")
            if name == "system turn first" and place and message["role"] == "system":
                continue
            text += message["content"]
        return text

    messages = turns_of(shape)
    try:
        fitted = TurnFitter(render).fit(messages)
    except RefusedTurnsError:
        assert "a" in shape
        return
    words = "\n\n".join(turn["content"] for turn in fitted.turns).split("\n\n")
    assert sorted(words) == [turn["content"] for turn in messages]
    said = [turn["content"] for turn in messages if turn["role"] != "system"]
    assert [part for part in words if part in said] == said
    assert fitted.turns[-1]["role"] == "user"
    assert set(fitted.changes) <= {SYSTEM, JOINED}
    assert bool(fitted.changes) == (fitted.turns != tuple(messages))
    assert TurnFitter(render).fit(fitted.turns) == (fitted.turns, ())
