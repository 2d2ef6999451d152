"""Training data: what is read, shaped, left out, split and mixed, and what is refused in one sentence."""

import gzip
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cai.cli.main import main
from cai.core.addresses import DataSource
from cai.core.errors import CaiError, InputError, RunError
from cai.core.records import Round, Row, Score, Trace
from cai.data.examples.shaping import ExampleKind
from cai.data.export import ExportOptions, export_run
from cai.rundir import Run
from cai.train.settings import DataSettings
from tests.storage import IDENTITY, PROVENANCE, abstention, fill, make_row, put, verdict

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    import datasets

    from cai.data.examples.conversations import read_whole_pair
    from cai.data.examples.labels import gate_label
    from cai.train.data.collecting import CONTRADICTED, DUPLICATE
    from cai.train.data.examples import LEAKING, Examples, holds_scores, load_examples
    from cai.train.data.hard_labels import harden, without_ties
    from cai.train.data.mixing import choose, mixture_sizes, parse_parts

TALK = "list<item: struct<role: string, content: string>>"


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `datasets` off the network, and its cache in the test's own directory."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return str(path)


def load(kind: ExampleKind, *data: str, seed: int = 0, **options: Any) -> Examples:
    return load_examples(
        kind, DataSettings(data=tuple(map(DataSource.parse, data)), **{"test_share": 0.0, **options}), seed
    )


def refusal(kind: ExampleKind, *data: str, **options: Any) -> str:
    with pytest.raises(CaiError) as refused:
        load(kind, *data, **options)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
    return str(refused.value)


def completions(count: int, mark: str = "") -> list[dict[str, Any]]:
    return [{"prompt": f"{mark}question {number}", "completion": f"answer {number}"} for number in range(count)]


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"q{number}", "chosen": f"good {number}", "rejected": "bad"} for number in range(count)]


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def prompts_of(dataset: Any) -> list[str]:
    return [] if dataset is None else [str(row["prompt"]) for row in dataset]


# --- what --data names


def test_a_number_after_the_last_colon_is_a_weight_and_anything_else_belongs_to_the_path() -> None:
    parts = parse_parts(
        DataSettings(data=(DataSource.parse("a:b:0.5"), DataSource.parse("s3://x/y:2"), DataSource.parse("c:3e-1")))
    )
    assert [(str(part.path), part.weight) for part in parts] == [("a:b", 0.5), ("s3://x/y", 2.0), ("c", 0.3)]
    assert [
        (str(part.path), part.weight)
        for part in parse_parts(DataSettings(data=(DataSource.parse("a:b"), DataSource.parse("x"))))
    ] == [
        ("a:b", None),
        ("x", None),
    ]


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        ((), {}, "--data PATH"),
        (("a:0",), {}, "number above 0"),
        (("a:-1",), {}, "number above 0"),
        (("a:nan",), {}, "number above 0"),
        (("a:inf",), {}, "number above 0"),
        ((":1",), {}, "names no path"),
        (("a:1", "b"), {}, "--data b has no weight"),
        (("a:1", "b:1"), {"mixing_temperature": 2.0}, "leave one of the two out"),
        (("a",), {"mixing_temperature": 0.5}, "at least 1, not 0.5"),
        (("a",), {"mixing_temperature": float("nan")}, "at least 1"),
        (("a",), {"limit": 0}, "--limit must be at least 1"),
        (("a",), {"test_share": 1.0}, "--test-share"),
    ],
)
def test_what_cannot_be_meant_is_refused(data: tuple[str, ...], options: dict[str, Any], says: str) -> None:
    assert says in refusal("pairs", *data, **options)


# --- reading


def test_every_kind_of_source_gives_the_same_examples(tmp_path: Path) -> None:
    rows = completions(9)
    files = [write(tmp_path / "rows.jsonl", rows), str(tmp_path / "rows.json"), str(tmp_path / "rows.csv")]
    Path(files[1]).write_bytes(orjson.dumps(rows))
    Path(files[2]).write_text("prompt,completion\n" + "".join(f"{r['prompt']},{r['completion']}\n" for r in rows))
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(tmp_path / "rows.parquet")
    table.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "splits")
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(Path(files[0]).read_bytes()))
    write(tmp_path / "folder" / "a.jsonl", rows[:4])
    write(tmp_path / "folder" / "b.jsonl", rows[4:])
    files += [str(tmp_path / name) for name in ("rows.parquet", "saved", "splits", "rows.jsonl.gz", "folder")]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "cache" not in path.parts}
    loaded = [load("supervised", file) for file in files]
    assert len({examples.parts[0].fingerprint for examples in loaded}) == 1
    assert len({examples.fingerprint for examples in loaded}) == 1
    assert all(list(examples.train) == list(loaded[0].train) for examples in loaded)
    # Nothing is written beside the data.
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_csv_cells_are_words_even_when_they_read_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion,label\nq,None,True\nq2,NA,False\nq3,,True\n")
    examples = load("labelled", str(path))
    assert sorted(row["completion"][0]["content"] for row in examples.train) == ["NA", "None"]
    assert examples.left_out == {"empty": 1}


