"""Public layouts, each on a row in its real form: what it is taken for, and what comes out in our columns."""

import random
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.records import Prompt
from cai.data import InputOptions, open_prompts
from cai.data.examples.opening import open_examples
from cai.data.examples.shaping import choose_shape
from cai.data.examples.tables import Example
from cai.data.rows import BadRowError, BrokenRow, RawRow
from cai.data.shapes import SHAPES, recognising
from cai.data.shapes.descriptor import Shape
from cai.data.shapes.recognising import shaped
from cai.train.settings import DataSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    from cai.train.data.examples import load_examples

USER = [{"role": "user", "content": "Why?"}]
ASKED_AGAIN = [*USER, {"role": "assistant", "content": "Hm."}, {"role": "user", "content": "Well?"}]
GOOD, BAD = [{"role": "assistant", "content": "Good."}], [{"role": "assistant", "content": "Bad."}]
FIRST = {"prompt": USER, "chosen": GOOD, "rejected": BAD, "chosen_probability": 1.0}
TIE = {"prompt": USER, "chosen": GOOD, "rejected": BAD, "chosen_probability": 0.5}
AGAIN = {**FIRST, "prompt": ASKED_AGAIN}


TRAINED = [*({**turn, "training": False} for turn in ASKED_AGAIN), {**GOOD[0], "training": True}]


