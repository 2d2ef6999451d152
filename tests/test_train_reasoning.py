"""Reasoning beside answers: left out and counted by default; learned as the chat template prints it where asked for."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.core.addresses import DataSource
from cai.core.errors import InputError, UsageError
from cai.core.records import Round, Trace
from cai.train.data.examples import Examples, load_examples
from cai.train.data.fitting import fit_examples
from cai.train.data.reasoning import WITHOUT, place_reasoning
from cai.train.methods import find_method
from cai.train.plan import plan_train
from cai.train.settings import DataSettings
from cai.train.template.preparing import prepare_template
from tests.storage import fill, make_row
from tests.templates import TEMPLATES, make_tokenizer
from tests.train_context import make_context, one_thread  # noqa: F401
from tests.training import make_settings

pytestmark = pytest.mark.usefixtures("one_thread")

THOUGHT = "They ask for rest."
RENDERING = (
    *("qwen3", "qwen3_5_think", "qwen3_6", "qwen3_8", "gptoss", "glm4moe", "lfm2_2_5", "nemotron_3_nano", "gemma4_v5"),
    *("thinks", "thinks where asked"),
)


def turn(content: str, thought: str | None = None) -> dict[str, str]:
    return {"role": "assistant", "content": content, **({"thinking": thought} if thought else {})}


def row(question: str, answer: str, thought: str | None) -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": question}], "completion": [turn(answer, thought)]}


def load(tmp_path: Path, rows: list[dict[str, Any]], kind: Any = "supervised", **options: Any) -> Examples:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in rows))
    return load_examples(kind, DataSettings((DataSource.parse(str(path)),), test_share=0.0, **options), 0)


def prepared(tmp_path: Path, name: str, rows: list[dict[str, Any]], kind: Any = "supervised") -> tuple[Any, Examples]:
    """Return the tokenizer and the examples as the plan of a training run makes them."""
    tokenizer = make_tokenizer(TEMPLATES[name], pad="</s>")
    examples = load(tmp_path, rows, kind, reasoning=True)
    whole = "messages" in examples.train.column_names
    found = prepare_template(tokenizer, None, need_markers=whole, reasoning=True)
    assert found.key is not None
    examples = fit_examples(examples, tokenizer)
    return tokenizer, place_reasoning(examples, tokenizer, found.key, always=found.always)


def test_it_is_not_learned_unless_asked_for_and_that_is_said(tmp_path: Path) -> None:
    rows = [row("Q", "A", THOUGHT), row("R", "B", None)]
    examples = load(tmp_path, rows)
    assert examples.remarks == (
        "what was thought before the answers of 1 example is not learned from; --reasoning does",
    )
    assert [sorted(each["completion"][0]) for each in examples.train] == [["content", "role"]] * 2
    plain = load(tmp_path, [row("Q", "A", None), row("R", "B", None)])
    assert examples.fingerprint == plain.fingerprint
    assert load(tmp_path, rows, reasoning=True).fingerprint != plain.fingerprint
    with pytest.raises(InputError, match="the data has none; leave it out"):
        load(tmp_path, [row("Q", "A", None)], reasoning=True)


@pytest.mark.parametrize("name", RENDERING)
def test_it_is_learned_as_the_template_prints_it(name: str, tmp_path: Path) -> None:
    tokenizer, examples = prepared(tmp_path, name, [row("Can I?", "Yes.", THOUGHT)])
    (example,) = examples.train
    before = tokenizer.apply_chat_template(example["prompt"], add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template(example["prompt"] + example["completion"])["input_ids"]
    assert whole[: len(before)] == before
    learned = tokenizer.decode(whole[len(before) :])
    assert THOUGHT in learned
    assert learned.index(THOUGHT) < learned.index("Yes.")
    assert examples.remarks[-1] == f"{len(THOUGHT)} tokens of reasoning are learned, of 1 example"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_prints_it_or_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    try:
        _, examples = prepared(tmp_path, name, [row("Can I?", "Yes.", THOUGHT), row("Shall I?", "No.", None)])
    except UsageError as error:
        said = str(error)
        assert "\n" not in said, said
        assert name not in RENDERING, said
        return
    assert len(examples.train) == 2 - examples.left_out.get(WITHOUT, 0)
    assert sum("tokens of reasoning" in remark for remark in examples.remarks) == 1


def test_answers_without_any_are_left_out_where_every_answer_begins_with_some(tmp_path: Path) -> None:
    rows = [row("Can I?", "Yes.", THOUGHT), row("Shall I?", "No.", None)]
    _, examples = prepared(tmp_path, "nemotron_3_nano", rows)
    assert len(examples.train) == 1
    assert examples.left_out == {WITHOUT: 1}
    _, examples = prepared(tmp_path, "qwen3", rows)
    assert len(examples.train) == 2
    assert not examples.left_out


def test_of_earlier_turns_the_template_decides(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": text} for text in ("One?", "Two?")]
    earlier = [asked[0], turn("First.", "An early thought."), asked[1]]
    for name, kept in (("qwen3", False), ("thinks", True)):
        tokenizer, examples = prepared(tmp_path, name, [{"prompt": earlier, "completion": [turn("Second.", THOUGHT)]}])
        (example,) = examples.train
        before = tokenizer.apply_chat_template(example["prompt"], tokenize=False, add_generation_prompt=True)
        assert ("An early thought." in before) == kept
        assert examples.remarks[-1] == f"{len(THOUGHT)} tokens of reasoning are learned, of 1 example"
    # TRL's training template for Qwen 3 prints every turn's, and marks it for the loss.
    tokenizer, examples = prepared(tmp_path, "qwen3", [{"messages": [*earlier, turn("Second.", THOUGHT)]}])
    encoded = tokenizer.apply_chat_template(
        examples.train[0]["messages"], return_dict=True, return_assistant_tokens_mask=True
    )
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    learned = tokenizer.decode([token for token, mask in pairs if mask])
    assert [text in learned for text in (THOUGHT, "An early thought.", "Two?")] == [True, True, False]
    assert examples.remarks[-1].startswith(f"{len(THOUGHT) + len('An early thought.')} tokens")


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "orpo"])
def test_every_method_that_learns_answers_learns_it(method: str, tmp_path: Path) -> None:
    kind = find_method(method).data
    if kind == "pairs":
        rows: list[dict[str, Any]] = [
            {"prompt": f"Q{number}", "chosen": [turn("Yes.", THOUGHT)], "rejected": [turn("No.", None)]}
            for number in range(4)
        ]
    else:
        rows = [{**row(f"Q{n}", f"Yes{n}.", THOUGHT if n else None), "label": n % 2 == 0} for n in range(4)]
    tokenizer, examples = prepared(tmp_path, "qwen3", rows, kind)
    context = make_context(tmp_path, method, kind, [{"prompt": "x"}], batch=4, max_steps=2, max_length=256)
    trainer: Any = find_method(method).build(replace(context, tokenizer=tokenizer, examples=examples))
    column = {"sft": "input_ids", "dpo": "chosen_ids", "kto": "completion_ids", "orpo": "chosen_input_ids"}[method]
    texts = Counter(f"<think>\n{THOUGHT}\n</think>" in tokenizer.decode(each[column]) for each in trainer.train_dataset)
    assert texts == ({True: 4} if kind == "pairs" else {True: 3, False: 1})
    trainer.train()
    assert trainer.state.global_step == 2


@pytest.mark.parametrize("method", ["reward", "grpo"])
def test_a_method_that_learns_no_answers_refuses_it(method: str, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, method)
    with pytest.raises(UsageError, match=f"{method} learns no answers of the data"):
        plan_train(replace(settings, data=replace(settings.data, reasoning=True)))


def test_the_embedded_model_s_template_prints_none(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, rows=8)
    data = tmp_path / "thoughts.jsonl"
    data.write_bytes(orjson.dumps(row("Q", "A", THOUGHT)))
    wanted = replace(settings.data, data=(DataSource.parse(str(data)),), reasoning=True, test_share=0.0)
    with pytest.raises(UsageError, match="prints no reasoning before an answer"):
        plan_train(replace(settings, data=wanted))


def test_a_run_s_answers_have_what_the_model_thought(tmp_path: Path) -> None:
    made = Round("p", 0.9, "critique", "Better.", False, revision_reasoning="How to mend it.")
    rows = [
        replace(make_row(number), traces=(trace,), verdicts=())
        for number, trace in enumerate(
            (
                Trace(0, 1, "Yes.", (), "Yes.", False, reasoning=THOUGHT),
                Trace(0, 1, "Bad.", (made,), "Better.", False),
            )
        )
    ]
    fill(tmp_path / "run", rows)
    data = DataSettings((DataSource.parse(str(tmp_path / "run")),), test_share=0.0, reasoning=True)
    examples = load_examples("supervised", data, 0)
    found = {each["completion"][0]["content"]: each["completion"][0]["thinking"] for each in examples.train}
    assert found == {"Yes.": THOUGHT, "Better.": "How to mend it."}
    assert "answers of 2 examples" in load_examples("supervised", replace(data, reasoning=False), 0).remarks[-1]
