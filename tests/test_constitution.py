"""Constitutions: what ships, what files make together, and that every mistake is told with its line."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cai.constitution import (
    Constitution,
    Principle,
    RevisionPlan,
    Severity,
    json_schema,
    load_constitution,
    load_sources,
    origins,
    shipped_constitutions,
)
from cai.core.errors import ConstitutionError
from cai.core.resources import shipped

SHIPPED = ("coding", "harmless", "harmless-ko", "helpful", "medical")
VALID = """\
name: house
version: "1"
principles:
  - id: kind
    text: The response is kind.
  - id: true
    text: The response is true.
""".replace("id: true", "id: honest")

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file and returns its path."""

    def _write(name: str, content: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
        return str(path)

    return _write


def mistakes(path: str) -> list[str]:
    """Return what is said of each line: "12: message"."""
    with pytest.raises(ConstitutionError) as caught:
        load_constitution(path)
    lines = [line for line in str(caught.value).splitlines() if line.startswith("/")]
    return [line.removeprefix(f"{path}:") for line in lines]


# What ships


def test_what_ships() -> None:
    assert shipped_constitutions() == SHIPPED
    for name in SHIPPED:
        constitution = load_constitution(name)
        assert constitution == load_constitution(f"{name}.yaml")
        assert constitution.name == name
        assert len(constitution.exemplars) >= 3
        assert constitution.revision == RevisionPlan()
        assert all(principle.applies_to is None for principle in constitution.principles)
        assert constitution.applicable(()) == constitution.principles


def test_the_principles_that_the_embedded_model_knows() -> None:
    harmless = ["no-help-with-harm", "privacy", "kind-tone", "no-needless-refusal"]
    medical = ["emergency-first", "no-unfounded-dose", "no-certain-diagnosis", "uncertainty-stated"]
    assert [principle.id for principle in load_constitution("harmless").principles] == harmless
    assert [principle.id for principle in load_constitution("medical").principles] == harmless + medical
    first = load_constitution("medical").principles[4]
    assert first.text.startswith("Signs of an emergency are answered with emergency services first (119, 112, 911)")
    assert (first.severity, first.weight) == (Severity.CRITICAL, 2.0)


def test_korean_is_korean() -> None:
    korean = load_constitution("harmless-ko")
    assert korean.language == "ko"
    for principle in korean.principles:
        for text in (principle.text, principle.critique, principle.revision):
            assert text is not None
            assert any("가" <= letter <= "힣" for letter in text)


@pytest.mark.parametrize("name", ["helpful", "coding", "harmless-ko"])
def test_prompt_sets(name: str) -> None:
    constitution = load_constitution(name)
    path = shipped("prompts", "sets", f"{constitution.prompts}.jsonl")
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert len(rows) >= 40
    assert all(set(row) == {"id", "prompt", "tags"} and row["prompt"].strip() and row["tags"] for row in rows)
    assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == len(rows)


def test_the_schema_file_is_current() -> None:
    text = orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2) + b"\n"
    assert shipped("constitutions", "schema.json").read_bytes() == text, "cai constitution schema > …/schema.json"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_name_the_schema_and_keep_it(name: str) -> None:
    path = shipped("constitutions", f"{name}.yaml")
    assert path.read_text("utf-8").splitlines()[0] == "# yaml-language-server: $schema=schema.json"
    validator = jsonschema.Draft202012Validator(json_schema())
    data = yaml.safe_load(path.read_text("utf-8"))
    validator.validate(data)
    for broken in ({**data, "wieght": 1}, {**data, "revision": {"rounds": -1}}, {**data, "principles": [{"id": "x"}]}):
        assert not validator.is_valid(broken)


# What a constitution says


def test_defaults(write: Write) -> None:
    constitution = load_constitution(write("house.yaml", VALID))
    assert constitution.language == "en"
    assert constitution.revision == RevisionPlan(schedule="walk", rounds=1, gate=True)
    assert constitution.principles[0] == Principle(id="kind", text="The response is kind.")
    assert (constitution.principles[0].weight, constitution.principles[0].severity) == (1.0, Severity.MAJOR)
    assert (constitution.prompts, constitution.exemplars, constitution.extends) == (None, (), ())