def said(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


def ranked(*answers: tuple[list[dict[str, str]], int, float | None, str | None]) -> dict[str, Any]:
    return {
        "prompt": USER,
        "answers": [
            {"completion": text, "rank": rank, "score": score, "model": model} for text, rank, score, model in answers
        ],
    }


HELPSTEER = {"domain": "general", "language": "korean", "context": USER, "response1": "Good.", "response2": "Bad."}
PKU = {
    "prompt": "Why?",
    "response_0": "Bad.",
    "response_1": "Good.",
    "prompt_source": "x",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "response_0_harm_category": {"Privacy Violation": True},
    "better_response_id": 0,
    "safer_response_id": 1,
}
JUDGEBENCH = {"pair_id": "1", "source": "mmlu", "question": "Why?", "response_A": "Bad.", "response_B": "Good."}
SHAREGPT = [said("human", "Why?"), said("gpt", "Hm."), said("human", "Well?")]
ULTRAFEEDBACK = {"prompt": "Why?", "prompt_id": "f0", "chosen": USER + GOOD, "rejected": USER + BAD, "messages": USER}
ARGILLA = {"source": "evol", "prompt": "Why?", "chosen": USER + GOOD, "chosen-model": "a", "rejected": USER + BAD}
REWARDBENCH = {"id": "7", "prompt": "Why?", "chosen": ["Good."], "rejected": ["Bad.", "Worse."], "subset": "Ties"}
NEMO = [{"rank": 1, "completion": BAD}, {"rank": 0, "completion": GOOD}]
NECTAR = {
    "prompt": "\n\nHuman: Why?\n\nAssistant: ",
    "answers": [{"answer": "Bad.", "model": "m", "rank": 2.0}, {"answer": "Good.", "model": "n", "rank": 1.0}],
    "turns": 1,
}
DISTILABEL = {"instruction": "Why?", "generations": ["Bad.", "Good."], "generation_models": ["m", "n"]}
HF_CAI = {"init_prompt": "Why?", "init_response": "Bad.", "critic_prompt": "c", "revision_response": "Good."}
VERL = {"data_source": "d", "prompt": USER, "ability": "math", "reward_model": {"style": "rule", "ground_truth": "4"}}
ICAI = {"text_a": "Bad.", "text_b": "Good.", "input": "Why?", "model_a": "m", "model_b": "n"}
ANNOTATED = {"id": "1f", "prompt": "Why?", "metadata": {"index": "0"}}
VOTES = {"ba751e7b": {"pref": "text_b"}, "c0ffee00": {"pref": "text_a"}}
LABELLED = {"prompt": USER, "completion": GOOD, "label": True}
ANSWERED = {"prompt": USER, "completion": GOOD}

ARGILLA_PAIR = {
    "id": "q:response:0:response:1",
    "fields": {"prompt": USER, "response_a": "Bad.", "response_b": "Good."},
    "metadata": {"split": "train"},
    "suggestions": {"better": {"value": "b", "score": 0.75, "type": "model", "agent": "judge"}},
}
SAID = {"better": [{"value": "b", "user_id": "1"}, {"value": "tie", "user_id": "2"}]}
BOTH_SAY = {**FIRST, "chosen": BAD, "rejected": GOOD, "chosen_probability": 0.5}

CASES: list[tuple[str, str, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "hh-rlhf",
        "pairs",
        {s: f"\n\nHuman: Why?\n\nAssistant: {t}" for s, t in (("chosen", "Good."), ("rejected", "Bad."))},
        [FIRST],
    ),
    ("trl", "pairs", {"chosen": ASKED_AGAIN + GOOD, "rejected": ASKED_AGAIN + BAD}, [AGAIN]),
    ("ultrafeedback", "pairs", {**ULTRAFEEDBACK, "score_chosen": 8.5, "score_rejected": 4}, [FIRST]),
    ("ultrafeedback", "pairs", {**ULTRAFEEDBACK, "score_chosen": 7.0, "score_rejected": 7.0}, [TIE]),
    ("ultrafeedback", "pairs", {**ARGILLA, "chosen-rating": 5, "rejected-rating": 3.75}, [FIRST]),
    ("helpsteer3", "pairs", {**HELPSTEER, "overall_preference": -2}, [FIRST]),
    ("helpsteer3", "pairs", {**HELPSTEER, "overall_preference": 0}, [TIE]),
    ("helpsteer3", "pairs", {**HELPSTEER, "response1": "Bad.", "response2": "Good.", "overall_preference": 1}, [FIRST]),
    ("pku-saferlhf-safer", "pairs", PKU, [FIRST]),
    ("pku-saferlhf-better", "pairs", {**PKU, "better_response_id": 1}, [FIRST]),
    ("pku-saferlhf-safe", "labelled", PKU, [{"prompt": USER, "completion": BAD, "label": False}, LABELLED]),
    ("judgebench", "pairs", {**JUDGEBENCH, "label": "B>A"}, [FIRST]),
    (
        "rewardbench-2",
        "pairs",
        REWARDBENCH,
        [FIRST, {**FIRST, "rejected": [{"role": "assistant", "content": "Worse."}]}],
    ),
    (
        "nemo-rl",
        "ranked",
        {"context": USER, "completions": NEMO},
        [ranked((GOOD, 1, None, None), (BAD, 2, None, None))],
    ),
    ("nemo-rl", "pairs", {"context": USER, "completions": NEMO}, [FIRST]),
    ("nectar", "ranked", NECTAR, [ranked((GOOD, 1, None, "n"), (BAD, 2, None, "m"))]),
    ("distilabel", "ranked", {**DISTILABEL, "ratings": [2, 5]}, [ranked((GOOD, 1, 5, "n"), (BAD, 2, 2, "m"))]),
    ("distilabel", "supervised", {"instruction": "Why?", "generation": "Good.", "model_name": "m"}, [ANSWERED]),
    (
        "sharegpt",
        "supervised",
        {"id": "x", "conversations": [*SHAREGPT, said("gpt", "Good.")]},
        [{"messages": ASKED_AGAIN + GOOD}],
    ),
    ("sharegpt", "supervised", {"conversation": USER + GOOD, "model": "m"}, [{"messages": USER + GOOD}]),
    (
        "llama-factory",
        "pairs",
        {"conversations": SHAREGPT, "chosen": said("gpt", "Good."), "rejected": said("gpt", "Bad.")},
        [AGAIN],
    ),
    (
        "llama-factory",
        "labelled",
        {"conversations": [said("human", "Why?"), said("gpt", "Good.")], "kto_tag": True},
        [LABELLED],
    ),
    ("llama-factory", "labelled", {"messages": USER + GOOD, "kto_tag": "True"}, [LABELLED]),
    ("axolotl", "pairs", {"messages": ASKED_AGAIN, "chosen": GOOD[0], "rejected": BAD[0]}, [AGAIN]),
    ("big-bench", "pairs", {"input": "Why?", "target_scores": {"Bad.": 0, "Good.": 1}}, [FIRST]),
    (
        "openai-preference",
        "pairs",
        {"input": {"messages": USER, "tools": []}, "preferred_output": GOOD, "non_preferred_output": BAD},
        [FIRST],
    ),
    (
        "trl",
        "supervised",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}, *GOOD]},
        [{"messages": USER + GOOD}],
    ),
    (
        "alpaca",
        "supervised",
        {"instruction": "Well?", "input": "", "output": "Good.", "history": [["Why?", "Hm."]]},
        [{"prompt": ASKED_AGAIN, "completion": GOOD}],
    ),
    ("alpaca", "pairs", {"instruction": "Why?", "input": "", "chosen": "Good.", "rejected": "Bad."}, [FIRST]),
    ("alpaca", "labelled", {"instruction": "Why?", "input": "", "output": "Good.", "kto_tag": "true"}, [LABELLED]),
    ("openrlhf", "supervised", {"input": "Why?", "output": "Good."}, [ANSWERED]),
    ("hf-cai", "supervised", HF_CAI, [ANSWERED]),
    ("hf-cai", "pairs", HF_CAI, [FIRST]),
    ("axolotl", "supervised", {"messages": TRAINED}, [{"prompt": ASKED_AGAIN, "completion": GOOD}]),
    ("axolotl", "labelled", {"completion": USER + GOOD, "label": True}, [LABELLED]),
    ("argilla", "pairs", ARGILLA_PAIR, [{**FIRST, "chosen_probability": 0.75}]),
    ("argilla-people", "pairs", {**ARGILLA_PAIR, "suggestions": {}, "responses": SAID}, [FIRST, BOTH_SAY]),
    ("argilla", "supervised", {"fields": {"prompt": USER, "response": "Good."}, "suggestions": {}}, [ANSWERED]),
    ("verl", "prompts", VERL, [{"prompt": USER, "rubric": [], "tags": []}]),
    ("icai", "pairs", {**ICAI, "preferred_text": "text_b"}, [FIRST]),
    ("icai", "pairs", {**ANNOTATED, "text_a": "Bad.", "text_b": "Good.", "annotations": VOTES}, [FIRST]),
    (
        "icai",
        "pairs",
        {
            **ANNOTATED,
            "response_a": {"text": "Good.", "model": "m"},
            "response_b": {"text": "Bad."},
            "annotations": {"ba751e7b": {"pref": "a"}},
        },
        [FIRST],
    ),
]


