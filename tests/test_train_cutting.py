"""Answers that the maximal length cuts are counted, and said in the plan, the summary and the card."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import transformers
from datasets import Dataset

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.data.examples.shaping import ExampleKind
from cai.train.data.examples import Examples
from cai.train.example_tokens import Cut, count_cut, count_tokens
from cai.train.methods.sft import build_sft
from cai.train.plan import plan_train
from cai.train.settings import DataSettings, TrainSettings
from tests.templates import make_tokenizer
from tests.train_context import CHECKPOINT, assistant, make_context, user
from tests.training import make_settings, train

SHORT, LONG = "Yes.", "word " * 60


def settings_for(directory: Path, method: str, rows: list[dict[str, Any]], **fit: Any) -> TrainSettings:
    settings = make_settings(directory, method, rows=8, test_share=0.0, max_steps=1, **{"max_length": 48, **fit})
    data = directory / "rows.jsonl"
    data.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return replace(settings, data=DataSettings((DataSource.parse(str(data)),), test_share=0.0))


def examples(kind: ExampleKind, rows: list[dict[str, Any]]) -> Examples:
    return Examples(kind, Dataset.from_list(rows), None, (), "0" * 16, {}, ())


@pytest.mark.parametrize(
    ("kind", "rows", "expected"),
    [
        ("supervised", [{"prompt": user(SHORT), "completion": assistant(SHORT)}], (0, 0)),
        ("supervised", [{"prompt": user(SHORT), "completion": assistant(LONG)}], (1, 0)),
        ("supervised", [{"prompt": user(LONG), "completion": assistant(SHORT)}], (0, 1)),
        ("supervised", [{"messages": user(SHORT) + assistant(LONG)}], (1, 0)),
        ("supervised", [{"text": LONG}, {"text": SHORT}], (1, 0)),
        ("pairs", [{"prompt": user(SHORT), "chosen": assistant(SHORT), "rejected": assistant(LONG)}], (1, 0)),
        ("pairs", [{"prompt": user(SHORT), "chosen": assistant(LONG), "rejected": assistant(LONG)}], (1, 0, 1)),
        (
            "pairs",
            [{"prompt": user(SHORT), "chosen": assistant(LONG), "rejected": assistant(f"Well, {LONG}")}],
            (1, 0, 0),
        ),
        ("pairs", [{"prompt": user(LONG), "chosen": assistant(LONG), "rejected": assistant(LONG)}], (0, 1, 0)),
        ("labelled", [{"prompt": user(SHORT), "completion": assistant(LONG), "label": True}], (1, 0)),
        ("prompts", [{"prompt": user(LONG)}], (0, 0)),
    ],
)
def test_what_does_not_fit_is_counted(kind: ExampleKind, rows: list[dict[str, Any]], expected: tuple[int, ...]) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    given = examples(kind, rows)
    assert count_cut(tokenizer, given, count_tokens(tokenizer, given), 48) == Cut(48, *expected)


def test_the_longest_example_is_the_longest_in_tokens_and_not_in_characters(tmp_path: Path) -> None:
    rows = [{"prompt": f"{number}?", "completion": "word " * 30} for number in range(99)]
    rows.append({"prompt": "word?", "completion": "답변은 여기서 끝납니다. " * 4})
    settings = settings_for(tmp_path, "sft", rows, max_length=None)
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    sizes = [
        len(tokenizer.apply_chat_template(user(row["prompt"]) + assistant(row["completion"]))["input_ids"])
        for row in rows
    ]
    assert len(rows[-1]["completion"]) < len(rows[0]["completion"])
    assert sizes[-1] > max(sizes[:-1]) + 8
    plan = plan_train(settings)
    assert sizes[-1] <= plan.hardware.max_length < sizes[-1] + 8
    assert plan.cut == Cut(plan.hardware.max_length, 0, 0)
    # A length that only the Korean answer does not fit into.
    short = plan_train(settings_for(tmp_path, "sft", rows, max_length=max(sizes[:-1])))
    assert short.cut == Cut(max(sizes[:-1]), 1, 0)


@pytest.mark.parametrize("bos", [False, True])
def test_plain_text_is_as_long_as_trl_makes_it(tmp_path: Path, bos: bool) -> None:
    tokenizer = make_tokenizer("{{ messages }}", bos=bos, pad="</s>", merges=True)
    rows = [{"text": LONG}, {"text": SHORT}]
    context = replace(make_context(tmp_path, "sft", "supervised", rows, max_length=None), tokenizer=tokenizer)
    seen = max(map(len, build_sft(context).train_dataset["input_ids"]))
    counted = count_tokens(tokenizer, context.examples)
    assert counted.longest == seen
    assert count_cut(tokenizer, context.examples, counted, seen - 1) == Cut(seen - 1, 1, 0)
    assert count_cut(tokenizer, context.examples, counted, seen) == Cut(seen, 0, 0)


def test_cut_answers_are_said_in_the_plan_the_summary_and_the_card(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}?", "completion": LONG if i < 3 else SHORT} for i in range(10)]
    rows.append({"prompt": LONG, "completion": SHORT})
    settings = settings_for(tmp_path, "sft", rows)
    assert plan_train(settings).as_json()["data"]["cut"] == {"length": 48, "answers": 3, "prompts": 1, "same": 0}
    told: list[str] = []
    summary = train(settings, told.append)
    assert "3 answers are cut at 48 tokens; raise --max-length" in told
    assert "1 prompt fills 48 tokens and teaches nothing; raise --max-length" in told
    assert (summary.cut_answers, summary.max_length) == (3, 48)
    recorded = orjson.loads((settings.out / "train.json").read_bytes())
    assert (recorded["cut_answers"], recorded["max_length"]) == (3, 48)
    assert "3 answers were cut at 48 tokens" in (settings.out / "README.md").read_text()
    assert train(settings, told.append).cut_answers == 3


def test_a_conversation_that_the_template_refuses_is_one_sentence(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "sft", [{"prompt": f"{i}?", "completion": SHORT} for i in range(99)])
    template = tmp_path / "model" / "chat_template.jinja"
    strict = "{% if '7?' == messages[0].content %}{{ raise_exception('no sevens') }}{% endif %}"
    template.write_text(strict + template.read_text())
    with pytest.raises(InputError, match=r"refuses a conversation of the data \(TemplateError: no sevens\)") as caught:
        train(settings, lambda _: None)
    assert "\n" not in str(caught.value)
