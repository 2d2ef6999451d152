"""What makes a row a prompt, and the order, names, duplicates and limit of prompts."""

import resource
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai.core.addresses import DataSource
from cai.core.errors import InputError, StoreError
from cai.core.identity import fingerprint
from cai.core.records import Failure, Message, Prompt
from cai.data import InputOptions, Prompts, open_prompts


def write_jsonl(path: Path, rows: list[Any]) -> str:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return str(path)


def read(source: str, **options: Any) -> list[Prompt | Failure]:
    return list(open_prompts(DataSource.parse(source), InputOptions(**options)))


def one(tmp_path: Path, row: dict[str, Any]) -> Prompt | Failure:
    (item,) = read(write_jsonl(tmp_path / "one.jsonl", [row]))
    return item


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def test_a_string_is_the_users_one_turn_whatever_it_looks_like(tmp_path: Path) -> None:
    text = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye "
    item = one(tmp_path, {"prompt": text})
    assert item == Prompt(fingerprint([user(text)]), 0, (user(text),))


def test_a_list_is_a_conversation_and_keeps_role_and_content_only(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    turns = [system, user("Hi"), {**assistant("Hello"), "tool_calls": None}, {**user("Bye"), "name": "Ann"}]
    item = one(tmp_path, {"messages": turns, "id": 7, "tags": ["emergency", "dose"]})
    assert item == Prompt("7", 0, (system, user("Hi"), assistant("Hello"), user("Bye")), ("emergency", "dose"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        (None, ()),
        ("", ()),
        (" A week. ", ("A week.",)),
        (["A week.", "일주일.", "A week.", " "], ("A week.", "일주일.")),
        (7, "the reference is neither a text nor a list of texts, but 7"),
        ([["A week."]], "the reference is neither"),
    ],
)
def test_right_answers_come_with_the_prompt(tmp_path: Path, reference: object, found: tuple[str, ...] | str) -> None:
    item = one(tmp_path, {"prompt": "How long?", "reference": reference})
    if isinstance(found, str):
        assert isinstance(item, Failure)
        assert found in item.cause
    else:
        assert isinstance(item, Prompt)
        assert item.references == found


@pytest.mark.parametrize("shuffle", [False, True])
def test_no_right_answer_is_lost_where_prompts_are_the_same(tmp_path: Path, shuffle: bool) -> None:
    rows = [{"prompt": "a", "reference": "x"}, {"prompt": "a", "reference": ["x"]}, {"prompt": "a", "reference": "y"}]
    found = read(write_jsonl(tmp_path / "a.jsonl", rows), shuffle=shuffle)
    assert sum(isinstance(item, Prompt) for item in found) == 1
    (other,) = [item for item in found if isinstance(item, Failure)]
    assert other.cause == "an earlier row has the same prompt with another reference, or without one"


def test_parts_of_text_are_joined_by_line_breaks(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "text", "text": "a rash."}]
    item = one(tmp_path, {"prompt": [{"role": "system", "content": parts[:1]}, {"role": "user", "content": parts}]})
    assert isinstance(item, Prompt)
    assert [message["content"] for message in item.messages] == ["Look:", "Look:\na rash."]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "the prompt is empty"),
        (" \n\t", "the prompt is empty"),
        (None, "no prompt"),
        (7, "type int"),
        ({"role": "user", "content": "x"}, "type dict"),
        ([], "conversation is empty"),
        ([{"role": "r" * 9999, "content": "x"}], "message 1 has role 'rrrrrrrrrrrr...rrrrrrrrrrrrr'; allowed"),
        (["Hi"], "message 1 is not an object"),
        ([user("Hi"), assistant("Hello")], "must end with a user's turn; it ends with role 'assistant'"),
        ([{"role": "tool", "content": "x"}, user("Hi")], "message 1 is a tool's, and cai keeps conversations of text"),
        ([{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, user("Hi")], "message 1 calls a tool"),
        ([user("Hi"), {"role": "user", "content": [{"type": "image_url"}]}], "is no text ('image_url')"),
        ([{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "input_audio"}]}], "('input_audio')"),
        ([{"role": "user", "content": ["Hi"]}], "message 1 has a part that is no text ('Hi')"),
        ([{"role": ["user"], "content": "x"}], "message 1 has role ['user']"),
        ([{"from": "human", "value": "x"}], "message 1 has role None"),
        ([user("Hi"), {"role": "user", "content": [{"type": "text"}]}], "message 2 has a part of text without one"),
        ([user("Hi"), {"role": "user", "content": 3}], "content of message 2 is not a string but of type int"),
        ([user("Hi"), assistant("Hello"), user(" ")], "last turn is empty"),
    ],
)
def test_a_row_that_is_no_prompt_fails_with_its_place_reason_and_text(
    tmp_path: Path, prompt: object, words: str
) -> None:
    first, bad, last = read(
        write_jsonl(tmp_path / "a.jsonl", [{"prompt": "one"}, {"prompt": prompt, "id": "x"}, {"prompt": "three"}])
    )
    assert isinstance(bad, Failure)
    assert (bad.id, bad.ordinal, bad.stage, bad.retryable) == ("broken row a.jsonl:2", 1, "input", False)
    assert "a.jsonl" not in bad.cause  # so that causes can be counted
    assert words in bad.cause
    raw = prompt.rstrip("\n") if isinstance(prompt, str) else orjson.dumps(prompt).decode()
    assert bad.raw == raw[:500]
    assert (first.ordinal, last.ordinal) == (0, 2)
    assert isinstance(last, Prompt)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": 1.5}, "the id is neither a string nor a whole number, but 1.5"),
        ({"id": True}, "the id is neither"),
        ({"id": ["a"]}, "the id is neither"),
        ({"tags": 3}, "the tags are neither a string nor a list of strings, but 3"),
        ({"tags": ["a", None]}, "the tags are neither"),
    ],
)
def test_ids_and_tags_of_a_wrong_type_fail(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    item = one(tmp_path, {"prompt": "Hi", **row})
    assert isinstance(item, Failure)
    assert words in item.cause
    assert item.raw == "Hi"


def test_one_tag_may_be_a_string_and_absent_values_are_none(tmp_path: Path) -> None:
    items = read(
        write_jsonl(
            tmp_path / "a.jsonl",
            [{"prompt": "a", "tags": "dose"}, {"prompt": "b", "tags": None, "id": None}, {"prompt": "c", "id": ""}],
        )
    )
    assert [item.tags for item in items if isinstance(item, Prompt)] == [("dose",), (), ()]
    assert items[1].id == fingerprint([user("b")])
    assert items[2].id == fingerprint([user("c")])


def test_a_value_nested_deeper_than_can_be_written_fails_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"prompt": {"[" * 900}{"]" * 900}, "id": {"[" * 900}{"]" * 900}}}\n{{"prompt": "b"}}\n')
    deep, good = read(str(path))
    assert isinstance(deep, Failure)
    assert deep.raw.startswith("[[[")
    assert isinstance(good, Prompt)