def write(path: Path, *rows: dict[str, Any]) -> DataSource:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return DataSource.parse(str(path))


@pytest.mark.parametrize(("name", "kind", "row", "wanted"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_a_layout_is_told_and_read(
    name: str, kind: Any, row: dict[str, Any], wanted: list[dict[str, Any]], tmp_path: Path
) -> None:
    source = write(tmp_path / "rows.jsonl", row)
    is_asked_for = name.startswith("pku")
    opened = open_examples(source, kind, shape=name if is_asked_for else None)
    assert [item.values for item in opened.examples() if not isinstance(item, BrokenRow)] == wanted
    (remark,) = opened.remarks
    assert f"rows.jsonl is read as {next(s.title for s in SHAPES if s.name == name and kind in s.kinds)[:4]}" in remark
    assert f"({name}): " in remark
    # The same file gives its prompts, and for them nothing has to be asked.
    prompts = [item for item in open_prompts(source, InputOptions()) if isinstance(item, Prompt)]
    first = wanted[0]
    assert [list(prompt.messages) for prompt in prompts] == [first.get("prompt") or first["messages"][:-1]]


def test_every_layout_has_a_case() -> None:
    assert {shape.name for shape in SHAPES} == {name for name, _, _, _ in CASES}


def test_the_page_has_every_layout() -> None:
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
    names = {shape.name for shape in SHAPES}
    assert {name for name in names if f"`{name}`" not in page} <= {"pku-saferlhf-safer", "pku-saferlhf-safe"}


def test_what_says_two_things_is_asked_for_and_not_guessed(tmp_path: Path) -> None:
    source = write(tmp_path / "pku.jsonl", PKU)
    with pytest.raises(InputError) as refused:
        open_examples(source, "pairs")
    assert str(refused.value) == (
        "pku.jsonl can be read in 2 ways (PKU-SafeRLHF); say which with --shape pku-saferlhf-better or --shape "
        "pku-saferlhf-safer."
    )
    with pytest.raises(InputError, match="in 3 ways"):
        open_examples(source)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ("nothing", "There is no shape 'nothing'; there are alpaca, argilla, "),
        ("helpsteer3", "pku.jsonl cannot be read as helpsteer3, which has the columns context, response1, response2, "),
    ],
)
def test_a_shape_that_is_not_there_is_refused(shape: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        open_examples(write(tmp_path / "pku.jsonl", PKU), shape=shape)
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({**HELPSTEER, "overall_preference": None}, "the overall_preference is no number from -3 to 3 (None)"),
        ({**JUDGEBENCH, "label": "A"}, "the label is none of A>B, B>A and A=B ('A')"),
        ({**ICAI, "preferred_text": "both"}, "the preferred_text is none of text_a, text_b and tie ('both')"),
        (
            {**ULTRAFEEDBACK, "score_chosen": 1, "score_rejected": 2},
            "the rejected answer is rated above the chosen one",
        ),
        (
            {**DISTILABEL, "ratings": [None, 5]},
            "an answer has neither rank nor score, or not the one that the others have",
        ),
        ({**DISTILABEL, "ratings": [5, 5]}, "no two of the answers have different ranks and texts"),
        ({"context": USER, "completions": [{"completion": GOOD}, NEMO[0]]}, "a completion has no rank"),
        ({"messages": USER, "chosen": GOOD[0], "rejected": "Bad."}, "the conversation has a turn that is no object"),
    ],
)
def test_a_label_that_cannot_be_read_is_none(row: dict[str, Any], cause: str, tmp_path: Path) -> None:
    (item,) = open_examples(write(tmp_path / "rows.jsonl", row), "pairs").examples()
    assert isinstance(item, BrokenRow)
    assert (item.place, item.cause) == ("rows.jsonl:1", cause)


