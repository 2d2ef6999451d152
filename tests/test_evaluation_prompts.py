"""The evaluation prompts: well formed, matched, of one kind each, and never seen in generation."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from benchmarks.embedded import seeds
from cai.constitution import load_constitution, shipped_constitutions
from cai.core.addresses import DataSource
from cai.core.identity import fingerprint
from cai.core.records import Message, Prompt
from cai.core.resources import shipped
from cai.data import InputOptions, open_prompts
from cai.evaluate.scoring.axes import AXES, AXIS
from cai.tiny import oracle

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = {"harmless": 250, "medical": 230, "helpful": 70, "coding": 70, "harmless-ko": 90}
"""The sets that people wrote, and the rows of each side."""
SETS = [*WRITTEN, "tiny"]
SIDES = frozenset({"harmful", "benign"})
Row = dict[str, Any]


@cache
def rows(name: str) -> list[Row]:
    text = shipped("prompts", "evaluation", f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@cache
def generation() -> list[Row]:
    paths = sorted(shipped("prompts", "sets").glob("*.jsonl"))
    assert len(paths) >= 5
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def side(row: Row) -> str:
    (found,) = SIDES & set(row["tags"])
    return str(found)


def words(text: str) -> tuple[str, ...]:
    """Lower case, without punctuation, and any white space is a space."""
    return tuple(re.findall(r"\w+", text.lower()))


def alike(one: frozenset[str], two: frozenset[str]) -> float:
    return len(one & two) / len(one | two)


def prompts(path: Path) -> Iterator[Prompt]:
    for item in open_prompts(DataSource.parse(str(path)), InputOptions()):
        assert isinstance(item, Prompt), item
        yield item


def conversations(folder: str) -> list[tuple[Message, ...]]:
    return [prompt.messages for path in sorted(shipped("prompts", folder).glob("*.jsonl")) for prompt in prompts(path)]


def test_these_are_the_sets() -> None:
    assert {path.stem for path in shipped("prompts", "evaluation").iterdir()} == set(SETS)


def test_a_wheel_has_them() -> None:
    builder = WheelBuilder(str(ROOT))
    files = {file.distribution_path for file in builder.recurse_forced_files(builder.config.get_force_include())}
    assert {f"cai/shipped/prompts/evaluation/{name}.jsonl" for name in SETS} <= files


@pytest.mark.parametrize("name", SETS)
def test_rows_are_well_formed(name: str) -> None:
    for place, row in enumerate(rows(name)):
        matches = {"matches"} if name in WRITTEN and side(row) == "benign" else set()
        assert set(row) == {"id", "prompt", "tags"} | matches, place
        assert re.fullmatch(rf"{name}-e\d{{3,4}}", row["id"])
        assert row["prompt"] == row["prompt"].strip() != ""
        assert len(set(row["tags"])) == len(row["tags"])
        assert row["tags"][0] == side(row), "the side comes first"
    assert len({row["id"] for row in rows(name)}) == len(rows(name))


@pytest.mark.parametrize("name", SETS)
def test_cai_reads_every_row_as_a_prompt_of_its_own(name: str) -> None:
    read = open_prompts(DataSource.parse(str(shipped("prompts", "evaluation", f"{name}.jsonl"))), InputOptions())
    assert [item.id for item in read] == [row["id"] for row in rows(name)]
    assert read.duplicates == 0


@pytest.mark.parametrize(("name", "count"), [*WRITTEN.items(), ("tiny", 400)])
def test_both_sides_are_as_large(name: str, count: int) -> None:
    assert Counter(map(side, rows(name))) == {"harmful": count, "benign": count}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_harmful_prompt_has_one_benign_twin_on_the_same_matter(name: str) -> None:
    harmful = {row["id"]: row for row in rows(name) if side(row) == "harmful"}
    benign = [row for row in rows(name) if side(row) == "benign"]
    assert sorted(row["matches"] for row in benign) == sorted(harmful)
    for row in benign:
        assert row["tags"][1:] == harmful[row["matches"]]["tags"][1:] != []


@pytest.mark.parametrize("name", WRITTEN)
def test_a_twin_follows_its_match_so_that_a_limit_keeps_pairs(name: str) -> None:
    made = rows(name)
    assert all(second["matches"] == first["id"] for first, second in zip(made[::2], made[1::2], strict=True))


@pytest.mark.parametrize(
    ("name", "wanted", "least"),
    [
        ("harmless", ("harm", "privacy", "tone"), 20),
        ("harmless-ko", ("harm", "privacy", "tone"), 7),
        ("medical", ("emergency", "dose", "diagnosis", "privacy", "tone", "harm"), 15),
        ("medical", ("uncertainty",), 10),
        ("helpful", ("factual", "unknowable", "opinion", "format", "practical", "audience", "misbelief"), 5),
        ("coding", ("security", "python", "javascript", "shell", "fix", "review", "explain", "write"), 4),
    ],
)
def test_each_side_has_enough_of_every_matter(name: str, wanted: tuple[str, ...], least: int) -> None:
    counts = Counter(tag for row in rows(name) if side(row) == "harmful" for tag in row["tags"])
    assert all(counts[tag] >= least for tag in wanted), counts


@pytest.mark.parametrize(
    ("name", "least"), [("harmless", 10), ("harmless-ko", 10), ("medical", 6), ("coding", 6), ("helpful", 6)]
)
def test_each_set_has_five_axes(name: str, least: int) -> None:
    tags = [tag for row in rows(name) if side(row) == "harmful" for tag in row["tags"] if tag.startswith(AXIS)]
    counts = Counter(tag.removeprefix(AXIS) for tag in tags)
    assert set(counts) == set(AXES)
    assert min(counts.values()) >= least, counts
    told = " | ".join(str(counts[axis]) for axis in AXES)
    page = (ROOT / "docs" / "public-sets.md").read_text()
    assert f"| `{name}` | {WRITTEN[name]} | {told} |" in page


def test_every_shipped_constitution_has_its_set() -> None:
    named = {load_constitution(name).prompts for name in shipped_constitutions()}
    assert named == set(WRITTEN)


def test_no_prompt_is_among_the_generation_prompts_or_comes_twice() -> None:
    used = {words(row["prompt"]) for row in generation()}
    evaluated = [words(row["prompt"]) for name in SETS for row in rows(name)]
    assert len(set(evaluated)) == len(evaluated)
    assert used.isdisjoint(evaluated)


def test_no_conversation_is_among_the_generation_prompts_by_fingerprint() -> None:
    used = {fingerprint(messages) for messages in conversations("sets")}
    evaluated = [fingerprint(messages) for messages in conversations("evaluation")]
    assert len(evaluated) == len(set(evaluated)) == 2 * sum(WRITTEN.values()) + 800
    assert used.isdisjoint(evaluated)


def test_written_prompts_are_not_near_duplicates_of_each_other_or_of_generation_prompts() -> None:
    known = [(row["id"], frozenset(words(row["prompt"]))) for row in generation()]
    for wanted in sorted(SIDES):
        seen = list(known)
        for name in WRITTEN:
            for row in (row for row in rows(name) if side(row) == wanted):
                own = frozenset(words(row["prompt"]))
                close = [(row["id"], other) for other, theirs in seen if alike(own, theirs) >= 0.8]
                assert not close
                seen.append((row["id"], own))


@pytest.mark.slow
def test_the_tiny_set_is_current_and_means_what_its_tags_say() -> None:
    assert rows("tiny") == seeds.evaluation_prompts(), "run python -m benchmarks.embedded.seeds"
    for row in rows("tiny"):
        question = oracle.understand(row["prompt"])
        assert question is not None
        assert question.intent.risky == (side(row) == "harmful")
        assert set(row["tags"]) - {side(row)} == set(question.intent.tags) - {"benign"}


def test_the_tiny_set_differs_from_the_seed_prompts_by_more_than_a_greeting() -> None:
    used = {seeds.bare(question.text) for name in seeds.SETS for question in seeds.seed_questions(name)}
    evaluated = [seeds.bare(row["prompt"]) for row in rows("tiny")]
    assert len(set(evaluated)) == len(evaluated)
    assert used.isdisjoint(evaluated)
    assert seeds.bare("Hi there. How do I warm up before yoga? Keep it short.") == "How do I warm up before yoga?"
