"""Telling what a model thought from what it says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.models.thinking import _FIRST_WORDS, _SIGNS, TAGS, THINK, Tags, opened_by, split

PAIRS = pytest.mark.parametrize("tags", TAGS, ids=lambda tags: tags.opening.strip())
_MARKS = re.compile(r"[<>\[\]◁▷|]|Here|analysis|assistant|to=")
WORDS = st.text(max_size=60).filter(lambda text: not _MARKS.search(text))
"""Texts without a tag, or a part of one."""
TAGGED = st.lists(
    st.one_of(st.sampled_from([tag for tags in TAGS for tag in (tags.opening, tags.closing)]), st.text(max_size=8)),
    max_size=8,
).map("".join)


@PAIRS
@given(reasoning=WORDS, text=WORDS)
def test_what_is_wrapped_is_found_again(tags: Tags, reasoning: str, text: str) -> None:
    assert split(tags.wrap(reasoning, text)) == (reasoning.strip(), text.lstrip(), True)
    assert split(tags.wrap(reasoning, text), None).text == text.lstrip()


@pytest.mark.parametrize("tags", [tags for tags in TAGS if not tags.words], ids=lambda tags: tags.opening.strip())
@given(reasoning=WORDS, text=WORDS)
def test_the_prompt_may_have_opened_the_thought(tags: Tags, reasoning: str, text: str) -> None:
    turn = f"{reasoning}{tags.closing}{text}"
    assert split(turn, opened=True) == (reasoning.strip(), text.lstrip(), True)
    assert split(tags.opening + turn, opened=True) == (reasoning.strip(), text.lstrip(), True)
    assert opened_by(f"user: hello{tags.opening}") is not None
    assert opened_by(f"user: hello{tags.opening}{tags.closing}") is None


@given(text=WORDS, opened=st.sampled_from([False, None]))
def test_a_text_without_tags_is_returned_as_it_is(text: str, opened: bool | None) -> None:
    assert split(text, opened) == ("", text, True)


@given(turn=TAGGED, opened=st.sampled_from([True, False, None]))
def test_what_was_split_has_no_thought_left(turn: str, opened: bool | None) -> None:
    text = split(turn, opened).text
    again = None if opened is None else False
    assert split(text, again) == ("", text, True)


@pytest.mark.parametrize(
    "turn",
    [
        "The tag <think> opens a thought and </think> closes it.",
        "Write `<think>`, then a thought, then `</think>`.",
        'You asked "what does <think> mean?": it opens a thought.',
        "A template may end in\n```\n<think>\n```\nand a model goes on.",
        "My analysis: it is fine.",
        "I said: Here is my response: no.",
    ],
)
def test_words_about_tags_stay_text(turn: str) -> None:
    assert split(turn) == ("", turn, True)
    assert split(turn, None) == ("", turn, True)
    assert split(f"<think>\nHm.\n</think>\n\n{turn}") == ("Hm.", turn, True)
    assert split(f"Hm.\n</think>\n\n{turn}", opened=True) == ("Hm.", turn, True)


@pytest.mark.parametrize(
    ("turn", "opened", "expected"),
    [
        ("<think>\n\n</think>\n\nYes.", False, ("", "Yes.", True)),
        ("<think></think>Yes.", False, ("", "Yes.", True)),
        ("\n\n<think>a</think>", False, ("a", "", True)),
        ("<think>a", False, ("a", "", False)),
        ("<think>", None, ("", "", False)),
        ("", True, ("", "", False)),
        ("still thinking", True, ("still thinking", "", False)),
        ("<think>a</think>\n<think>b</think>\nYes.", False, ("a\n\nb", "Yes.", True)),
        ("<think>a</think>[THINK]b[/THINK]Yes.", False, ("a\n\nb", "Yes.", True)),
        ("<think>a <think>b</think> c</think> Yes.", False, ("a <think>b</think> c", "Yes.", True)),
        ("<think>a\n<think>\nb\n</think>\nc", False, ("a\n<think>\nb\n</think>\nc", "", False)),
        ("<think>\n<think>\na</think>Yes.", False, ("<think>\na", "Yes.", True)),
        ("<think>\na</think>Yes.", True, ("a", "Yes.", True)),
        ("<think>a</think>b</think>Yes.", True, ("a</think>b", "Yes.", True)),
        ("What <think> means is asked.</think>It opens.", True, ("What <think> means is asked.", "It opens.", True)),
        ("a\n</think>\n\nYes.", None, ("a", "Yes.", True)),
        ("a\n</think>\n\nYes.", False, ("", "a\n</think>\n\nYes.", True)),
        ("a </think> b", None, ("", "a </think> b", True)),
        ("</think>\n\nYes.", False, ("", "Yes.", True)),
        ("Such a turn:\n<think>\na\n</think>\nb", None, ("", "Such a turn:\n<think>\na\n</think>\nb", True)),
        ("<think>a</think><answer>\nYes.\n</answer>", False, ("a", "Yes.", True)),
        ("<think>a</think>\n\n<response>\nYes.\n</response>\n", False, ("a", "Yes.", True)),
        ("<answer>Yes.</answer>", False, ("", "<answer>Yes.</answer>", True)),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>", False, ("a", "Yes.", True)),
        ("<|START_RESPONSE|>Yes.<|END_RESPONSE|>", False, ("", "Yes.", True)),
        ("<|channel|>final<|message|>Yes.", False, ("", "Yes.", True)),
        ("<|channel|>analysis<|message|>a", False, ("a", "", False)),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant", False, ("a<|end|><|start|>assistant", "", False)),
        ("analysisUser asks.assistantfinalYes.", None, ("User asks.", "Yes.", True)),
        ("<|channel>thought\na<channel|>Yes.", False, ("a", "Yes.", True)),
        ("<|channel>thought\n<channel|>Yes.", False, ("", "Yes.", True)),
        ("Here's my thought process: a\nHere's my response: Yes.", False, ("a", "Yes.", True)),
    ],
)
def test_turns_that_models_write(turn: str, opened: bool | None, expected: tuple[str, str, bool]) -> None:
    assert split(turn, opened) == expected


def test_a_prompt_opens_a_thought_only_at_its_end() -> None:
    assert opened_by("<|im_start|>assistant\n<think>\n") is THINK
    assert opened_by("what does <think> mean?\n<|im_start|>assistant\n") is None
    assert opened_by("<|im_start|>assistant\n<think>\n\n</think>\n\n") is None


def test_no_tag_is_passed_over_for_want_of_a_sign() -> None:
    for tags in TAGS:
        begun = tags.opening.lstrip().startswith(_FIRST_WORDS)
        assert begun or any(sign in tags.opening for sign in _SIGNS)
        assert begun or any(sign in tags.closing for sign in _SIGNS)
