"""Texts that stand where an answer should: each kind is named, and what is an answer is left alone.

The texts of data/smollm2_junk.jsonl are revisions of SmolLM2-135M-Instruct to dialogues of HH-RLHF (MIT licence, see
data/README.md), labelled by reading them, some of them after the detector's own word was seen.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.core.records import Message
from cai.core.words import Text
from cai.method import junk
from cai.method.junk import KINDS, Asked, Span, find_junk

LABELLED = Path(__file__).parent / "data" / "smollm2_junk.jsonl"
PROMPT: tuple[Message, ...] = ({"role": "user", "content": "Can you tell me how I download a whole car tonight?"},)
PRINCIPLE = "The response is kind and respectful; it does not insult, mock or belittle the user or anybody else."


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("The response does not help the user.", {"critique"}),
        ("It goes against the principle of kindness.", {"critique"}),
        ("이 답변은 원칙에 어긋납니다.", {"critique", "principle"}),
        ("Sure, here is the revised response: Call a doctor.", {"announcement"}),
        ("Revised response: Call a doctor.", {"announcement"}),
        ("수정된 답변: 의사에게 전화하세요.", {"announcement"}),
        ("No worries. Here's a much kinder version: Call a doctor.", {"announcement"}),
        ("I'll give you a kinder version of your message: Call a doctor.", {"announcement"}),
        ("I can offer a modified response: Call a doctor.", {"announcement"}),
        ("It is kind and respectful; it does not insult, mock or belittle anybody.", {"principle"}),
        ("You tell them to wait a whole night at home, that is bad.", {"copied critique"}),
        ("Can you tell me how I download a whole car tonight?", {"copied prompt"}),
        ("User: And then?\nAssistant: Then you sleep.", {"speakers"}),
        ("I am here to help. " * 6, {"loop"}),
    ],
)
def test_each_kind_is_named(text: str, kinds: set[str]) -> None:
    asked = Asked(PROMPT, PRINCIPLE, "You tell them to wait a whole night at home, and that is bad.")
    assert set(find_junk(text, asked)) == kinds


@pytest.mark.parametrize(
    "text",
    [
        "Call emergency services now, and stay with him until they come.",
        "The police response to this was slow, so people were angry. I am sorry that it happened to you.",
        "In principle you can, but ask your pharmacist first.",
        "The answer to that is a doctor's: please ask one today.",
        "119에 바로 전화하시고, 구급차가 올 때까지 옆에 계세요.",
        "No.",
        "Yes, I do. Here is a short version of the song: la, la.",
        "I can give you a ride to a doctor of your choice. The new version of the app has a map of them.",
        "```\nuser: jo\npassword: none\n```",
        "1. Wash it.\n2. Dry it.\n3. Put it away in a dry place.",
    ],
)
def test_an_answer_is_left_alone(text: str) -> None:
    assert find_junk(text, Asked(PROMPT, PRINCIPLE, "The response tells them to wait.")) == ()


def test_a_script_that_was_asked_for_is_an_answer() -> None:
    text = "User: And then?\nAssistant: Then you sleep."
    for question in ("Write a short dialogue between a user and an assistant.", "짧은 대화를 하나 써 주세요."):
        assert find_junk(text, Asked(({"role": "user", "content": question},))) == ()


def test_only_the_engine_knows_that_a_text_was_cut() -> None:
    assert find_junk("Call a doctor and", truncated=True) == ("cut",)
    assert find_junk("Call a doctor and") == ()


def test_on_labelled_texts_the_detector_errs_where_it_is_known_to() -> None:
    """The excerpt holds every text of the 96 that it got wrong: of all, it called 64 junk, 62 rightly, and missed 5."""
    rows = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    outcomes = Counter((bool(find_junk(row["text"], Asked(critique=row["critique"]))), row["junk"]) for row in rows)
    assert outcomes == {(True, True): 14, (False, False): 19, (True, False): 2, (False, True): 5}


@given(st.text(), st.text(), st.text())
def test_whatever_the_text_the_kinds_are_known_ones_in_their_order(text: str, principle: str, critique: str) -> None:
    kinds = find_junk(text, Asked(PROMPT, principle, critique))
    assert list(kinds) == [kind for kind in KINDS if kind in kinds]


@pytest.mark.parametrize(
    ("find", "pattern"),
    [(junk.find_critique, junk._CRITIQUES), (junk.find_announcement, junk._ANNOUNCES)],
    ids=["critiques", "announcements"],
)
def test_a_text_without_the_signs_has_nothing_that_the_pattern_finds(
    find: Callable[[Text], Span | None], pattern: re.Pattern[str]
) -> None:
    texts = [json.loads(line)["text"] for line in LABELLED.read_text().splitlines()]
    texts += [
        "Sure, here is the revised response: No.",
        "I changed this.",
        "Let me write a modified text: No.",
        "새로운 답변: 아니요.",
    ]
    found = 0
    for text in (
        *texts,
        *map(str.upper, texts),
        *(text.replace("s", "\u017f").replace("i", "\u0131") for text in texts),
    ):
        match = pattern.search(text)
        found += match is not None
        assert find(Text(text)) == (match.span() if match else None)
    assert found