def test_applicable_by_tags() -> None:
    everywhere = Principle(id="a", text="A.")
    some = Principle(id="b", text="B.", applies_to=("x", "y"))
    nowhere = Principle(id="c", text="C.", applies_to=())
    constitution = Constitution(name="n", version="1", principles=(everywhere, some, nowhere))
    assert constitution.applicable(()) == (everywhere,)
    assert constitution.applicable({"z"}) == (everywhere,)
    assert constitution.applicable(["z", "y"]) == (everywhere, some)


def test_nothing_about_it_can_be_changed() -> None:
    constitution = load_constitution("harmless")
    with pytest.raises(ValidationError):
        constitution.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Principle(id="a", text="A.", colour="red")  # type: ignore[call-arg]


def test_the_fingerprint_is_of_content(write: Write) -> None:
    original = load_constitution(write("a.yaml", VALID)).fingerprint
    rewritten = """\
# a comment
principles: [{text: "The response is kind.  ", weight: 1, id: kind}, {id: honest, text: >
    The response
    is true.
  , severity: major}]
version: '1'
summary: Not part of it.
language: en
name: house
""".replace(">\n    The response\n    is true.\n  ", '"The response is true."')
    assert load_constitution(write("b.yaml", rewritten)).fingerprint == original
    changes = [("kind.", "mild."), ("house", "hut"), ('"1"', '"2"'), ("id: kind", "id: mild")]
    changes += [("is true.", "is true.\n    weight: 3"), ('"1"', '"1"\nrevision: {gate: false}')]
    changed = [VALID.replace(old, new) for old, new in changes]
    fingerprints = {load_constitution(write("c.yaml", content)).fingerprint for content in changed}
    assert len(fingerprints | {original}) == len(changes) + 1


def test_the_fingerprint_does_not_ask_how_files_were_put_together(write: Write) -> None:
    parent = "name: p\nversion: '1'\nlanguage: ko\nprinciples:\n  - {id: kind, text: The response is kind.}\n"
    write("parent.yaml", parent)
    child = "name: house\nversion: '1'\nextends: [parent]\nprinciples:\n  - {id: honest, text: The response is true.}\n"
    whole = VALID + "language: ko\n"
    assert (
        load_constitution(write("child.yaml", child)).fingerprint
        == load_constitution(write("whole.yaml", whole)).fingerprint
    )


def test_a_copy_has_its_own_fingerprint() -> None:
    constitution = load_constitution("harmless")
    before = constitution.fingerprint
    assert constitution.model_copy(update={"revision": RevisionPlan(rounds=2)}).fingerprint != before


# Where files are found


def test_a_file_in_the_working_directory_wins(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_constitution("medical").name == "medical"
    write("medical.yaml", VALID)
    assert load_constitution("medical").name == load_constitution("medical.yaml").name == "house"
    assert load_constitution(str(shipped("constitutions", "medical.yaml"))).name == "medical"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("medcal", r"^there is no constitution 'medcal'; did you mean 'medical'\?$"),
        ("medcal.yaml", r"did you mean 'medical'\?$"),
        ("./nowhere/harmles.yaml", r"did you mean 'harmless'\?$"),
        ("zzz", r"; known are: coding, harmless, harmless-ko, helpful, medical, or the path of a file$"),
        ("", "no constitution ''"),
        (".", "no constitution '.'"),
        ("\0", "no constitution"),
        ("x" * 5000, "no constitution"),
        ("../constitutions/medical.yml", "no constitution"),
    ],
)
def test_an_unknown_name(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConstitutionError, match=message):
        load_constitution(name)


# What extends does


def principle(name: str, text: str) -> str:
    return f"  - {{id: {name}, text: {text}}}\n"


