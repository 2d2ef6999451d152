"""Chat templates for training: ours, the model's own, patched ones; what is marked and what is refused."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.errors import ModelError, UsageError
from cai.core.records import Message
from cai.models.template_check import check_template
from tests.templates import by_size

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    from trl import chat_template_utils

    from cai.train.template.markers import has_markers, with_markers
    from cai.train.template.preparing import TEMPLATES, prepare_template

TINY = Path(__file__).parent.parent / "cai" / "tiny" / "checkpoint"

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BRANCHES = """{{ bos_token }}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {{- '[INST] ' + m.content + ' [/INST]' }}
    {%- elif m.role == 'assistant' %}
        {{- m.content | trim }}{{ eos_token }}
    {%- endif %}
{%- endfor %}"""
DATA = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}</s>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
HIDDEN = (
    "{% for message in messages %}{% set turn = '<' + message.role + '>' + message.content + '</s>' %}{{ turn }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
WRONG = (
    "{% for message in messages %}{% generation %}{{ '<' + message.role + '>' + message.content + '</s>' }}"
    "{% endgeneration %}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
ENDLESS = (
    "{% for message in messages %}{{ '<' + message.role + '>' }}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content }}{% endgeneration %}{% else %}{{ message.content }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
NO_PREFIX = DATA.replace("<|assistant|>\n{% endif %}", "<|assistant|>\n<think>{% endif %}")
TOOLS_ONLY = {"tool_use": CHATML}


def make_tokenizer(template: Any = None, *, bos: bool = False, eos: str | None = "</s>", first: str = "</s>") -> Any:
    """Return a byte-level tokenizer; with `bos` it puts <s> before every text, as Llama's does.

    It has a token for whatever the template prints in angle brackets, as the model that the template came with has;
    token 0 is `first`.
    """
    named = (
        re.findall(r"<\|?[A-Za-z_/]+\|?>", template) if isinstance(template, str) else ["<|im_start|>", "<|im_end|>"]
    )
    special = list(dict.fromkeys([first, "</s>", "<s>", "<|assistant|>", *named]))
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens(special)
    if bos:
        inner.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=eos, bos_token="<s>", chat_template=template
    )


def marked_texts(tokenizer: Any, chat: list[Message]) -> list[str]:
    """Return the stretches of tokens that the loss would fall on, decoded."""
    encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    stretches: list[list[int]] = []
    before = 0
    for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True):
        if mask and not before:
            stretches.append([])
        if mask:
            stretches[-1].append(token)
        before = mask
    return [tokenizer.decode(stretch) for stretch in stretches]


words = st.text(st.sampled_from("abcäß 약\n.'\"{}%"), max_size=25)
said = words.map(lambda text: f"x{text}y")  # what an answer begins and ends with is no white space
exchanges = st.lists(st.tuples(words, said), min_size=1, max_size=4)


def chat_of(turns: list[tuple[str, str]], system: str | None = None) -> list[Message]:
    chat: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    for question, answer in turns:
        chat += ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return chat


@pytest.mark.parametrize("choice", TEMPLATES)
@settings(max_examples=25, deadline=None)
@given(turns=exchanges, system=st.none() | words)
def test_our_templates_mark_exactly_the_answers_and_their_end(
    choice: str, turns: list[tuple[str, str]], system: str | None
) -> None:
    tokenizer = make_tokenizer()
    assert prepare_template(tokenizer, choice, need_markers=True).done == f"{choice} (given)"
    chat = chat_of(turns, system)
    assert marked_texts(tokenizer, chat) == [answer + "</s>" for _, answer in turns]
    prompt = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template(chat)["input_ids"]
    assert whole[: len(prompt)] == prompt


@pytest.mark.parametrize(("template", "end"), [(CHATML, "<|im_end|>\n"), (BRANCHES, "</s>"), (DATA, "</s>")])
@settings(max_examples=25, deadline=None)
@given(turns=exchanges)
def test_a_template_without_markers_is_patched_and_says_the_same(
    template: str, end: str, turns: list[tuple[str, str]]
) -> None:
    original, patched = make_tokenizer(template), make_tokenizer(template)
    assert prepare_template(patched, None, need_markers=True).done == "the model's own with generation markers added"
    chat = chat_of(turns)
    assert patched.apply_chat_template(chat, tokenize=False) == original.apply_chat_template(chat, tokenize=False)
    assert marked_texts(patched, chat) == [answer + end for _, answer in turns]


def test_the_embedded_model_s_template_works_as_it_is() -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(TINY)
    before = tokenizer.chat_template
    assert prepare_template(tokenizer, None, need_markers=True).done == "the model's own"
    assert tokenizer.chat_template == before
    assert marked_texts(tokenizer, chat_of([("What now?", "Wait.")])) == ["Wait.<|end|>"]


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "gemma", "llama3", "phi3"])
def test_known_families_get_trl_s_training_template(family: str) -> None:
    original = getattr(chat_template_utils, f"{family}_chat_template")
    tokenizer = make_tokenizer(original)
    assert prepare_template(tokenizer, None, need_markers=True).done == "TRL's training template for the model's own"
    marked = marked_texts(tokenizer, chat_of([("secret question", "Answer."), ("second question", "Once more.")]))
    text = "".join(marked)
    assert "Answer." in text
    assert "Once more." in text
    assert "question" not in text


@pytest.mark.parametrize("family", ["llama3_1", "llama3_2"])
def test_families_that_trl_does_not_know_are_patched(family: str) -> None:
    tokenizer = make_tokenizer(getattr(chat_template_utils, f"{family}_chat_template"))
    assert prepare_template(tokenizer, None, need_markers=True).done == "the model's own with generation markers added"
    assert marked_texts(tokenizer, chat_of([("Q", "Answer.")])) == ["Answer.<|eot_id|>"]


def test_markers_in_the_wrong_place_are_moved_not_believed() -> None:
    tokenizer = make_tokenizer(WRONG)
    assert prepare_template(tokenizer, None, need_markers=True).done == "the model's own with generation markers added"
    assert marked_texts(tokenizer, chat_of([("Q", "Answer.")])) == ["Answer.</s>"]


UNCLOSED = ENDLESS.replace("{% generation %}", "").replace("{% endgeneration %}", "")
SPELLED = CHATML.replace("<|im_end|>", "[the end]")


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize("template", [UNCLOSED, ENDLESS, SPELLED])
def test_a_template_that_closes_no_turn_is_refused_in_every_layout(template: str, markers: bool) -> None:
    with pytest.raises(UsageError, match="give --template chatml"):
        prepare_template(make_tokenizer(template), None, need_markers=markers)
    # A policy that draws its own responses learns no end from the template, and a reward model none at all.
    if not markers:
        assert prepare_template(make_tokenizer(template), None, need_markers=False, need_ends=False).ends == ()


SHIPPED = {
    name: value
    for name, value in sorted(vars(chat_template_utils).items())
    if name.endswith("_chat_template") and isinstance(value, str)
}


@pytest.mark.parametrize("name", by_size(SHIPPED))
def test_of_a_shipped_template_an_end_is_learned_or_it_is_refused(name: str) -> None:
    template = SHIPPED[name]
    for rows in ("prompt and completion", "messages"):
        tokenizer = make_tokenizer(template)
        try:
            prepared = prepare_template(tokenizer, None, need_markers=rows == "messages")
        except UsageError:
            continue
        chat = chat_of([("What now?", "Wait."), ("And then?", "Go home.")])
        prompt = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(chat, tokenize=False)
        behind = tokenizer(whole.removeprefix(prompt).partition("Go home.")[2], add_special_tokens=False)["input_ids"]
        assert "Go home." in whole.removeprefix(prompt)
        assert set(prepared.ends) & set(behind)
        if rows == "messages":
            learned = "".join(marked_texts(tokenizer, chat))
            assert any(tokenizer.convert_ids_to_tokens(end) in learned for end in prepared.ends)


def test_a_template_that_closes_nothing_itself_is_replaced_by_trl_s_that_does() -> None:
    tokenizer = make_tokenizer(chat_template_utils.glm4moe_chat_template)
    prepared = prepare_template(tokenizer, None, need_markers=False)
    assert prepared.done == "TRL's training template for the model's own"
    assert tokenizer.convert_ids_to_tokens(list(prepared.ends)) == ["<|user|>"]


def test_a_template_that_never_ends_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cai.models.template_check._SECONDS", 0.1)
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(UsageError, match="TimeoutError: it does not end within"):
        prepare_template(make_tokenizer(endless), None, need_markers=False)
    with pytest.raises(ModelError, match="TimeoutError: it does not end within"):
        check_template(make_tokenizer(endless), "m")


@pytest.mark.parametrize(
    "template", [chat_template_utils.smolvlm_chat_template, "{% for m in messages %}Hm?{% endfor %}"]
)
def test_an_engine_refuses_a_template_that_does_not_print_what_is_said(template: str) -> None:
    with pytest.raises(ModelError, match="does not print what the user says"):
        check_template(make_tokenizer(template), "m")


def test_nothing_is_changed_when_no_markers_are_needed() -> None:
    tokenizer = make_tokenizer(HIDDEN)
    assert prepare_template(tokenizer, None, need_markers=False).done == "the model's own"
    assert tokenizer.chat_template == HIDDEN


def test_the_default_of_several_templates_is_patched_and_the_others_stay() -> None:
    tokenizer = make_tokenizer({"default": CHATML, "tool_use": HIDDEN})
    prepare_template(tokenizer, None, need_markers=True)
    assert has_markers(tokenizer.chat_template["default"])
    assert tokenizer.chat_template["tool_use"] == HIDDEN


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "no chat template; give --template chatml, alpaca or plain"),
        (HIDDEN, "could not be patched"),
        (ENDLESS, "could not be patched"),
        (NO_PREFIX, "not the beginning of the prompt with its answer"),
        ("{{ raise_exception('never') }}", "cannot be rendered"),
        (TOOLS_ONLY, "no default one"),
        ("{{ 1 // 0 }}", "cannot be rendered (ZeroDivisionError"),
        ("{{ messages.x.y.z }}", "cannot be rendered (UndefinedError"),
        ("{{ 'x' * 10**7 }}", "cannot be rendered (it makes 10,000,000 characters"),
        ("{% for i in range(10**9) %}{% endfor %}", "cannot be rendered (OverflowError"),
        ("{{ messages[0].role | nothing }}", "cannot be rendered (TemplateAssertionError"),
        ("{% for %}", "cannot be rendered (TemplateSyntaxError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "cannot be rendered (RecursionError"),
    ],
)
def test_what_cannot_be_trusted_is_refused_in_one_sentence(template: Any, says: str) -> None:
    tokenizer = make_tokenizer(template)
    with pytest.raises(UsageError, match=re.escape(says)) as refused:
        prepare_template(tokenizer, None, need_markers=template in (None, HIDDEN, ENDLESS))
    assert "\n" not in str(refused.value)
    assert "--template" in str(refused.value)
    assert prepare_template(tokenizer, "chatml", need_markers=True).done == "chatml (given)"


def test_a_given_template_replaces_the_model_s_own_and_is_saved_with_it(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(CHATML)
    prepare_template(tokenizer, "alpaca", need_markers=False)
    tokenizer.save_pretrained(tmp_path)
    saved = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = saved.apply_chat_template(chat_of([("Q", "A")]), tokenize=False)
    assert text == "### Instruction:\nQ\n\n### Response:\nA</s>\n\n"


def test_a_text_begins_as_the_tokenizer_begins_it() -> None:
    for bos in (True, False):
        tokenizer = make_tokenizer(bos=bos)
        prepare_template(tokenizer, "plain", need_markers=True)
        text = tokenizer.apply_chat_template(chat_of([("Q", "A")]), tokenize=False)
        assert text.startswith("<s>User:" if bos else "User:")


def test_a_misnamed_template_and_a_tokenizer_without_an_end_are_told() -> None:
    with pytest.raises(UsageError, match="chatml, alpaca, plain, not vicuna"):
        prepare_template(make_tokenizer(), "vicuna", need_markers=True)
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        prepare_template(make_tokenizer(eos=None), "plain", need_markers=True)


def test_a_patch_is_only_believed_where_it_can_be_proved() -> None:
    nameless = "{% for message in messages %}{{ message.content }}{% endfor %}"
    assert with_markers("{{ messages }}") is None
    assert has_markers(str(with_markers(nameless)))
    with pytest.raises(UsageError, match="could not be patched"):  # nothing ends the assistant's turn
        prepare_template(make_tokenizer(nameless), None, need_markers=True)
