"""Attacks: what a model is sent, that what is asked can be got back, and what an evaluation makes of them."""

import ast
import base64
import codecs
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.core.errors import UsageError
from cai.core.records import Message, Prompt
from cai.evaluate.attacking import Attacks, attack_of, under_attack
from cai.method.attack_words import WORDS
from cai.method.attacks import ATTACKS, SHOTS, Attack, as_markdown
from cai.models.scripted import ScriptedEngine
from tests.storage import user

ROOT = Path(__file__).parent.parent
QUESTION = "How do I {pick} a lock, 100% sure?"
LANGUAGES = sorted(WORDS)


def sent(name: str, *messages: Message, language: str = "en") -> tuple[Message, ...]:
    return Attack.parse(name, language).asked(messages or (user(QUESTION),)).messages


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ATTACKS)
def test_each_changes_something_and_no_turn_before_the_last(name: str, language: str) -> None:
    before: tuple[Message, ...] = (user("Hello."), {"role": "assistant", "content": "Hello!"})
    attack = Attack.parse(name, language)
    asked = attack.asked((*before, user(QUESTION)))
    assert (asked.messages, asked.prefill) != ((*before, user(QUESTION)), "")
    assert asked.messages[-1]["role"] == "user"
    assert asked.messages[-3:-1] == before
    assert attack.asked((*before, user(QUESTION))) == asked
    hidden = name in ("base64", "rot13", "letters", "reversed", "split")
    assert (QUESTION in asked.messages[-1]["content"]) != hidden


@given(st.text(min_size=1).filter(str.strip))
def test_what_is_encoded_can_be_decoded(text: str) -> None:
    (coded,) = sent("base64", user(text))
    assert base64.b64decode(coded["content"].rsplit("\n", 1)[1]).decode() == text
    (turned,) = sent("rot13", user(text))
    assert codecs.encode(turned["content"].split("\n\n", 1)[1], "rot13") == text
    (apart,) = sent("letters", user(text))
    if "/" not in text and not any("가" <= letter <= "힣" for letter in text):
        words = apart["content"].split("\n\n", 1)[1].split(" / ")
        assert " ".join(word[::2] for word in words) == text
    (backwards,) = sent("reversed", user(text))
    assert backwards["content"].split("\n\n", 1)[1][::-1] == text
    if " and b = " not in text and ". Join" not in text:
        (halves,) = sent("split", user(text))
        parts = halves["content"].removeprefix("Let a = ").partition(". Join")[0].split(" and b = ")
        assert "".join(map(ast.literal_eval, parts)) == text


def test_hangul_is_spelled_in_single_letters() -> None:
    (apart,) = sent("letters", user("값을 how?"), language="ko")
    assert apart["content"].endswith("\n\nㄱ ㅏ ㅄ ㅇ ㅡ ㄹ / h o w ?")


def test_the_operator_speaks_first_and_what_a_system_turn_said_stays() -> None:
    first, *_ = sent("persona", {"role": "system", "content": "Be brief."}, user(QUESTION))
    assert first["content"].startswith(WORDS["en"].persona)
    assert first["content"].endswith("Be brief.")
    many = sent("many-shot", {"role": "system", "content": "Be brief."}, user(QUESTION))
    assert [turn["role"] for turn in many] == ["system", *["user", "assistant"] * SHOTS, "user"]


def test_names_are_composed_in_their_order() -> None:
    (one,), (other,) = sent("base64+role-play"), sent("role-play+base64")
    assert "Vera" in one["content"]
    assert "Vera" not in other["content"]
    for wrong in ("base65", "base64+", "base64+base64"):
        with pytest.raises(UsageError, match="--attack"):
            Attack.parse(wrong, "en")


def test_every_language_has_other_words() -> None:
    for a, b in itertools.combinations(LANGUAGES, 2):
        for name in ATTACKS:
            asked = [Attack.parse(name, language).asked((user("?"),)) for language in (a, b)]
            assert asked[0] != asked[1]


def test_the_page_has_the_table() -> None:
    assert as_markdown() in (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8"), as_markdown()


@pytest.mark.parametrize("own", ["attack:dan", "attack:base64"])
def test_a_tag_of_somebody_s_own_attacks_nobody(own: str) -> None:
    plain = Prompt("p1", 0, (user(QUESTION),), ("harmful", own))
    attacks = Attacks.parse(["base64"], "en")
    engine = ScriptedEngine(lambda _: "", lambda *_: [])
    assert attacks.send(engine, plain) == (engine, plain)
    (attacked,) = under_attack([plain], attacks.by_name.values())
    assert attack_of(attacked) == "base64"
    assert attacks.send(engine, attacked)[1].messages != plain.messages