def test_a_shape_is_asked_for_by_training_too(tmp_path: Path) -> None:
    source = write(tmp_path / "pku.jsonl", *({**PKU, "prompt": f"Why {number}?"} for number in range(3)))
    data = DataSettings((source,), test_share=0.0)
    with pytest.raises(InputError, match="--shape pku-saferlhf-safer"):
        load_examples("pairs", data, 0)
    for shape, chosen in (("pku-saferlhf-better", "Bad."), ("pku-saferlhf-safer", "Good.")):
        examples = load_examples("pairs", replace(data, shape=shape), 0)
        assert [pair["chosen"][0]["content"] for pair in examples.train] == [chosen] * 3
    with pytest.raises(InputError, match=r"pku.jsonl cannot be read as alpaca"):
        load_examples("pairs", replace(data, shape="alpaca"), 0)


def test_a_layout_more_is_one_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Shape(
        "quiz",
        "my quiz",
        ("riddle", "solution"),
        ("completion",),
        lambda row: row.get("riddle"),
        lambda row: iter(({"completion": row.get("solution")},)),
    )
    monkeypatch.setattr(recognising, "SHAPES", (*SHAPES, mine))
    opened = open_examples(write(tmp_path / "rows.jsonl", {"riddle": "Why?", "solution": "Good.", "by": "me"}))
    assert [item.values for item in opened.examples() if not isinstance(item, BrokenRow)] == [ANSWERED]
    assert opened.remarks == ("rows.jsonl is read as my quiz (quiz): riddle, solution; not used: by",)


def test_icai_s_file_is_read_as_it_is(tmp_path: Path) -> None:
    comparisons = [
        {**ANNOTATED, "text_a": "Bad.", "text_b": "Good.", "annotations": VOTES},
        {**ANNOTATED, "text_a": "Bad.", "text_b": "Good.", "annotations": {"ba751e7b": {"pref": None}}},
        {**ANNOTATED, "text_a": "Bad.", "text_b": "Good.", "annotations": {"c0": VOTES["c0ffee00"], "c1": {}}},
    ]
    annotators = {"ba751e7b": {"type": "unknown"}, "c0ffee00": {"type": "principle", "description": "Be short."}}
    whole = {"metadata": {"version": "1.0"}, "annotators": annotators, "comparisons": comparisons}
    (tmp_path / "pairs.json").write_bytes(orjson.dumps(whole))
    opened = open_examples(DataSource.parse(str(tmp_path / "pairs.json")), "pairs")
    first, *others = opened.examples()
    assert isinstance(first, Example)
    assert first.values == FIRST
    assert [item.cause for item in others if isinstance(item, BrokenRow)] == [
        "the annotation prefers none of a, b and tie (None)",
        "it is not clear which annotation is the data set's own",
    ]