def test_the_text_kept_of_a_failure_is_short(tmp_path: Path) -> None:
    item = one(tmp_path, {"prompt": ["x" * 10_000]})
    assert isinstance(item, Failure)
    assert len(item.raw) == 500


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "t", "prompt": "p", "messages": [user("m")]}, "p"),
        ({"question": "q", "instruction": "i", "messages": [user("m")]}, "m"),
        ({"question": "q", "instruction": "i"}, "i"),
        ({"text": "t", "question": "q"}, "q"),
        ({"init_prompt": "n", "text": "t"}, "t"),
        ({"init_prompt": "n", "other": "o"}, "n"),
    ],
)
def test_the_first_known_column_holds_the_prompt(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    item = one(tmp_path, row)
    assert isinstance(item, Prompt)
    assert item.messages[-1]["content"] == expected


def test_another_column_can_be_named(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "p", "ask": "a"}, {"prompt": "p"}])
    first, second = read(source, prompt_column="ask")
    assert isinstance(first, Prompt)
    assert first.messages == (user("a"),)
    assert isinstance(second, Failure)


def test_a_missing_column_is_told_with_those_found(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"body": "p", "title": "t"}])
    with pytest.raises(InputError, match=r"a\.jsonl has no prompt column: its columns are body, title; .* init_prompt"):
        open_prompts(DataSource.parse(source), InputOptions())
    with pytest.raises(InputError, match=r"has no column 'bdoy' for the prompt: its columns are body, title"):
        open_prompts(DataSource.parse(source), InputOptions(prompt_column="bdoy"))


def test_the_same_messages_are_one_prompt(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a"},
        {"prompt": "b", "id": "b"},
        {"prompt": [user("a")], "id": "other"},
        {"prompt": "b", "id": "b", "tags": "late"},
        {"prompt": "c"},
    ]
    prompts = open_prompts(DataSource.parse(write_jsonl(tmp_path / "a.jsonl", rows)), InputOptions())
    assert [(item.id, item.ordinal) for item in prompts] == [
        (fingerprint([user("a")]), 0),
        ("b", 1),
        (fingerprint([user("c")]), 4),
    ]
    assert (prompts.duplicates, prompts.size) == (2, 5)
    assert len(list(prompts)) == 3, "a second iteration starts over"
    assert prompts.duplicates == 2


