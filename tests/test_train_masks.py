"""The loss falls on what the assistant says and the end of its turn, to the token, whatever the chat template."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.errors import InputError, UsageError
from cai.core.records import Message
from cai.models.turns import JOINED, SYSTEM, TurnFitter
from cai.train.data.examples import Examples
from cai.train.data.fitting import REFUSED, fit_examples
from cai.train.example_tokens import count_cut, count_tokens
from cai.train.methods import find_method
from cai.train.template.preparing import prepare_template
from tests.templates import MADE, SHIPPED, TEMPLATES, by_size, make_tokenizer
from tests.train_context import make_context, one_thread  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")

SAID = ("Hold your breath.\n\nThen drink.", "Wait.")
UNUSABLE = {
    *("idefics3", "smolvlm", "llava_next", "for tools alone", "needs tools", "parts of text alone", "broken"),
    *("closes nothing", "space before the answer"),
    # Their prompt opens a thought, which an answer without one does not begin with, and nothing turns that off:
    *("deepseek_r1_distill", "deepseekv3", "thinks"),
}


def examples_of(kind: Any, rows: list[dict[str, Any]]) -> Examples:
    return Examples(kind, Dataset.from_list(rows), None, (), "0" * 16, {}, ())


def talk(*contents: str, system: str | None = None) -> list[Message]:
    turns: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    for number, content in enumerate(contents):
        turns.append({"role": "assistant" if number % 2 else "user", "content": content})
    return turns


def learned(tokenizer: Any, prompt: list[Message], answer: list[Message]) -> tuple[list[int], list[int]]:
    """Return a prompt's tokens and those behind it, as every trainer of TRL has them."""
    before = tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template([*prompt, *answer])["input_ids"]
    assert whole[: len(before)] == before
    return before, whole[len(before) :]


def rendered(tokenizer: Any, messages: Sequence[Message], prompt: bool) -> str:
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt))


@pytest.mark.parametrize("name", by_size(TEMPLATES))
def test_of_a_template_exactly_the_answer_is_learned_or_it_is_refused(name: str) -> None:
    for layout in ("completion", "pairs", "messages"):
        tokenizer = make_tokenizer(TEMPLATES[name], bos=True, pad="</s>", merges=True)
        try:
            prepared = prepare_template(tokenizer, None, need_markers=layout == "messages")
        except UsageError as error:
            message = str(error)
            assert "\n" not in message, message
            assert "--template" in message, message
            assert layout == "messages" or name.removesuffix("_training") in UNUSABLE, message
            continue
        prompt, answer = talk("So?", SAID[0], "And then?", system="Be brief."), talk("", SAID[1])[1:]
        rows: dict[str, dict[str, Any]] = {
            "completion": {"prompt": prompt, "completion": answer},
            "pairs": {"prompt": prompt, "chosen": answer, "rejected": talk("", "No.")[1:], "chosen_probability": 1.0},
            "messages": {"messages": [*prompt, *answer]},
        }
        row = rows[layout]
        kind: Any = "pairs" if layout == "pairs" else "supervised"
        examples = fit_examples(examples_of(kind, [row]), tokenizer)
        tokens = count_tokens(tokenizer, examples)
        assert tokens.longest > 10
        assert count_cut(tokenizer, examples, tokens, 10_000).answers == 0
        fitted = examples.train[0]
        if layout == "messages":
            encoded = tokenizer.apply_chat_template(
                fitted["messages"], return_dict=True, return_assistant_tokens_mask=True
            )
            pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
            text = tokenizer.decode([token for token, mask in pairs if mask])
            assert all(said in text for said in SAID)
        else:
            before, ids = learned(
                tokenizer, fitted["prompt"], fitted["completion" if layout == "completion" else "chosen"]
            )
            asked, text = tokenizer.decode(before), tokenizer.decode(ids)
            assert SAID[1] in text
            assert "Be brief." in asked
            assert asked.count("<s>") <= 1
            assert set(prepared.ends) & set(ids[ids.index(tokenizer.encode("W", add_special_tokens=False)[0]) :])
        assert not any(word in text for word in ("So?", "And then?", "Be brief."))


@pytest.mark.parametrize("name", ["nemotron_3_nano", "qwen3_5_think", "qwen3_8"])
@pytest.mark.parametrize("markers", [True, False])
def test_a_template_that_thinks_does_not_by_default_once_answers_without_are_learned(markers: bool, name: str) -> None:
    tokenizer = make_tokenizer(TEMPLATES[name], merges=True)
    done = prepare_template(tokenizer, None, need_markers=markers).done
    assert done.endswith(", not thinking unless it is told to")
    prompt = tokenizer.apply_chat_template(talk("So?"), tokenize=False, add_generation_prompt=True)
    assert "</think>" in prompt
    told = tokenizer.apply_chat_template(talk("So?"), tokenize=False, add_generation_prompt=True, enable_thinking=True)
    assert "</think>" not in told
    assert told.rstrip().endswith("<think>")
    # The model is saved with it, and trained again.
    template = tokenizer.chat_template
    assert prepare_template(tokenizer, None, need_markers=markers).done == "the model's own"
    assert tokenizer.chat_template == template


