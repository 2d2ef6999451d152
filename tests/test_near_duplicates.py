"""Near-duplicates over a whole set, shingles, records by key on disk, and samples of a stream."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.data.validation import near_duplicates
from cai.data.validation.collecting import Sample
from cai.data.validation.key_file import KeyFile
from cai.data.validation.near_duplicates import SIMILAR, NearDuplicates, similarity
from cai.data.validation.shingles import shingle

WORDS = [f"word{number}" for number in range(500)]


def firsts(texts: list[str]) -> list[int]:
    with NearDuplicates() as found:
        for start in range(0, len(texts), 7):
            found.add(texts[start : start + 7])
        return [int(first) for first in found.firsts()]


def test_near_duplicates_are_found_far_apart_and_nothing_else_is() -> None:
    draw = random.Random(0)
    texts = [" ".join(draw.choice(WORDS) for _ in range(60)) for _ in range(400)]
    close = [f"{text} another" for text in texts[:50]]
    expected = [*range(400), *range(50)]
    assert all(similarity(one, other) > SIMILAR for one, other in zip(texts, close, strict=False))
    assert firsts([*texts, *close]) == expected


def test_how_often_a_pair_is_found_follows_its_similarity() -> None:
    draw = random.Random(1)
    pairs = []
    for _ in range(300):
        words = [draw.choice(WORDS) for _ in range(80)]
        changed = [*words]
        for _ in range(draw.randrange(1, 12)):
            changed[draw.randrange(80)] = f"new{draw.random()}"
        pairs.append((" ".join(words), " ".join(changed)))
    found = firsts([one for one, _ in pairs] + [other for _, other in pairs])[300:]
    alike = [similarity(one, other) for one, other in pairs]
    sure = [first == place for place, (first, value) in enumerate(zip(found, alike, strict=True)) if value > 0.9]
    never = [first == place for place, (first, value) in enumerate(zip(found, alike, strict=True)) if value < 0.65]
    assert len(sure) > 20
    assert len(never) > 20
    assert all(sure)
    assert not any(never)


def test_case_marks_and_spaces_are_no_difference_and_texts_without_a_word_are_no_duplicates() -> None:
    texts = [
        "Is it so?",
        "is it  so",
        "",
        "...",
        "",
        "안녕하세요 여러분 반갑습니다",
        "我喜欢吃苹果",
        "我喜欢吃苹果。",
        "One",
    ]
    assert firsts(texts) == [0, 0, 2, 3, 4, 5, 6, 6, 8]


def test_texts_beyond_what_is_hashed_at_once_are_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_CHARACTERS", 50)
    assert firsts(["one two three four five six"] * 5 + ["seven eight nine ten eleven twelve"]) == [0] * 5 + [5]


@given(st.lists(st.text(alphabet="ab ä你한.\n", max_size=20), max_size=6))
def test_the_shingles_of_a_text_are_the_same_beside_other_texts(texts: list[str]) -> None:
    together = shingle(texts)
    parts = np.split(together.hashes, np.cumsum(together.counts)[:-1]) if texts else []
    for text, part in zip(texts, parts, strict=True):
        assert shingle([text]).hashes.tolist() == part.tolist()


def test_shingles_are_runs_of_three_words() -> None:
    assert shingle(["a b c d", "a b c", "a b", "", "我喜欢"]).counts.tolist() == [2, 1, 1, 0, 1]
    one, other = shingle(["x a b c", "a b c"]).hashes[1:]
    assert one == other


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 9)), max_size=60))
def test_records_come_back_with_all_of_their_key(records: list[tuple[int, int]]) -> None:
    with KeyFile(columns=2) as file:
        for record in records:
            file.add(np.array([record], np.uint64))
        parts = [part.tolist() for part in file.parts()]
    assert Counter(tuple(record) for part in parts for record in part) == Counter(records)
    keys = [{key for key, _ in part} for part in parts]
    assert sum(map(len, keys)) == len(set().union(*keys))


@given(st.integers(0, 300), st.integers(1, 60), st.integers(1, 50))
def test_a_sample_does_not_depend_on_how_the_stream_comes(count: int, size: int, step: int) -> None:
    whole, parted = Sample[int](size), Sample[int](size)
    whole.add(range(count))
    for start in range(0, count, step):
        parted.add(range(count)[start : start + step])
    assert whole.things() == parted.things()
    assert len(whole.things()) == min(count, size)
    assert whole.is_whole is (count <= size)


def test_every_thing_is_as_likely_to_be_sampled() -> None:
    sampled: Counter[int] = Counter()
    for seed in range(400):
        sample = Sample[int](10, seed)
        sample.add(range(100))
        sampled.update(sample.things())
    assert min(sampled[thing] for thing in range(100)) > 15
    assert max(sampled.values()) < 75
