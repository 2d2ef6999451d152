"""What is found out of chat templates about thinking, over all that TRL ships and some of other makes."""

import asyncio
from typing import Any

import pytest

from cai.models.base import NOT_THINKING, Request, Thinking
from cai.models.conversation import ChatTokenizer
from tests.telling_model import BEGIN, OPENING, PLAIN, SWITCHED, TURNS, TellingEngine, tokenizer
from tests.templates import TEMPLATES, make_tokenizer

SHIPPED: dict[str, dict[bool | None, tuple[str, ...]]] = {
    "<think>": {
        None: ("deepseek_r1_distill", "deepseekv3", "lfm2_2_5", "lfm2_2_5_v2"),
        True: ("glm4moe", "nemotron_3_nano", "nemotron_3_super", "qwen3", "qwen3_5_think", "qwen3_6", "qwen3_8"),
        False: ("qwen3_5_nothink",),
    },
    "<|channel>thought": {False: ("gemma4", "gemma4_v5")},
    "<|channel|>analysis<|message|>": {None: ("gptoss",)},
    "to=self<|message|>": {None: ("muse_glimmer",)},
    "": {None: ("llama3", "gemma3", "phi3", "qwen2_5", "qwen3_instruct_2507", "cohere2")},
}
"""Tags, and whether a model thinks by itself where a variable can turn that on and off (None: none can)."""
OPENS = {
    "deepseek_r1_distill",
    "deepseekv3",
    "nemotron_3_nano",
    "nemotron_3_super",
    "qwen3_5_think",
    "qwen3_6",
    "qwen3_8",
}
ROWS = [(name, tags, default) for tags, rows in SHIPPED.items() for default, names in rows.items() for name in names]

EFFORT = PLAIN.replace(
    "{% for", "{% if reasoning_effort is defined and reasoning_effort not in ['none', 'high'] %}"
    "{{ raise_exception('none or high') }}{% endif %}[SET]{{ reasoning_effort | default('high') }}[/SET]{% for", 1
).replace("<|assistant|>\n", "<|assistant|>\n{# [THINK] #}")  # fmt: skip
BUDGET = TURNS + BEGIN + "{% if thinking_budget == 0 %}<seed:think>\n</seed:think>{% endif %}{% endif %}"
PROMPTED = (
    "{% if thinking %}<|system|>Respond with 'Here is my thought process:' and then 'Here is my response:'.<|end|>\n"
    "{% endif %}" + PLAIN
)


def chat(template: str, **variables: Any) -> ChatTokenizer:
    return ChatTokenizer(tokenizer(template), None, variables)


@pytest.mark.parametrize(("name", "tags", "default"), ROWS, ids=[row[0] for row in ROWS])
def test_templates_that_trl_ships(name: str, tags: str, default: bool | None) -> None:
    read = ChatTokenizer(make_tokenizer(TEMPLATES[name]), None)
    found = read.thinking
    assert (found.tags.opening.strip() if found.tags else "") == tags
    assert bool(found.on) == (default is not None)
    if default is not None:
        assert found.default == default
    assert (read.opened("on") is not None) == (name in {*OPENS, "qwen3_5_nothink"})
    assert (read.opened("off") is not None) == (name in OPENS and default is None)
    if found.off and tags == "<think>":
        assert read.closed("off")


@pytest.mark.parametrize(
    ("template", "opening", "on", "off", "default"),
    [
        (SWITCHED, "<think>\n", {"enable_thinking": True}, {"enable_thinking": False}, True),
        (OPENING, "<think>\n", {}, {}, True),
        (PLAIN, None, {}, {}, None),
        (EFFORT, "[THINK]\n", {"reasoning_effort": "high"}, {"reasoning_effort": "none"}, True),
        (EFFORT.replace("not in ['none', 'high']", "is none"), "[THINK]\n", {}, {}, None),
        (BUDGET, "<seed:think>\n", {"thinking_budget": -1}, {"thinking_budget": 0}, True),
        (PROMPTED, "Here is my thought process:\n", {"thinking": True}, {"thinking": False}, False),
    ],
    ids=["switched", "opening", "plain", "effort", "printed effort", "budget", "prompted"],
)
def test_switches_are_found_by_rendering(
    template: str, opening: str | None, on: dict[str, Any], off: dict[str, Any], default: bool | None
) -> None:
    found = chat(template).thinking
    assert (found.tags and found.tags.opening) == opening
    assert (found.on, found.off, found.default) == (on, off, default)


def test_a_template_option_is_the_default_and_a_mode_decides_over_it() -> None:
    read = chat(SWITCHED, enable_thinking=False)
    assert read.thinking.default is False
    assert read.closed("auto")
    assert not read.closed("on")
    assert read.closed("off")


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no') }}", "{% for _ in range(10 ** 9) %}x{% endfor %}", "{{ messages[5].content }}", ""],
)
def test_a_template_that_does_not_work_tells_nothing(template: str) -> None:
    found = chat(template or "x").thinking
    assert (found.tags, found.on, found.off, found.default) == (None, {}, {}, None)


def test_a_template_that_thinks_gives_the_texts_and_letters_of_one_that_does_not() -> None:
    """The data of a run are the same, whichever way the model keeps its thoughts apart."""

    def says(turn: str) -> str:
        if "</think>" in turn:
            return "\n\nB) is better."[len(turn.rsplit("</think>", 1)[1]) :]
        return "Hm, tea.\n</think>\n\nB) is better." if "<think>" in turn else "B) is better."

    answers = []
    for template in (PLAIN, OPENING, SWITCHED):
        engine = TellingEngine(tokenizer(template), says)
        asked = Request(({"role": "user", "content": "A or B?"},))
        for thinking in (Thinking(), NOT_THINKING, Thinking("on", 3)):
            request = Request(asked.messages, thinking=thinking)
            choice = asyncio.run(engine.choose(request, ("A", "B")))
            answers.append((asyncio.run(engine.complete(request)).text, choice.probabilities, choice.mass))
    assert set(answers) == {("B) is better.", (0.0, 1.0), 1.0)}