def test_turns_that_are_not_to_be_learnt_are_not_learnt(tmp_path: Path) -> None:
    every = [{**turn, "training": True} for turn in TRAINED]
    (item,) = open_examples(write(tmp_path / "rows.jsonl", {"messages": every}), "supervised").examples()
    assert isinstance(item, BrokenRow)
    assert item.cause == "another turn than the last answer is to be learnt"


def test_one_bad_row_harms_no_other_and_does_not_hide_the_layout(tmp_path: Path) -> None:
    bad = {**HELPSTEER, "context": None, "overall_preference": 2}
    source = write(tmp_path / "rows.jsonl", bad, {**HELPSTEER, "overall_preference": -1}, {"id": 1})
    items = list(open_examples(source, "pairs").examples())
    assert [isinstance(item, BrokenRow) for item in items] == [True, False, True]


def test_ranked_answers_may_be_written_as_they_are(tmp_path: Path) -> None:
    answers = [
        {"text": "Bad.", "score": 1.5},
        {"messages": GOOD, "score": 4, "model": "m"},
        {"text": "Bad!", "score": 1.5},
    ]
    source = write(tmp_path / "rows.jsonl", {"prompt": "Why?", "answers": answers})
    also_bad = [{"role": "assistant", "content": "Bad!"}]
    (whole,) = open_examples(source, "ranked").examples()
    assert not isinstance(whole, BrokenRow)
    assert whole.values == ranked((GOOD, 1, 4, "m"), (BAD, 2, 1.5, None), (also_bad, 2, 1.5, None))
    pairs = [item.values for item in open_examples(source).examples() if not isinstance(item, BrokenRow)]
    assert pairs == [FIRST, {**FIRST, "rejected": also_bad}]


ANYTHING: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2.5,
    float("nan"),
    10**40,
    "",
    "a",
    "\ud800",
    [],
    {},
    [[]],
    [{}],
    [None],
)


def damaged(value: Any, chance: random.Random) -> Any:
    """Return a value with something else in a place or two of it, or instead of it."""
    if chance.random() < 0.2:
        return chance.choice(ANYTHING)
    if isinstance(value, dict):
        return {key: damaged(inner, chance) for key, inner in value.items() if chance.random() < 0.95}
    return [damaged(inner, chance) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_whatever_stands_in_a_layout_s_columns_is_an_example_or_a_reason(
    case: tuple[str, Any, dict[str, Any], Any],
) -> None:
    name, kind, row, _ = case
    chance = random.Random(1)
    source = _Rows([row, *({key: damaged(value, chance) for key, value in row.items()} for _ in range(100))])
    opened = shaped(source, name, kind)
    assert isinstance(opened, recognising.ShapedSource)
    shape = choose_shape(kind, opened.columns, "rows")
    outcomes: Counter[str] = Counter()
    for item in opened.rows(shape.used):
        if isinstance(item, BrokenRow):
            outcomes["broken"] += 1
            continue
        try:
            for _ in shape.examples(item.values, item.place):
                outcomes["example"] += 1
        except (BadRowError, InputError):  # the latter of a value that cannot be meant, as a label that is none
            outcomes["broken"] += 1
    assert outcomes["broken"]
    assert outcomes["example"]


class _Rows:
    """Rows in memory, as a source."""

    name, fingerprint, remark = "rows", "0" * 16, None

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self.size = len(rows)
        self.columns = dict.fromkeys(rows[0], len(rows))

    def rows(self, columns: Any) -> Iterator[RawRow]:
        for row in self._rows:
            yield RawRow("rows:1", {column: row[column] for column in columns if column in row})