def test_files_and_splits_called_test_are_held_out(tmp_path: Path) -> None:
    rows = completions(10)
    write(tmp_path / "folder" / "train.jsonl", rows[:7])
    write(tmp_path / "folder" / "test.jsonl", rows[6:])
    splits = {"train": datasets.Dataset.from_list(rows[:7]), "test": datasets.Dataset.from_list(rows[6:])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    for name in ("folder", "saved"):
        examples = load("supervised", str(tmp_path / name), test_share=0.01)
        assert examples.test is not None
        assert (len(examples.train), len(examples.test)) == (6, 4)
        assert examples.left_out == {LEAKING: 1}
        without = load("supervised", str(tmp_path / name))
        assert without.test is None
        assert (len(without.train), without.parts[0].test) == (6, 0)
    assert len(load("supervised", str(tmp_path / "saved"), split="test").train) == 4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: str(root / "nowhere.jsonl"), "no file, directory or run"),
        (lambda root: write(root / "empty.jsonl", []), "is empty"),
        (lambda root: str((root / "x").mkdir() or root / "x"), "neither a run nor a saved dataset"),
        (lambda root: write(root / "x.xlsx", [{"a": 1}]), "no kind that can be read"),
    ],
)
def test_what_cannot_be_read_is_told(make: Any, says: str, tmp_path: Path) -> None:
    assert says in refusal("supervised", make(tmp_path))