@pytest.mark.parametrize("name", [name for name in SHIPPED if f"{name}_training" in SHIPPED])
def test_what_was_trained_on_conversations_is_trained_on_conversations_again(name: str) -> None:
    tokenizer = make_tokenizer(TEMPLATES[name], merges=True)
    try:
        prepare_template(tokenizer, None, need_markers=True)
    except UsageError:
        return
    assert prepare_template(tokenizer, None, need_markers=True).done == "the model's own"


words = st.text(st.sampled_from("abc é약\n.'\"{}%<|"), max_size=20)
said = words.map(lambda text: f"x{text}y")
KEPT = (
    *("turns", "no system turn", "system turn left out", "strict alternation", "beginning of text printed"),
    *("gemma", "llama3", "qwen2_5", "phi3", "cohere"),
)


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("pad", ["<unk>", "</s>", "<|im_end|>"])
def test_the_answer_and_its_end_are_learned_to_the_token(pad: str, name: str) -> None:
    tokenizer = make_tokenizer(TEMPLATES[name], bos=pad == "</s>", pad=pad, eos="<|im_end|>", merges=pad != "<unk>")
    ends = prepare_template(tokenizer, None, need_markers=False).ends
    fitter = TurnFitter(partial(rendered, tokenizer))

    @settings(max_examples=10, deadline=None)
    @given(turns=st.lists(st.tuples(words, said), min_size=1, max_size=3), system=st.none() | said)
    def check(turns: list[tuple[str, str]], system: str | None) -> None:
        contents = [text for question, answer in turns for text in (f"{question}?", answer)]
        fitted = fitter.fit(talk(*contents, system=system)).turns
        _, ids = learned(tokenizer, list(fitted[:-1]), list(fitted[-1:]))
        end = next(place for place, token in enumerate(ids) if token in ends)
        assert tokenizer.decode(ids[:end]).strip() == contents[-1]
        assert not tokenizer.decode(ids[end:], skip_special_tokens=True).strip()

    check()


def test_what_a_template_does_not_take_is_changed_counted_and_said() -> None:
    rows = [
        {"prompt": talk("Q", system="S"), "completion": talk("", "A")[1:]},
        {"prompt": talk("Q"), "completion": talk("", "A")[1:]},
        {"prompt": [*talk("Q"), *talk("R")], "completion": talk("", "A")[1:]},
        {"prompt": [*talk("", "A")[1:], *talk("Q")], "completion": talk("", "A")[1:]},
    ]
    tokenizer = make_tokenizer(MADE["strict alternation"])
    examples = fit_examples(examples_of("supervised", rows), tokenizer)
    assert [row["prompt"] for row in examples.train] == [talk("S\n\nQ"), talk("Q"), talk("Q\n\nR")]
    assert examples.left_out == {f"{REFUSED}: TemplateError: roles must alternate": 1}
    begin = "the chat template does not take the turns as they are: "
    assert examples.remarks == (f"{begin}{SYSTEM} in 1 of 3 examples", f"{begin}{JOINED} in 1 of 3 examples")
    with pytest.raises(InputError, match=r"takes no conversation of the data \(TemplateError: roles must alternate\)"):
        fit_examples(examples_of("supervised", rows[3:]), tokenizer)


def test_examples_that_a_template_takes_are_left_as_they_are() -> None:
    rows = [{"messages": talk("Q", "A", system="S")}, {"messages": talk("Q", "A", "Q", "A")}]
    examples = examples_of("supervised", rows)
    assert fit_examples(examples, make_tokenizer(MADE["turns"])) is not None
    assert fit_examples(examples, make_tokenizer(MADE["turns"])).train is examples.train


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "orpo"])
@pytest.mark.parametrize("name", ["gemma", "beginning of text printed"])
def test_a_trainer_learns_the_answer_and_its_end_where_padding_is_the_end(
    name: str, method: str, tmp_path: Path
) -> None:
    end = "<end_of_turn>" if name == "gemma" else "<|im_end|>"
    tokenizer = make_tokenizer(TEMPLATES[name], bos=True, pad=end, eos=end, merges=True)
    rows: list[dict[str, Any]] = [
        {"prompt": talk(f"{'Q' * number}?", system="S"), "completion": talk("", f"A{'h' * number}")[1:]}
        for number in range(1, 5)
    ]
    if method != "sft":
        rows = [{**row, "label": number % 2 == 0} for number, row in enumerate(rows)]
    if method in ("dpo", "orpo"):
        wrong = talk("", "No")[1:]
        rows = [
            {"prompt": row["prompt"], "chosen": row["completion"], "rejected": wrong, "chosen_probability": 1.0}
            for row in rows
        ]
    context = make_context(tmp_path, method, find_method(method).data, rows, batch=4, max_steps=2)
    context = replace(context, tokenizer=tokenizer, examples=fit_examples(context.examples, tokenizer))
    trainer: Any = find_method(method).build(context)
    batch = next(iter(trainer.get_train_dataloader()))
    if method == "sft":
        ids, marks = batch["input_ids"], batch["labels"] != -100
    elif method == "orpo":
        ids, marks = batch["chosen_input_ids"], batch["chosen_labels"] != -100
    else:
        ids, marks = batch["input_ids"][:4], batch["completion_mask"][:4].bool()
    texts = sorted(tokenizer.decode(row[mark]).strip() for row, mark in zip(ids, marks, strict=True))
    assert texts == sorted(f"A{'h' * number}{end}" for number in range(1, 5))
    assert all(tokenizer.decode(row).count("<s>") == 1 for row in ids)
    trainer.train()
    assert trainer.state.global_step == 2