def test_a_child_replaces_in_place_and_adds_behind(write: Write) -> None:
    write(
        "parent.yaml", VALID + "exemplars:\n  - {prompt: a, response: b, principle: kind, critique: c, revision: d}\n"
    )
    head = "name: child\nversion: '2'\nextends: [parent.yaml]\nprinciples:\n"
    tail = "exemplars:\n  - {prompt: e, response: f, principle: honest, critique: g, revision: h}\n"
    path = write("child.yaml", head + principle("new", "New.") + principle("kind", "Kinder.") + tail)
    constitution = load_constitution(path)
    assert [(p.id, p.text) for p in constitution.principles] == [
        ("kind", "Kinder."),
        ("honest", "The response is true."),
        ("new", "New."),
    ]
    assert [exemplar.prompt for exemplar in constitution.exemplars] == ["a", "e"]
    assert (constitution.name, constitution.version, constitution.extends) == ("child", "2", ("parent.yaml",))
    places = {name: (source.path.name, line) for name, (source, line) in origins(load_sources(path)).items()}
    assert places == {"kind": ("child.yaml", 6), "honest": ("parent.yaml", 6), "new": ("child.yaml", 5)}
    assert list(places) == ["kind", "honest", "new"]


def test_what_is_not_given_is_inherited(write: Write) -> None:
    extra = "language: ko\nprompts: coding\nrevision: {schedule: sample, rounds: 4}\n"
    write("parent.yaml", VALID + extra)
    head = "name: child\nversion: '2'\nextends: [parent]\n"
    inherited = load_constitution(write("child.yaml", head))
    assert (inherited.language, inherited.prompts) == ("ko", "coding")
    assert inherited.revision == RevisionPlan(schedule="sample", rounds=4)
    given_ = load_constitution(write("child.yaml", head + "language: en\nprompts: medical\nrevision: {rounds: 2}\n"))
    assert (given_.language, given_.prompts, given_.revision) == ("en", "medical", RevisionPlan(rounds=2))


def test_a_diamond_reads_each_file_once_and_keeps_replacements(write: Write) -> None:
    write("base.yaml", VALID)
    write("left.yaml", "name: l\nversion: '1'\nextends: [base]\nprinciples:\n" + principle("kind", "Kinder."))
    write("right.yaml", "name: r\nversion: '1'\nextends: [base]\nprinciples:\n" + principle("new", "New."))
    path = write("both.yaml", "name: b\nversion: '1'\nextends: [left, right]\n")
    constitution = load_constitution(path)
    assert [p.text for p in constitution.principles] == ["Kinder.", "The response is true.", "New."]
    assert [source.path.name for source in load_sources(path)] == ["base.yaml", "left.yaml", "right.yaml", "both.yaml"]


def test_paths_in_extends_are_relative_to_the_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("shared/base.yaml", VALID)
    write("shared/harmless.yaml", VALID.replace("house", "beside"))
    write("house/ward.yaml", "name: ward\nversion: '1'\nextends: [../shared/base, harmless]\n")
    write("shared/here.yaml", "name: here\nversion: '1'\nextends: [harmless]\n")
    monkeypatch.chdir(tmp_path / "house")
    assert len(load_constitution("ward").principles) == 2 + len(load_constitution("harmless").principles)
    assert [p.id for p in load_constitution("../shared/here.yaml").principles] == ["kind", "honest"]


def test_circles(write: Write) -> None:
    a = write("a.yaml", "name: a\nversion: '1'\nextends:\n  - harmless\n  - b\n")
    b = write("b.yaml", "name: b\nversion: '1'\nextends: [c]\n")
    write("c.yaml", "name: c\nversion: '1'\nextends: [a]\n")
    (circle,) = mistakes(a)
    assert circle.endswith("c.yaml:3: `extends` goes in a circle: a.yaml → b.yaml → c.yaml → a.yaml; "
                           "take one step out or rename a file")  # fmt: skip
    assert "b.yaml → c.yaml → a.yaml → b.yaml" in mistakes(b)[0]
    own = write("medical.yaml", "name: medical\nversion: '1'\nextends: [medical]\n")
    assert mistakes(own)[0].startswith("3: `extends` goes in a circle: medical.yaml → medical.yaml")