def test_broken_files_hub_names_and_splits_are_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "a", "completion"\n')
    assert "broken.jsonl is not JSONL: no line of it is a JSON object" in refusal("supervised", str(broken))
    write(tmp_path / "both" / "a.jsonl", completions(1))
    (tmp_path / "both" / "b.txt").write_text("words\n")
    assert "several kinds (.jsonl, .txt)" in refusal("supervised", str(tmp_path / "both"))
    assert "no dataset nobody/nothing could be read on the hub" in refusal("supervised", "nobody/nothing")
    splits = {name: datasets.Dataset.from_list(completions(2)) for name in ("easy", "hard")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert "easy, hard; say which with --split" in refusal("supervised", str(tmp_path / "saved"))
    assert "no split 'test'; it has easy, hard" in refusal("supervised", str(tmp_path / "saved"), split="test")
    splits["easy"].save_to_disk(tmp_path / "single")
    assert "leave --split out" in refusal("supervised", str(tmp_path / "single"), split="easy")
    file = write(tmp_path / "a.jsonl", completions(1))
    assert "--data names none" in refusal("supervised", file, split="easy")


# --- shaping

SHAPES: list[tuple[ExampleKind, dict[str, Any]]] = [
    ("supervised", {"prompt": "Q", "completion": "A", "messages": [said("user", "x")]}),
    ("supervised", {"prompt": [said("system", "S"), said("user", "Q")], "completion": [said("assistant", "A")]}),
    ("pairs", {"prompt": "Q", "chosen": "A", "rejected": "B", "chosen_probability": 0.75}),
    ("pairs", {"prompt": "Q", "chosen": [said("user", "Q"), said("assistant", "A")], "rejected": "B"}),
    ("pairs", {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}),
    (
        "pairs",
        {
            "chosen": [said("user", "Q"), said("assistant", "A")],
            "rejected": [said("user", "Q"), said("assistant", "B")],
        },
    ),
    ("labelled", {"prompt": "Q", "completion": "A", "label": True}),
    ("scored", {"prompt": "Q", "completion": "A", "score": 0.5}),
    ("prompts", {"prompt": "Q"}),
    ("prompts", {"messages": [said("user", "Q"), said("assistant", "A")]}),
    ("prompts", {"question": "Q"}),
]


@pytest.mark.parametrize(("kind", "row"), SHAPES)
def test_rows_come_out_in_the_kind_s_exact_columns(kind: ExampleKind, row: dict[str, Any], tmp_path: Path) -> None:
    examples = load(kind, write(tmp_path / "rows.jsonl", [{**row, "more": 1}]))
    (example,) = examples.train
    assert example["prompt"][-1] == said("user", "Q")
    assert example.get("completion", [said("assistant", "A")]) == [said("assistant", "A")]
    if kind == "pairs":
        assert set(example) == {"prompt", "chosen", "rejected", "chosen_probability"}
        assert (example["chosen"], example["rejected"]) == ([said("assistant", "A")], [said("assistant", "B")])
        assert example["chosen_probability"] == row.get("chosen_probability", 1.0)
    schema = examples.train.features.arrow_schema
    assert {str(field.type) for field in schema if field.name in ("prompt", "chosen", "completion")} == {TALK}
    floats = {str(field.type) for field in schema if field.name in ("score", "chosen_probability")}
    assert floats <= {"float"}


def test_text_and_whole_conversations_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one line\n\nanother\n")
    text = load("supervised", str(tmp_path / "a.txt"))
    assert sorted(text.train["text"]) == ["another", "one line"]
    assert text.left_out == {"empty": 1}
    turns = [said("user", "a"), said("assistant", "b"), said("user", "c"), said("assistant", "d")]
    whole = load("supervised", write(tmp_path / "b.jsonl", [{"messages": turns}]))
    assert whole.train[0] == {"messages": turns}


@pytest.mark.parametrize(
    ("kind", "row", "needs"),
    [
        ("supervised", {"chosen": "a", "rejected": "b"}, "prompt and completion, messages, or text"),
        ("supervised", {"prompt": "a", "answer": "b"}, "prompt and completion, messages, or text"),
        ("pairs", {"prompt": "a", "completion": "b"}, "chosen and rejected"),
        ("labelled", {"prompt": "a", "completion": "b"}, "label"),
        ("scored", {"prompt": "a", "completion": "b"}, "score"),
        ("prompts", {"words": "a"}, "one of prompt"),
    ],
)
def test_wrong_columns_are_told_with_what_is_needed(
    kind: ExampleKind, row: dict[str, Any], needs: str, tmp_path: Path
) -> None:
    told = refusal(kind, write(tmp_path / "rows.jsonl", [row]))
    assert f"has the columns {', '.join(row)};" in told
    assert needs in told


@pytest.mark.parametrize(
    ("value", "label"),
    [(True, True), (0, False), (1.0, True), ("good", True), ("Bad", False), ("up", True), ("down", False)],
)
def test_thumbs_come_in_many_spellings(value: Any, label: bool, tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "a", "label": value}]
    assert load("labelled", write(tmp_path / "rows.jsonl", rows)).train["label"] == [label]


