"""How long prompts with begun turns are, over chat templates that models have: what a server is judged by."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trl
from transformers import AutoTokenizer

from cai.models.openai import dialect
from cai.models.openai.kinds import by_template

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
CHECKPOINT = Path(__file__).parent.parent / "cai" / "tiny" / "checkpoint"
MARK = re.compile(r"<[|\uff5c][^<>\"'\s{}]*[|\uff5c]?>|</?[a-z]+_of_[a-z]+>|\[/?(?:INST|THINK)\]|</?s>|</?think>")
NOT_FOR_TEXT = {"idefics3", "llava_next", "smolvlm"}
"""Templates whose content comes in parts."""

REWRITES_THE_LAST_TURN = {"gptoss", "muse_glimmer"}
"""Templates in which a turn that the assistant ended begins otherwise than one that it is to begin."""

NAMES = sorted(
    path.stem
    for path in TEMPLATES.glob("*.jinja")
    if not path.stem.endswith("_training") and path.stem not in NOT_FOR_TEXT
)
THINKING_OFF = by_template(False)["chat_template_kwargs"]


@cache
def tokenizer(name: str) -> Any:
    """Return a tokenizer to which all of a template's marks are tokens, as to the model's own."""
    found = AutoTokenizer.from_pretrained(CHECKPOINT)
    found.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
    found.bos_token = found.bos_token or "<s>"
    found.add_special_tokens({"additional_special_tokens": sorted(set(MARK.findall(found.chat_template)))})
    return found


def longer(name: str, thought: str, variables: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield by how much each prompt is longer than one in which the user says what the turn begins with."""
    tokens = tokenizer(name)
    turn = dialect._turn("tags", thought, dialect._COUNT)
    question = [{"role": "user", "content": dialect._COUNTING}]
    beside = [{"role": "user", "content": f"{dialect._COUNTING}\n{turn['content']}"}]

    def rendered(messages: list[Any], **how: bool) -> str:
        text: str = tokens.apply_chat_template(messages, tokenize=False, **how, **variables)
        return text

    def length(text: str) -> int:
        return len(tokens.encode(text, add_special_tokens=False))

    least = length(rendered(beside, add_generation_prompt=True))
    yield "appended", length(rendered(question, add_generation_prompt=True) + turn["content"]) - least  # SGLang
    yield "new", length(rendered([*question, turn], add_generation_prompt=True)) - least
    if not thought:  # vLLM
        yield "continued", length(rendered([*question, turn], continue_final_message=True)) - least


@pytest.mark.parametrize("name", NAMES)
def test_a_turn_that_is_continued_is_told_from_a_new_one_by_the_prompts_length(name: str) -> None:
    found = dict(longer(name, "", THINKING_OFF))
    assert -dialect._SHORTER <= found["appended"] <= dialect._LONGER < found["new"]
    continued = -dialect._SHORTER <= found["continued"] <= dialect._LONGER
    assert continued is (name not in REWRITES_THE_LAST_TURN)


@pytest.mark.parametrize("name", NAMES)
def test_a_turn_that_is_continued_behind_a_thought_is_no_longer_either(name: str) -> None:
    told: tuple[dict[str, Any], ...] = ({}, THINKING_OFF)
    for variables in told:
        assert -dialect._SHORTER <= dict(longer(name, dialect._THOUGHT, variables))["appended"] <= dialect._LONGER