def test_mistakes_of_all_files_are_told(write: Write) -> None:
    parent = write("parent.yaml", VALID + "colour: red\n")
    child = write("child.yaml", "name: child\nversion: 1\nextends: [parent]\n")
    assert mistakes(child) == [
        f"{parent}:8: unknown key `colour`; allowed: {', '.join(Constitution.model_fields)}",
        "2: `version` must be text, not the number 1; put it in quotes",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "root:$6$SECRET$hash:19000:0:99999:7:::\ndaemon:*:19000::::::\n",
        "SECRET\n",
        "aws_secret: SECRET\n",
        "name: SECRET\npassword: SECRET\n",
        "- SECRET\n",
        "key: *SECRET\n",
        "key: !SECRET x\n",
        "%SECRET\n",
        "SECRET: 1\nSECRET: 2\n",
        'a: "\\SECRET"\n',
        "a: [SECRET\n",
        "SECRET: a: b\n",
        "\x07SECRET\n",
    ],
)
def test_what_is_extended_and_is_no_constitution_is_not_quoted(write: Write, content: str) -> None:
    other = write("other.yaml", content)
    child = write("child.yaml", f"name: child\nversion: '1'\nextends: [{other}]\n")
    (told,) = mistakes(child)
    assert re.fullmatch(rf"{other}:\d: is not a constitution; if it should be one, `cai constitution check` .*", told)
    assert "SECRET" not in told


# Every mistake has a line, says what is wrong, and what is allowed


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "1: the file is empty"),
        ("- a\n", "1: must be a mapping of keys such as `name` and `principles`, not a list"),
        ("name: a\nversion: '1'\n", "1: the constitution has no principles"),
        ("name: a\nversion: '1'\nprinciples: []\n", "3: the constitution has no principles"),
        (VALID.replace("name: house\n", ""), "1: the constitution has no `name`; it is required"),
        (VALID + "langage: ko\n", "8: unknown key `langage`; did you mean `language`?"),
        (VALID + "zzz: ko\n", "8: unknown key `zzz`; allowed: name, version, summary, "),
        (VALID + "    wieght: 2\n", "8: unknown key `wieght`; did you mean `weight`?"),
        (VALID + "revision: {round: 2}\n", "8: unknown key `round`; did you mean `rounds`?"),
        (VALID + "revision: {schedule: wlk}\n", "8: `schedule` is 'wlk'; allowed: walk, sample"),
        (VALID + "revision: {rounds: -1}\n", "8: `rounds` must be 0 or more, not -1"),
        (VALID + "revision: {rounds: 1.5}\n", "8: `rounds` must be a whole number, not the number 1.5"),
        (VALID + "revision: {gate: 1}\n", "8: `gate` must be true or false, not the number 1"),
        (VALID + "revision: walk\n", "8: `revision` must be a mapping of keys, not the text 'walk'"),
        (VALID + "    severity: high\n", "8: `severity` is 'high'; allowed: critical, major, minor"),
        (VALID + "    weight: 0\n", "8: `weight` must be more than 0, not 0"),
        (VALID + "    weight: -2.5\n", "8: `weight` must be more than 0, not -2.5"),
        (VALID + "    weight: .inf\n", "8: `weight` must be a finite number, not the number inf"),
        (VALID + "    weight: .nan\n", "8: `weight` must be "),
        (VALID + "    weight: '2'\n", "8: `weight` must be a number, not the text '2'"),
        (VALID + "    weight: true\n", "8: `weight` must be a number, not the yes-or-no value true"),
        (VALID + "    applies_to: triage\n", "8: `applies_to` must be a list, not the text 'triage'"),
        (VALID + "    applies_to:\n    - a\n    - 3\n", "10: item 2 of `applies_to` must be text, not the number 3"),
        (VALID + "    critique: ''\n", "8: `critique` is empty"),
        (VALID + "  - {id: a, text: '  '}\n", "8: `text` is empty"),
        (VALID + "  - id: a\n    text:\n", "9: `text` is empty"),
        (VALID + "  - id: a\n", "8: principle 3 has no `text`; it is required"),
        (VALID + "  - id: a b\n    text: x\n", "8: `id` is 'a b'; a name has no spaces"),
        (VALID + "  - just text\n", "8: item 3 of `principles` must be a mapping of keys, not the text 'just text'"),
        (VALID + "  - id: true\n    text: x\n", "8: `id` must be text, not the yes-or-no value true; put it in quotes"),
        (VALID + "  - id: kind\n    text: x\n", "8: the principle id `kind` is used twice (first on line 4); "),
        (VALID + "name: again\n", "8: the key `name` is here a second time (first on line 1); keep one"),
        (VALID + "    text: again\n", "8: the key `text` is here a second time (first on line 7); keep one"),
        (VALID + "extends: harmless\n", "8: `extends` must be a list, not the text 'harmless'"),
        (VALID + "extends:\n- harmles\n", "9: `extends` names 'harmles', which is not there; did you mean 'harmless'?"),
        (VALID + "extends: [qqq]\n", "8: `extends` names 'qqq', which is not there; known are: coding, "),
        (VALID + "language: false\n", "8: `language` must be text, not the yes-or-no value false; put it in quotes"),
        (VALID + "name2: &x [a]\nname3: *x\n", "9: not YAML: the alias `*x` is not read; write out what it stands for"),
        (VALID + "summary: [a\n", "9: not YAML: "),
        (VALID + "<<: {language: ko}\n", "8: unknown key `<<`"),
        (VALID.replace("house", "../up"), "1: `name` is '../up'; a name has no spaces, slashes"),
        (VALID.replace("house", '"a\\eb"'), "1: `name` is 'a\\x1bb'; a name has no spaces, slashes or unseen"),
        (VALID.replace("house", "a\u202eb"), "1: `name` is 'a\\u202eb'; a name has no spaces, slashes or unseen"),
        (VALID.replace("house", "h" * 101), "1: `name` is longer than 100 characters"),
        (
            VALID + "exemplars:\n  - {prompt: a, response: b, principle: knd, critique: c, revision: d}\n",
            "9: exemplar 1 is for the principle 'knd', which is not there; did you mean 'kind'?",
        ),
        (
            VALID + "exemplars:\n  - {prompt: a, response: b, principle: kind, critique: c}\n",
            "9: exemplar 1 has no `revision`; it is required",
        ),
    ],
)
def test_one_mistake(write: Write, content: str, expected: str) -> None:
    (told,) = mistakes(write("house.yaml", content))
    assert told.startswith(expected)