@pytest.mark.parametrize(
    ("kind", "row", "says"),
    [
        ("labelled", {"prompt": "q", "completion": "a", "label": "meh"}, "rows.jsonl:2 has the label 'meh'"),
        ("labelled", {"prompt": "q", "completion": "a", "label": 2}, "rows.jsonl:2 has the label 2"),
        ("scored", {"prompt": "q", "completion": "a", "score": "0,5"}, "rows.jsonl:2 has the score '0,5'"),
        (
            "pairs",
            {"prompt": "q", "chosen": "a", "rejected": "b", "chosen_probability": 1.5},
            "rows.jsonl:2 has the chosen",
        ),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_its_row(
    kind: ExampleKind, row: dict[str, Any], says: str, tmp_path: Path
) -> None:
    column = list(row)[-1]
    absent = {**row, column: None}
    assert says in refusal(kind, write(tmp_path / "rows.jsonl", [absent, row]))


def test_parts_of_text_are_joined_and_rows_with_pictures_or_tools_are_counted(tmp_path: Path) -> None:
    def row(*turns: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"messages": [*turns, {"role": "assistant", "content": "Yes."}]}

    asked = {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two?"}]}
    calling = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    rows = [
        row(asked),
        row({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}),
        row(asked, calling, {"role": "tool", "content": "3"}),
        row(asked, {"role": "tool", "content": "3"}),
    ]
    examples = load("supervised", write(tmp_path / "a.jsonl", rows))
    assert examples.train["messages"][:][0][0]["content"] == "One\ntwo?"
    assert examples.left_out == {
        "a turn calls a tool, and cai keeps conversations of text alone": 1,
        "a turn has a part that is no text": 1,
        "a turn is a tool's, and cai keeps conversations of text alone": 1,
    }


def test_broken_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        *pairs(2),
        {"prompt": "q", "chosen": " same", "rejected": "same "},
        {"prompt": "q", "chosen": "a", "rejected": "  "},
        {"prompt": None, "chosen": "a", "rejected": "b"},
        {"prompt": "q", "chosen": None, "rejected": "b"},
    ]
    examples = load("pairs", write(tmp_path / "rows.jsonl", rows))
    assert len(examples.train) == 2
    assert examples.left_out == {"identical": 1, "empty": 1, "there is no prompt": 1, "there is no answer": 1}
    assert "gives no example; left out: empty 1, identical 1" in refusal(
        "pairs", write(tmp_path / "broken.jsonl", rows[2:4])
    )


turn = st.builds(said, st.sampled_from(["user", "assistant"]), st.text("ab", min_size=1, max_size=3))


@given(st.lists(turn, max_size=4), st.text("cd", min_size=1), st.text("ef", min_size=1))
def test_whole_conversations_are_parted_where_they_differ(
    before: list[dict[str, str]], chosen: str, rejected: str
) -> None:
    prompt = [*before, said("user", "and now?")]
    halves = [[*prompt, said("assistant", chosen)], [*prompt, said("assistant", rejected)]]
    assert read_whole_pair(*halves) == (prompt, halves[0][-1:], halves[1][-1:])
    # So are texts in HH's form, whatever stands between their turns.
    names = {"user": "Human", "assistant": "Assistant"}
    texts = ["".join(f"\n\n{names[turn['role']]}: {turn['content']}" for turn in half) for half in halves]
    assert read_whole_pair(*texts) == read_whole_pair(*halves)
    assert read_whole_pair(texts[0].lstrip(), f"{texts[1]} ") == read_whole_pair(*halves)


def test_a_response_counts_once_and_not_at_all_when_it_is_good_and_bad(tmp_path: Path) -> None:
    judged: list[dict[str, Any]] = [
        {"prompt": "q", "chosen": "A", "rejected": "B"},
        {"prompt": "q", "chosen": "A", "rejected": "C"},
        {"prompt": "q", "chosen": "B", "rejected": "D"},
        {"prompt": "r", "chosen": "B", "rejected": "A", "chosen_probability": 0.2},
        {"prompt": "s", "chosen": "B", "rejected": "A", "chosen_probability": 0.5},
    ]
    rows = [{"chosen_probability": 1.0, **row} for row in judged]
    examples = load("labelled", write(tmp_path / "rows.jsonl", rows))
    labels = {(row["prompt"][0]["content"], row["completion"][0]["content"]): row["label"] for row in examples.train}
    # The likelier of a pair is good, whatever the column is called.
    assert labels == {
        ("q", "A"): True,
        ("q", "C"): False,
        ("q", "D"): False,
        ("r", "A"): True,
        ("r", "B"): False,
    }
    assert examples.left_out == {CONTRADICTED: 2, DUPLICATE: 1, "neither of the pair is likelier": 1}


def test_thumbs_of_several_people_all_count(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "a", "label": label} for label in (True, True, False)]
    assert len(load("labelled", write(tmp_path / "rows.jsonl", rows)).train) == 3


def test_prompts_are_asked_once(tmp_path: Path) -> None:
    examples = load("prompts", write(tmp_path / "rows.jsonl", [{"prompt": "a"}, {"prompt": "a"}, {"prompt": "b"}]))
    assert len(examples.train) == 2
    assert examples.left_out == {DUPLICATE: 1}


def test_scores_are_recognised_by_their_columns(tmp_path: Path) -> None:
    scored = write(tmp_path / "a.jsonl", [{"prompt": "q", "completion": "a", "score": 1}])
    paired = write(tmp_path / "b.jsonl", pairs(1))
    assert holds_scores(DataSettings(data=(DataSource.parse(scored),)))
    assert not holds_scores(DataSettings(data=(DataSource.parse(scored), DataSource.parse(paired))))


def test_dialogues_with_two_answers_serve_every_kind_but_supervised(tmp_path: Path) -> None:
    opening = [said("user", "Hello"), said("assistant", "Hello.")]
    rows = [
        {"id": f"{number}", "prompt": [*opening, said("user", f"q{number}")], "chosen": "No.", "rejected": "Sure!"}
        for number in range(300)
    ]
    file = write(tmp_path / "hh.jsonl", rows)
    assert "id, prompt, chosen, rejected; supervised training needs" in refusal("supervised", file)
    sizes: dict[ExampleKind, int] = {"pairs": 300, "labelled": 600, "prompts": 300}
    for kind, size in sizes.items():
        examples = load(kind, file, test_share=0.2)
        assert examples.test is not None
        assert len(examples.train) + len(examples.test) == size
        assert 0.1 < len(examples.test) / size < 0.3
        assert [turn["role"] for turn in examples.train[0]["prompt"]] == ["user", "assistant", "user"]


# --- supervised layouts together


def test_conversations_join_prompts_and_completions_when_the_loss_stays_the_same(tmp_path: Path) -> None:
    halves = write(tmp_path / "a.jsonl", completions(2))
    turns = [said("system", "s"), said("user", "u"), said("assistant", "a")]
    whole = write(tmp_path / "b.jsonl", [{"messages": turns}])
    longer = write(tmp_path / "c.jsonl", [{"messages": [*turns, *turns[1:]]}])
    (tmp_path / "d.txt").write_text("words\n")
    mixed = load("supervised", halves, whole)
    assert {"prompt": turns[:2], "completion": turns[2:]} in list(mixed.train)
    assert "c.jsonl:1 is a conversation in which" in refusal("supervised", halves, longer)
    assert "d.txt is plain text" in refusal("supervised", halves, str(tmp_path / "d.txt"))
    assert len(load("supervised", whole, longer).train) == 2


# --- splits


@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 0.9), st.integers(0, 3))
def test_no_prompt_is_on_both_sides_and_order_and_company_do_not_move_it(
    tmp_path_factory: pytest.TempPathFactory, share: float, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    one = write(folder / "a.jsonl", [*completions(20), *completions(20)])
    other = write(folder / "b.jsonl", completions(30)[::-1])
    alone = load("supervised", one, test_share=share, seed=seed)
    both = load("supervised", other, one, test_share=share, seed=seed + 1)
    assert set(prompts_of(both.train)).isdisjoint(prompts_of(both.test))
    assert set(prompts_of(alone.test)) <= set(prompts_of(both.test))
    assert set(prompts_of(alone.train)) <= set(prompts_of(both.train))
    assert len(both.train) + (len(both.test) if both.test else 0) == 70
    assert (both.test is None) or share > 0.0


# --- mixing

counts_and_weights = st.lists(st.tuples(st.integers(1, 400), st.floats(0.05, 20.0)), min_size=1, max_size=5)


@given(counts_and_weights)
def test_shares_are_the_weights_and_nothing_is_thrown_away(parts: list[tuple[int, float]]) -> None:
    counts, weights = [count for count, _ in parts], [weight for _, weight in parts]
    names = [str(number) for number in range(len(parts))]
    scale = max(count / weight for count, weight in parts)
    assume(all(scale * weight <= 1000 * count for count, weight in parts))
    sizes = mixture_sizes(counts, weights, 1.0, names)
    assert all(size >= count for size, count in zip(sizes, counts, strict=True))
    assert any(size == count for size, count in zip(sizes, counts, strict=True))
    assert sizes == pytest.approx([scale * weight for weight in weights], abs=0.51)
    doubled = mixture_sizes(counts, [2.0 * weight for weight in weights], 1.0, names)
    assert doubled == sizes  # only the weights' proportions count


@given(st.lists(st.integers(1, 400), min_size=1, max_size=5), st.floats(1.0, 8.0))
def test_a_temperature_evens_sizes_out(counts: list[int], temperature: float) -> None:
    names = [str(count) for count in counts]
    assert mixture_sizes(counts, None, 1.0, names) == counts
    sizes = mixture_sizes(counts, None, temperature, names)
    largest = max(counts)
    expected = [largest * (count / largest) ** (1.0 / temperature) for count in counts]
    assert sizes == pytest.approx(expected, abs=0.51)


@given(st.integers(1, 60), st.integers(0, 200), st.integers(0, 2**31))
def test_no_example_comes_again_before_all_have_come(count: int, size: int, seed: int) -> None:
    chosen = choose(np.arange(count), size, seed)
    uses = Counter(chosen.tolist())
    assert sum(uses.values()) == size
    assert max(uses.values(), default=0) - min([uses[index] for index in range(count)]) <= 1
    assert chosen.tolist() == choose(np.arange(count), size, seed).tolist()


def test_a_mixture_holds_its_shares_and_its_order(tmp_path: Path) -> None:
    small, large = write(tmp_path / "a.jsonl", completions(5, "a ")), write(tmp_path / "b.jsonl", completions(30, "b "))
    examples = load("supervised", f"{small}:0.7", f"{large}:0.3")
    assert [(part.train, part.weight) for part in examples.parts] == [(70, 0.7), (30, 0.3)]
    prompts = prompts_of(examples.train)
    assert set(Counter(prompt for prompt in prompts if "a question" in prompt).values()) == {14}
    again = load("supervised", f"{small}:0.7", f"{large}:0.3")
    assert prompts_of(again.train) == prompts
    assert again.fingerprint == examples.fingerprint
    other = load("supervised", f"{small}:0.7", f"{large}:0.3", seed=1)
    assert prompts_of(other.train) != prompts
    assert Counter(prompts_of(other.train)) == Counter(prompts)
    first = load("supervised", f"{small}:0.7", f"{large}:0.3", limit=10)
    assert prompts_of(first.train) == prompts[:10]
    assert sum(part.train for part in first.parts) == 10
    plain = load("supervised", small, large)
    assert [part.train for part in plain.parts] == [5, 30]


def test_a_limit_bounds_what_is_measured_with_too(tmp_path: Path) -> None:
    small, large = write(tmp_path / "a.jsonl", completions(200)), write(tmp_path / "b.jsonl", completions(200, "more"))
    whole = load("supervised", small, large, test_share=0.5)
    assert whole.test is not None
    assert len(whole.test) > 100
    examples = load("supervised", small, large, test_share=0.5, limit=16)
    assert examples.test is not None
    assert len(examples.train) == len(examples.test) == sum(part.test for part in examples.parts) == 16
    assert all(part.test for part in examples.parts), "drawn from all parts"
    again = load("supervised", small, large, test_share=0.5, limit=16)
    assert again.test is not None
    assert again.test[:] == examples.test[:]
    assert {str(row) for row in examples.test} <= {str(row) for row in whole.test}


def test_a_part_with_nothing_or_too_little_to_give_is_refused(tmp_path: Path) -> None:
    little, much = write(tmp_path / "a.jsonl", completions(1, "a ")), write(tmp_path / "b.jsonl", completions(50, "b "))
    assert "would be repeated 50,000 times" in refusal("supervised", f"{little}:1000", f"{much}:1")
    write(tmp_path / "c" / "test.jsonl", completions(1, "a "))
    write(tmp_path / "c" / "train.jsonl", completions(2, "c "))
    folder = str(tmp_path / "c")
    assert "a.jsonl has a weight but no example" in refusal("supervised", f"{little}:1", f"{folder}:1")
    write(tmp_path / "d" / "test.jsonl", completions(2))
    write(tmp_path / "d" / "train.jsonl", completions(1))
    told = refusal("supervised", str(tmp_path / "d"))
    assert told.endswith(f"is left to train on; left out: {LEAKING} 1.")


def test_the_fingerprint_follows_content_weights_and_options_and_not_the_place(tmp_path: Path) -> None:
    rows = completions(6)
    base = load("supervised", f"{write(tmp_path / 'a.jsonl', rows)}:1")
    moved = load("supervised", f"{write(tmp_path / 'else' / 'b.jsonl', rows)}:1")
    assert (moved.fingerprint, moved.parts[0].fingerprint) == (base.fingerprint, base.parts[0].fingerprint)
    changed = [*rows[:-1], {**rows[-1], "completion": "another"}]
    others = [
        load("supervised", f"{write(tmp_path / 'c.jsonl', changed)}:1"),
        load("supervised", f"{tmp_path / 'a.jsonl'}:2"),
        load("supervised", f"{tmp_path / 'a.jsonl'}:1", limit=3),
        load("supervised", f"{tmp_path / 'a.jsonl'}:1", seed=1),
        load("supervised", f"{tmp_path / 'a.jsonl'}:1", test_share=0.3),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 6


# --- runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "harmless"
    with pytest.raises(SystemExit) as left:
        main(
            ["generate", "--constitution", "harmless", "--model", "scripted", "--limit", "40", "--out", str(directory)]
        )
    assert left.value.code == 0
    export_run(directory, ExportOptions(test_share=0.2))
    return directory


def exported(run: Path, kind: str, split: str) -> list[dict[str, Any]]:
    return list(datasets.Dataset.from_parquet(str(run / kind / f"{split}.parquet")))


def test_a_run_gives_what_it_exported_on_the_same_sides(run: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    for kind, name, columns in (
        ("supervised", "sft", ("prompt", "completion")),
        ("pairs", "preference", ("prompt", "chosen", "rejected")),
    ):
        examples = load(kind, str(run), test_share=0.05)  # type: ignore[arg-type]
        for split, rows in (("train", examples.train), ("test", examples.test)):
            assert rows is not None
            mine = sorted(str([row[column] for column in columns]) for row in rows)
            assert mine == sorted(str([row[column] for column in columns]) for row in exported(run, name, split))
    # A larger share holds out more, and no share trains on none of what was exported for testing.
    wider = load("supervised", str(run), test_share=0.5)
    assert set(prompts_of(wider.test)) > {str(row["prompt"]) for row in exported(run, "sft", "test")}
    none = load("supervised", str(run))
    assert none.test is None
    assert len(none.train) == len(exported(run, "sft", "train"))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == files


def test_all_revisions_are_derived_whatever_was_exported(run: Path, tmp_path: Path) -> None:
    final, every = load("supervised", str(run)), load("supervised", str(run), revisions="all")
    assert len(every.train) > len(final.train)
    fill(tmp_path / "unexported", Run.read(run).rows())
    bare = load("supervised", str(tmp_path / "unexported"), revisions="all", test_share=0.2)
    assert bare.test is not None
    assert Counter(prompts_of(bare.train)) == Counter(prompts_of(every.train))


def test_a_run_s_prompts_verdicts_and_gates() -> None:
    rounds = {
        True: (Round("a", 0.1, None, None, truncated=False), Round("b", 0.2, None, None, truncated=False)),
        False: (Round("a", 0.1, None, None, truncated=False), Round("b", 0.8, "c", "other", truncated=False)),
        None: (Round("a", 0.1, None, None, truncated=False), Round("b", 0.5, "c", "said", truncated=False)),
    }
    for label, each in rounds.items():
        assert gate_label(Trace(0, 0, "said", each, "said", truncated=False)) is label
    later = (Round("a", 0.5, "c", "other", truncated=False), Round("b", 0.9, "c", "third", truncated=False))
    unasked = (Round("a", 0.1, None, None, truncated=False), Round("b", None, "c", "said", truncated=False))
    unclear: tuple[tuple[Round, ...], ...] = ((), later, unasked)
    for turns in unclear:  # what a gate says of a revision is not said of the response
        assert gate_label(Trace(0, 0, "said", turns, "said", truncated=False)) is None


def test_a_run_labels_responses_by_verdicts_or_by_gates(tmp_path: Path) -> None:
    row = make_row(0)
    good = Trace(0, 0, "kind", (Round("a", 0.1, None, None, truncated=False),), "kind", truncated=False)
    bad = Trace(1, 0, "rude", (Round("a", 0.9, "c", "mended", truncated=False),), "mended", truncated=False)
    cut = Trace(2, 0, "cut of", (Round("a", 0.1, None, None, truncated=False),), "cut of", truncated=True)
    verdicts = (verdict("response:0", "response:1", 0.9, 0.8), abstention("final:1", "response:1", "tie"))
    fill(tmp_path / "run", [Row(row.prompt, (good, bad, cut), verdicts, row.usage, PROVENANCE)])
    for source, left_out in (("gates", {"truncated": 1}), ("verdicts", {"abstained": 1})):
        examples = load("labelled", str(tmp_path / "run"), labels_from=source)
        labels = {each["completion"][0]["content"]: each["label"] for each in examples.train}
        assert labels == {"kind": True, "rude": False}
        assert examples.left_out == left_out
    prompts = load("prompts", str(tmp_path / "run"))
    assert prompts.train[0] == {"prompt": list(row.prompt.messages), "rubric": [], "tags": list(row.prompt.tags)}


def test_a_run_s_scores_are_learned_from_answer_by_answer(tmp_path: Path) -> None:
    row = make_row(0)
    values = {"response:0": 0.5, "final:0": 2.0, "response:1": -1.0, "final:1": None}
    scores = tuple(Score(source, "rubric", "judge", value) for source, value in values.items())
    run = Run.open(tmp_path / "run", {**IDENTITY, "select": "rubric"}, {})
    run.commit(replace(row, scores=scores))
    run.close("done")
    examples = load("scored", str(tmp_path / "run"))
    told = {each["completion"][0]["content"]: each["score"] for each in examples.train}
    one, other = row.traces
    assert told == {one.response: 0.5, one.final: 2.0, other.response: -1.0}
    assert examples.left_out == {"an answer without a score": 1}
    assert examples.remarks == (f"{tmp_path / 'run'}: every answer has the score that rubric gave it",)


def test_ranked_answers_are_lists_or_pairs_and_principles_stand_beside_pairs(tmp_path: Path) -> None:
    said = [{"text": text, "score": score} for text, score in (("b", 1), ("c", 0), ("a", 4))]
    lists = write(tmp_path / "lists.jsonl", [{"prompt": "q", "answers": said}])
    (whole,) = load("ranked", lists).train
    assert [(one["completion"][0]["content"], one["rank"]) for one in whole["answers"]] == [
        ("a", 1),
        ("b", 2),
        ("c", 3),
    ]
    assert len(load("pairs", lists).train) == 3
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b", "principles": ["kind"]}]
    pairs = DataSettings((DataSource.parse(write(tmp_path / "pairs.jsonl", rows)),), test_share=0.0)
    plain, told = load_examples("pairs", pairs, 0), load_examples("pairs", pairs, 0, ("principles",))
    assert told.train[0] == {**plain.train[0], "principles": ["kind"]}
    assert told.fingerprint == plain.fingerprint
    assert any("not used: principles" in remark for remark in plain.remarks)
    assert not any("not used" in remark for remark in told.remarks)
    run = [make_row(number) for number in range(2)]
    fill(tmp_path / "run", run)
    beside = DataSettings((DataSource.parse(str(tmp_path / "run")),), test_share=0.0)
    names = {name for each in load_examples("pairs", beside, 0, ("principles",)).train for name in each["principles"]}
    assert names == {verdict.principle_id for row in run for verdict in row.verdicts}


def test_runs_that_cannot_give_examples_are_told(tmp_path: Path) -> None:
    fill(tmp_path / "empty", [])
    assert "holds no finished rows yet" in refusal("supervised", str(tmp_path / "empty"))
    row = make_row(0)
    fill(tmp_path / "unjudged", [Row(row.prompt, row.traces, (), row.usage, row.provenance)])
    assert "unjudged gives no example" in refusal("pairs", str(tmp_path / "unjudged"))
    assert "a run without scores of its answers" in refusal("scored", str(tmp_path / "unjudged"))
    (tmp_path / "unjudged" / "sft").mkdir()
    (tmp_path / "unjudged" / "sft" / "test.parquet").write_bytes(b"torn")
    with pytest.raises(RunError, match="cai export"):
        load("supervised", str(tmp_path / "unjudged"))
    put(tmp_path / "x", "run.json", b"{}")
    with pytest.raises(RunError, match="is not as it was written"):
        load("supervised", str(tmp_path / "x"))


def test_a_test_prompt_of_one_part_is_trained_on_in_none(run: Path, tmp_path: Path) -> None:
    held = exported(run, "sft", "test")[0]
    file = write(tmp_path / "a.jsonl", [{"prompt": held["prompt"], "completion": "mine"}, *completions(1)])
    mixed = load("supervised", str(run), file)
    assert mixed.left_out[LEAKING] == 1
    assert str(held["prompt"]) not in prompts_of(mixed.train)


# Ties


def test_a_tie_is_kept_for_soft_labels_and_no_certain_one_is_made_of_it(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{number}", "chosen": f"a{number}", "rejected": f"b{number}", "chosen_probability": probability}
        for number, probability in enumerate((0.5, 0.9, 0.2))
    ]
    pairs = load("pairs", write(tmp_path / "pairs.jsonl", rows))
    assert len(pairs.train) == 3
    decided = without_ties(pairs)
    assert (len(decided.train), decided.left_out) == (2, {"neither of the pair is likelier": 1})
    assert {pair["chosen"][0]["content"] for pair in harden(decided.train)} == {"a1", "b2"}
    assert set(harden(decided.train)["chosen_probability"]) == {1.0}
    with pytest.raises(InputError, match="Every pair is a tie"):
        without_ties(load("pairs", write(tmp_path / "ties.jsonl", rows[:1])))
