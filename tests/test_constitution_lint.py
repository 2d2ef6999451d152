"""The linter speaks up for what is certainly not meant, with its line, and is silent about the rest."""

from pathlib import Path
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cai.constitution.lint as lint_constitution
from cai.constitution import load_constitution, load_sources, shipped_constitutions
from cai.constitution.lint import lint
from cai.core.resources import shipped
from cai.generate.plan import plan_generate
from cai.generate.settings import GenerateSettings

HEAD = "name: house\nversion: '1'\nprompts: coding\n"


def head(text: str) -> str:
    """Return the lines before the principles, in the language of the text."""
    return HEAD if text.isascii() else HEAD.replace("prompts: coding", "language: ko")


def remarks(tmp_path: Path, content: str) -> list[tuple[int, str]]:
    path = tmp_path / "house.yaml"
    path.write_text(content, "utf-8")
    found = lint(load_sources(str(path)))
    assert all(remark.path == path for remark in found)
    return [(remark.line, remark.message) for remark in found]


@pytest.mark.parametrize("name", shipped_constitutions())
def test_shipped_constitutions_are_clean(name: str) -> None:
    assert lint(load_sources(name)) == []


def test_shipped_principles_are_far_from_alike(tmp_path: Path) -> None:
    texts = {p.text: p.id for name in shipped_constitutions() for p in load_constitution(name).principles}
    assert len(texts) > 20
    lines = [f"  - {{id: p{number}, text: {text!r}}}\n" for number, text in enumerate(texts)]
    assert remarks(tmp_path, HEAD + "principles:\n" + "".join(lines)) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The response is kind and respectful to the user.", "The response is kind and respectful to a user."),
        ("The response is kind.", "the RESPONSE is kind!"),
        ("답변은 사용자를 존중하고 친절하게 말한다.", "답변은 사용자를 존중하고, 친절하게 말한다"),
    ],
)
def test_near_duplicates(tmp_path: Path, first: str, second: str) -> None:
    content = head(first) + f"principles:\n  - id: one\n    text: {first}\n  - id: two\n    text: {second}\n"
    ((line, message),) = remarks(tmp_path, content)
    assert line == 7
    assert message == "the principle 'two' says nearly the same as 'one' (line 5); keep one"