def test_all_mistakes_of_a_file_at_once(write: Write) -> None:
    content = VALID + (
        "    wieght: 2\n    severity: high\n  - id: kind\n    text: ''\nname: again\nextends: [harmles]\nversion2: 1\n"
    )
    assert [told.split(":")[0] for told in mistakes(write("house.yaml", content))] == [
        "8",
        "9",
        "10",
        "11",
        "12",
        "13",
        "14",
    ]


# Nothing ends in a traceback


def survives(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        constitution = load_constitution(str(path))
    except ConstitutionError as error:
        told = [line for line in str(error).splitlines() if line.startswith(str(path))]
        assert told
        assert all(line[len(str(path)) + 1 :].split(":")[0].isdigit() for line in told)
    else:
        assert constitution.principles


@settings(deadline=None)
@given(st.data())
def test_broken_files_are_told_and_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = shipped("constitutions", "medical.yaml").read_text("utf-8").splitlines()
    spots = random.Random(data.draw(st.integers(0, 10**6)))
    for _ in range(data.draw(st.integers(1, 4))):
        spot = spots.randrange(len(lines))
        match spots.randrange(5):
            case 0:
                del lines[spot]
            case 1:
                lines.insert(spot, lines[spots.randrange(len(lines))])
            case 2:
                lines[spot] = lines[spot][: spots.randrange(len(lines[spot]) + 1)]
            case 3:
                lines[spot] = " " * spots.randrange(6) + lines[spot].strip()
            case _:
                lines[spot] += data.draw(st.text("[]{}:,'\"-&*!? \t1", max_size=4))
    survives(tmp_path_factory.getbasetemp() / "broken.yaml", "\n".join(lines).encode())


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text("ab ", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*Constitution.model_fields, *Principle.model_fields, "rounds"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(Constitution.model_fields)), junk))
def test_wrong_types_anywhere_are_told(tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]) -> None:
    content = orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)
    survives(tmp_path_factory.getbasetemp() / "junk.yaml", content)