def test_an_id_with_two_contents_fails_and_hides_no_other_row(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "id": "x"}, {"prompt": "b", "id": "x"}, {"prompt": "b", "id": "y"}]
    first, second, third = read(write_jsonl(tmp_path / "a.jsonl", rows))
    assert isinstance(first, Prompt)
    assert isinstance(second, Failure)
    assert (second.id, second.raw) == ("broken row a.jsonl:2", "b")
    assert "duplicate id 'x'" in second.cause
    assert third == Prompt("y", 2, (user("b"),))


def test_an_id_derived_from_content_cannot_be_taken_twice_either(tmp_path: Path) -> None:
    rows = [{"prompt": "edited", "id": fingerprint([user("a")])}, {"prompt": "a"}]
    _, second = read(write_jsonl(tmp_path / "a.jsonl", rows))
    assert isinstance(second, Failure)


def test_the_limit_counts_usable_prompts(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": p} for p in ["a", "", "a", "b", "c", "d"]])
    prompts = open_prompts(DataSource.parse(source), InputOptions(limit=2))
    assert [(type(item), item.ordinal) for item in prompts] == [(Prompt, 0), (Failure, 1), (Prompt, 3)]
    assert prompts.size == 2
    assert len(read(source, limit=100)) == 5
    with pytest.raises(InputError, match="--limit must be at least 1, not 0"):
        InputOptions(limit=0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(texts=st.lists(st.one_of(st.sampled_from(["a", "b", " ", ""]), st.text()), min_size=1), seed=st.integers())
def test_shuffling_changes_the_order_and_nothing_else(tmp_path: Path, texts: list[str], seed: int) -> None:
    rows = [{"prompt": text, "tags": [text]} for text in texts]
    source = write_jsonl(tmp_path / "a.jsonl", rows)
    plain, mixed = (
        open_prompts(DataSource.parse(source), InputOptions()),
        open_prompts(DataSource.parse(source), InputOptions(shuffle=True, seed=seed)),
    )
    straight, shuffled = list(plain), list(mixed)
    contents = {text for text in texts if text.strip()}
    assert [item.messages[0]["content"] for item in straight if isinstance(item, Prompt)] == list(
        dict.fromkeys(text for text in texts if text in contents)
    )
    assert plain.duplicates == mixed.duplicates == sum(text in contents for text in texts) - len(contents)
    assert {i.id: (i.messages, i.tags) for i in straight if isinstance(i, Prompt)} == {
        i.id: (i.messages, i.tags) for i in shuffled if isinstance(i, Prompt)
    }
    assert {(i.id, i.cause, i.raw) for i in straight if isinstance(i, Failure)} == {
        (i.id, i.cause, i.raw) for i in shuffled if isinstance(i, Failure)
    }
    assert [item.ordinal for item in shuffled] == sorted({item.ordinal for item in shuffled})
    assert shuffled == list(mixed), "the order is the same on every run"
    assert plain.fingerprint == mixed.fingerprint


def test_the_seed_draws_the_order(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": str(number)} for number in range(50)])

    def order(seed: int) -> list[str]:
        return [item.id for item in read(source, shuffle=True, seed=seed)]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != [item.id for item in read(source)]


def test_the_order_a_seed_draws_is_the_same_for_good(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": str(n), "id": n} for n in range(8)])
    assert [item.id for item in read(source, shuffle=True, seed=0)] == list("70346521")


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.slow
def test_prompts_do_not_enter_memory(tmp_path: Path, shuffle: bool) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": f"{n} " + "x" * 4000} for n in range(10_000)])
    tracemalloc.start()
    try:
        count = sum(1 for _ in open_prompts(DataSource.parse(source), InputOptions(shuffle=shuffle)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < 4_000_000, "a tenth of the file"


def test_a_full_disk_while_shuffling_is_told_in_a_sentence(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": f"{n} " + "x" * 4000} for n in range(100)])
    prompts: Prompts = open_prompts(DataSource.parse(source), InputOptions(shuffle=True))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StoreError, match=r"--shuffle needs room .* \$TMPDIR"):
            list(prompts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_whole_input_is_read_beyond_the_limit_and_beside_an_iteration(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a\na\nb\nc\na\nd\n")
    prompts = open_prompts(DataSource.parse(str(path)), InputOptions(limit=3))
    reading = iter(prompts)
    first = [next(reading), next(reading)]
    whole = [item.messages[0]["content"] for item in prompts.whole() if isinstance(item, Prompt)]
    assert whole == ["a", "b", "c", "d"]
    assert [item.messages[0]["content"] for item in (*first, *reading) if isinstance(item, Prompt)] == ["a", "b", "c"]
    assert prompts.duplicates == 1