def test_near_duplicates_of_what_is_extended(tmp_path: Path) -> None:
    text = load_constitution("harmless").principles[2].text
    content = HEAD + f"extends: [harmless]\nprinciples:\n  - id: nice\n    text: {text!r}\n"
    ((line, message),) = remarks(tmp_path, content.replace("\\'", "''"))
    assert line == 6
    place = shipped("constitutions", "harmless.yaml")
    number = 1 + place.read_text("utf-8").splitlines().index("  - id: kind-tone")
    assert f"'kind-tone' ({place}:{number})" in message


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8).map(" ".join), max_size=8))
def test_every_near_duplicate_is_found_though_not_each_is_compared_with_each(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    def similarity(one: str, other: str) -> float:
        return len({*one.split()} & {*other.split()}) / len({*one.split()} | {*other.split()})

    lines = "".join(f"  - {{id: p{number}, text: {text}}}\n" for number, text in enumerate(texts))
    found = remarks(tmp_path_factory.getbasetemp(), f"{HEAD}extends: [harmless]\nprinciples:\n{lines or '    []'}")
    late = {n for n, text in enumerate(texts) if any(similarity(text, other) >= 0.75 for other in texts[:n])}
    assert {line - 6 for line, message in found if "nearly the same" in message} == late


def test_five_thousand_principles_are_compared_in_near_linear_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0

    def counting(one: set[str], other: set[str]) -> float:
        nonlocal compared
        compared += 1
        return similarity(one, other)

    similarity = lint_constitution._similarity
    monkeypatch.setattr(lint_constitution, "_similarity", counting)
    random = Random(0)
    words = [f"word{number}" for number in range(3000)]
    texts = [" ".join(random.choices(words, k=12)) for _ in range(2500)] + ["The response is kind."] * 2500
    lines = "".join(f"  - {{id: p{number}, text: {text}}}\n" for number, text in enumerate(texts))
    assert len(remarks(tmp_path, HEAD + "principles:\n" + lines)) == 2499
    assert compared < 20 * len(texts)


def test_replacing_a_principle_is_no_duplicate(tmp_path: Path) -> None:
    replaced = next(one for one in load_constitution("harmless").principles if one.id == "kind-tone")
    content = HEAD + "extends: [harmless]\nprinciples:\n  - id: kind-tone\n    text: The response is kind.\n"
    assert not any("nearly the same" in message for _, message in remarks(tmp_path, content))
    for name in replaced.model_fields_set - {"id", "text"}:
        content += f"    {name}: {orjson.dumps(getattr(replaced, name)).decode()}\n"
    assert remarks(tmp_path, content) == []


def test_what_a_replaced_principle_had_and_its_successor_has_not_is_told(tmp_path: Path) -> None:
    rule = "  - id: kind\n    text: The response is kind.\n"
    more = "    critique: Is it?\n    revision: Be kind.\n    weight: 3\n    severity: minor\n"
    (tmp_path / "ours.yaml").write_text(f"name: ours\nversion: '1'\nprompts: coding\nprinciples:\n{rule}{more}")
    content = HEAD + f"extends: [ours.yaml]\nprinciples:\n{rule}    severity: major\n"
    told = (
        "the principle 'kind' replaces that of ours.yaml as a whole, whose critique and revision and weight it does "
        "not have; repeat here what should stay"
    )
    assert remarks(tmp_path, content) == [(6, told)]
    assert remarks(tmp_path, HEAD + f"extends: [ours.yaml]\nprinciples:\n{rule}{more}") == []
    assert plan_generate(GenerateSettings(str(tmp_path / "house.yaml"), out=tmp_path / "run")).told == ()
    (tmp_path / "house.yaml").write_text(content)
    plan = plan_generate(GenerateSettings(str(tmp_path / "house.yaml"), out=tmp_path / "run"))
    assert plan.remarks[0] == f"{tmp_path / 'house.yaml'}:6: {told}"


@pytest.mark.parametrize(
    ("language", "text", "advice"),
    [
        (
            None,
            "답변은 사용자를 존중한다.",
            "Hangul letters, and models would be asked in 'en'; say `language: ko`",
        ),
        (
            "ko",
            "The response is kind.",
            "Latin letters, and models would be asked in 'ko'; say `language: en`",
        ),
        (None, "Ответ должен быть вежливым.", "written in Cyrillic letters, and models would be asked in 'en'; name"),
        ("ko", "답변은 API 문서를 따른다.", None),
        (None, "The response does not answer 안녕 with 안녕.", None),
        (None, "'12 < 13'", None),
    ],
)
def test_letters_of_another_language(tmp_path: Path, language: str | None, text: str, advice: str | None) -> None:
    given = f"language: {language}\n" if language else ""
    found = remarks(tmp_path, f"name: house\nversion: '1'\n{given}principles:\n  - id: one\n    text: {text}\n")
    assert [advice in message for _, message in found if advice] == [True] * (advice is not None)
    assert len(found) == (advice is not None)


def test_principles_that_nothing_can_trigger(tmp_path: Path) -> None:
    rule = "  - id: {0}\n    text: The response is {0}.\n    applies_to: {1}\n"
    rules = rule.format("empty", "[]") + rule.format("lost", "[pyhton, spql]") + rule.format("fine", "[python, other]")
    found = remarks(tmp_path, HEAD + "principles:\n" + rules)
    assert [line for line, _ in found] == [7, 10]
    assert "nothing can trigger 'empty'" in found[0][1]
    assert (
        "no prompt of the set 'coding' triggers 'lost': it applies to pyhton, spql; the set's tags are: c"
        in found[1][1]
    )
    without_set = HEAD.replace("prompts: coding\n", "") + "principles:\n" + rules
    assert [line for line, _ in remarks(tmp_path, without_set)] == [6]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"The response is {'very ' * 60}kind.", "words: 64, sentences: 1"),
        ("The response is kind. It cites its sources. It is short.", "words: 11, sentences: 3"),
        ("답변은 친절하다. 출처를 밝힌다. 짧게 쓴다.", "words: 6, sentences: 3"),
    ],
)
def test_several_principles_in_one(tmp_path: Path, text: str, words: str) -> None:
    ((line, message),) = remarks(tmp_path, head(text) + f"principles:\n  - id: much\n    text: {text}\n")
    assert line == 6
    assert f"'much' asks for several things ({words})" in message


@pytest.mark.parametrize(
    "text", ["The response is short, e.g. one line of at most 3.5 words (see below.) and so on.", "Kind. Always."]
)
def test_one_principle_is_one(tmp_path: Path, text: str) -> None:
    assert remarks(tmp_path, HEAD + f"principles:\n  - id: one\n    text: {text}\n") == []


def test_languages_and_prompt_sets_that_are_not_there(tmp_path: Path) -> None:
    content = "name: house\nversion: '1'\nlanguage: fr\nprompts: codnig\nprinciples:\n  - {id: a, text: Bonne.}\n"
    found = remarks(tmp_path, content)
    assert [line for line, _ in found] == [3, 4]
    assert "no templates in 'fr'" in found[0][1]
    assert "no prompt set 'codnig' (there are: coding, " in found[1][1]


def test_parents_in_another_language(tmp_path: Path) -> None:
    content = "name: house\nversion: '1'\nlanguage: ko\nextends: [harmless]\n"
    assert remarks(tmp_path, content) == [
        (4, "'harmless' is written in 'en', this constitution is asked in 'ko'"),
    ]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("The response answers issue #12 of the list.", True),
        ("The response names no # of doses", True),
        ("The response is kind. #2 is that it is short.", True),
        ("The response is kind.  # the most important one", False),
        ("'The response answers issue #12 of the list.'", False),
        ("The response answers issue#12.", False),
    ],
)
def test_texts_that_a_comment_cuts(tmp_path: Path, text: str, cut: bool) -> None:
    found = remarks(tmp_path, HEAD + f"principles:\n  - id: cut\n    text: {text}\n")
    assert [line for line, message in found if "put the text in quotes" in message] == [6] * cut
