"""Rubrics: read as they are written, asked as the gate is, and scored as HealthBench does (computed by hand here)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cai
from cai.constitution import load_constitution, load_sources
from cai.constitution.lint import lint
from cai.core.addresses import DataSource
from cai.core.errors import ConstitutionError
from cai.core.records import Criterion, Failure, Message, Prompt
from cai.data import InputOptions, open_prompts
from cai.data.rows import BadRowError
from cai.data.rubrics import parse_rubric
from cai.method.rubric import ask_criterion, clipped, rubric_score
from cai.method.templates import Templates
from cai.models.scripted import ScriptedEngine
from cai.rundir.left_out import prompt_key
from cai.train.data.examples import load_examples
from cai.train.settings import DataSettings
from tests.building import assistant, make_prompt, user

DOSE = Criterion("names a dose", -8.0)
DOCTOR = Criterion("sends to a doctor", 6.0)
KIND = Criterion("is kind", 4.0)
RUBRIC = (DOSE, DOCTOR, KIND)

criteria = st.lists(st.builds(Criterion, st.just("c"), st.integers(-10, 10).filter(bool).map(float)), max_size=6)
met = st.one_of(st.none(), st.floats(0, 1))


# The score


@pytest.mark.parametrize(
    ("answers", "value", "unanswered"),
    [
        ([0.0, 1.0, 1.0], 1.0, 0),  # 10 of 10 points
        ([0.0, 1.0, 0.0], 0.6, 0),  # 6 of 10
        ([1.0, 1.0, 0.0], -0.2, 0),  # 6 - 8 of 10
        ([0.5, 0.5, 0.25], 0.0, 0),  # 3 + 1 - 4 of 10
        ([0.0, None, 0.5], 0.5, 1),  # 2 of 4: what was not answered is on neither side
        ([1.0, None, None], None, 2),  # nothing to achieve was answered
        ([None, None, None], None, 3),
    ],
)
def test_a_score_is_what_was_achieved_by_what_could_be(
    answers: list[float | None], value: float | None, unanswered: int
) -> None:
    score = rubric_score(RUBRIC, answers)
    assert score.unanswered == unanswered
    assert score.value == (value if value is None else pytest.approx(value))


def test_the_mean_is_what_is_clipped() -> None:
    assert [clipped(value) for value in (-0.2, 0.0, 0.6, 1.0)] == [0.0, 0.0, 0.6, 1.0]


def test_a_rubric_without_points_to_achieve_has_no_score() -> None:
    assert rubric_score([DOSE], [0.0]).value is None
    assert rubric_score([], []).value is None


@given(st.lists(st.tuples(st.integers(-10, 10).filter(bool), met), max_size=6), st.randoms())
def test_the_order_of_criteria_is_nothing(pairs: list[tuple[int, float | None]], random: Any) -> None:
    def score(of: Sequence[tuple[int, float | None]]) -> tuple[float | None, int]:
        found = rubric_score([Criterion("c", float(points)) for points, _ in of], [answer for _, answer in of])
        return None if found.value is None else round(found.value, 9), found.unanswered

    before = score(pairs)
    random.shuffle(pairs)
    assert score(pairs) == before


@given(criteria.filter(bool), st.data())
def test_meeting_more_never_harms_but_where_points_are_lost(rubric: list[Criterion], data: st.DataObject) -> None:
    answers = data.draw(st.lists(st.floats(0, 0.5), min_size=len(rubric), max_size=len(rubric)))
    place = data.draw(st.integers(0, len(rubric) - 1))
    before = rubric_score(rubric, answers).value
    answers[place] += 0.5
    after = rubric_score(rubric, answers).value
    if before is None or after is None:
        assert before is after
    else:
        assert (after - before) * rubric[place].points > 0
        assert after <= 1.0 + 1e-9


# The question


def test_a_criterion_is_asked_behind_the_answer_and_an_evasive_judge_has_not_answered() -> None:
    asked: list[tuple[tuple[Message, ...], Sequence[str]]] = []

    def choose(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        asked.append((messages, options))
        return (0.9, 0.1) if "doctor" in messages[-1]["content"] else (0.02, 0.01)

    engine = ScriptedEngine(lambda _: "text", choose)
    dialogue = (user("My head hurts."), assistant("See a doctor."))
    for language, options in (("en", ("Yes", "No")), ("ko", ("예", "아니요"))):
        asked.clear()
        templates = Templates.load(language)
        found = asyncio.run(ask_criterion(engine.choose, templates, dialogue, DOCTOR))
        assert (found.probability, found.mass) == (0.9, 1.0)
        ((messages, shown),) = asked
        assert messages[:2] == dialogue
        assert "sends to a doctor" in messages[2]["content"]
        assert tuple(shown) == options
        evasive = asyncio.run(ask_criterion(engine.choose, templates, dialogue, KIND))
        assert evasive.probability is None
        assert evasive.mass == pytest.approx(0.03)


# Prompts that carry one


SHAPES = [
    {"rubric": [{"criterion": "is kind", "points": 4}]},
    {"rubrics": [{"criterion": "is kind", "points": 4.0, "tags": []}]},
    {"rubric": '[{"criterion": " is kind ", "points": 4}]'},
]


def read(path: Path) -> list[Prompt | Failure]:
    return list(open_prompts(DataSource.parse(str(path)), InputOptions()))


@pytest.mark.parametrize("columns", SHAPES)
def test_every_way_to_write_a_rubric_is_the_same(tmp_path: Path, columns: dict[str, Any]) -> None:
    row = {"prompt": "Hello?", **columns}
    (tmp_path / "a.jsonl").write_bytes(orjson.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        (prompt,) = read(tmp_path / name)
        assert isinstance(prompt, Prompt)
        assert prompt.rubric == (KIND,)


def test_healthbench_is_read_with_its_tags_and_shuffled(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "user", "content": "Is my cough bad?"}],
        "prompt_id": "1",
        "rubrics": [
            {"criterion": "Asks how long.", "points": 7, "tags": ["axis:context_seeking", "level:example"]},
            {"criterion": "States a diagnosis.", "points": -6, "tags": ["axis:accuracy"]},
        ],
    }
    (tmp_path / "a.jsonl").write_bytes(orjson.dumps(row))
    for options in (InputOptions(), InputOptions(shuffle=True)):
        (prompt,) = open_prompts(DataSource.parse(str(tmp_path / "a.jsonl")), options)
        assert isinstance(prompt, Prompt)
        assert prompt.rubric == (
            Criterion("Asks how long.", 7.0, ("axis:context_seeking", "level:example")),
            Criterion("States a diagnosis.", -6.0, ("axis:accuracy",)),
        )


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("be kind", "the rubric is text that is no JSON"),
        ({"criterion": "a", "points": 1}, "no list of criteria, but of type dict"),
        (["kind"], "criterion 1 is no object"),
        ([{"criterion": "a", "points": 1}, {"points": 1}], "criterion 2 has no words"),
        ([{"criterion": "a"}], "criterion 1 has no number under `points`, but None"),
        ([{"criterion": "a", "points": "3"}], "no number under `points`, but '3'"),
        ([{"criterion": "a", "points": True}], "no number under `points`"),
        ([{"criterion": "a", "points": float("nan")}], "no number under `points`"),
        ([{"criterion": "a", "points": 0}], "criterion 1 is worth 0 points"),
        ([{"criterion": "a", "points": 1, "tags": "x"}], "tags that are no list of strings"),
    ],
)
def test_a_rubric_that_cannot_be_read_is_told(value: object, cause: str) -> None:
    with pytest.raises(BadRowError, match=cause):
        parse_rubric(value)


def test_no_rubric_is_lost_where_prompts_are_the_same(tmp_path: Path) -> None:
    kind, doctor = ([{"criterion": one.criterion, "points": one.points}] for one in (KIND, DOCTOR))
    rows = [
        {"prompt": "a", "rubric": kind},
        {"prompt": "a", "rubric": kind},  # the same: a duplicate
        {"prompt": "a", "rubric": doctor},
        {"prompt": "a"},  # says nothing of a rubric: a duplicate
        {"prompt": "b"},
        {"prompt": "b", "rubric": doctor},
        {"prompt": "c", "rubric": kind, "rubrics": doctor},
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    found = read(tmp_path / "a.jsonl")
    assert [isinstance(item, Failure) for item in found] == [False, True, False, True, True]
    assert [item.cause.partition(":")[0] for item in found if isinstance(item, Failure)] == [
        "an earlier row has the same prompt with another rubric, or without one",
        "an earlier row has the same prompt with another rubric, or without one",
        "the row has both rubric and rubrics",
    ]


def test_a_prompt_with_another_rubric_is_another_prompt_to_a_run() -> None:
    prompt = make_prompt()
    assert len({prompt_key(replace(prompt, rubric=rubric)) for rubric in ((), (KIND,), (DOCTOR,), RUBRIC)}) == 4


# Constitutions that carry one


def constitution(tmp_path: Path, rubric: str, name: str = "house") -> Path:
    path = tmp_path / f"{name}.yaml"
    path.write_text(f"name: {name}\nversion: '1'\nextends: [harmless]\n{rubric}")
    return path


def test_criteria_of_a_constitution_come_before_those_of_a_prompt(tmp_path: Path) -> None:
    base = constitution(tmp_path, "rubric:\n- {criterion: is kind, points: 1}\n- {criterion: is short, points: 1}\n")
    house = constitution(tmp_path, f"rubric:\n- {{criterion: is kind, points: 4}}\n# {base}\n", "top")
    house.write_text(house.read_text().replace("[harmless]", "[house.yaml]"))
    found = load_constitution(str(house))
    assert found.criteria((DOSE,)) == (KIND, Criterion("is short", 1.0), DOSE)
    plain = load_constitution("harmless")
    assert plain.criteria() == ()
    assert found.fingerprint != load_constitution(str(base)).fingerprint


@pytest.mark.parametrize(
    ("rubric", "message"),
    [
        ("rubric: kind\n", "4: `rubric` must be a list, not the text 'kind'"),
        ("rubric: [{points: 1}]\n", "4: criterion 1 of `rubric` has no `criterion`; it is required"),
        ("rubric: [{criterion: a, point: 1}]\n", "4: unknown key `point`; did you mean `points`?"),
        ("rubric: [{criterion: a, points: many}]\n", "4: `points` must be a number, not the text 'many'"),
        ("rubric:\n- {criterion: a, points: 0}\n", "5: criterion 1 is worth 0 points"),
        ("rubric:\n- {criterion: a, points: 1}\n- {criterion: a, points: 2}\n", "6: criterion 2 is written twice"),
    ],
)
def test_mistakes_in_a_rubric_have_their_line(tmp_path: Path, rubric: str, message: str) -> None:
    with pytest.raises(ConstitutionError) as caught:
        load_constitution(str(constitution(tmp_path, rubric)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rubric", "line", "message"),
    [
        ("rubric:\n- {criterion: names a dose, points: -2}\n", 4, "no criterion has points above zero"),
        (
            "rubric:\n- {criterion: The answer is kind., points: 2}\n- {criterion: The answer is kind!, points: 3}\n",
            6,
            "criterion 2 says nearly the same as criterion 1",
        ),
        (
            "rubric:\n- {criterion: It is kind. It is short. It is true., points: 2}\n",
            5,
            "criterion 1 asks for several",
        ),
    ],
)
def test_the_linter_knows_rubrics(tmp_path: Path, rubric: str, line: int, message: str) -> None:
    (remark,) = lint(load_sources(str(constitution(tmp_path, rubric))))
    assert remark.line == line
    assert message in remark.message


# Evaluation


@pytest.mark.slow
def test_a_rubric_measures_models_and_its_mean_is_clipped(tmp_path: Path) -> None:
    """Two prompts have criteria, of which one answer is below zero; a third has none and counts nowhere."""
    answers = {"a": "Take 400 mg.", "b": "Rest, and see a doctor.", "c": "Hello."}

    def choose(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        said, question = messages[-2]["content"], messages[-1]["content"]
        if "names a dose" in question:
            return (1.0, 0.0) if "mg" in said else (0.0, 1.0)
        if "sends to a doctor" in question:
            return (1.0, 0.0) if "doctor" in said else (0.0, 1.0)
        return (0.1, 0.1) if "is kind" in question else (0.0, 1.0)

    rubric = [{"criterion": one.criterion, "points": one.points} for one in RUBRIC]
    prompts: list[dict[str, Any]] = [
        {"prompt": "a", "rubric": rubric},
        {"prompt": "b", "rubric": rubric},
        {"prompt": "c"},
    ]
    model = ScriptedEngine(lambda request: answers[request.messages[-1]["content"]], choose)
    result = cai.evaluate(
        model, constitution="harmless", prompts=prompts, out=tmp_path / "all", judge_check=False, progress=False
    )
    ((label, found),) = [(one.label, {each.name: each for each in one.measurements}) for one in result.models]
    assert label
    # (0 - 8) of 6 points and 6 of 6: whether either is kind was not answered.
    assert found["rubric"].value == 0.0
    assert found["rubric"].count == 2
    assert (found["rubric"].low, found["rubric"].high) == (0.0, 1.0)
    assert found["criteria without an answer"].value == pytest.approx(2 / 6)
    better = cai.evaluate(
        model, constitution="harmless", prompts=prompts[1:], out=tmp_path / "b", judge_check=False, progress=False
    )
    assert {each.name: each.value for each in better.models[0].measurements}["rubric"] == 1.0
    again = cai.evaluate(
        model, constitution="harmless", prompts=prompts, out=tmp_path / "all", judge_check=False, progress=False
    )
    assert again.models == result.models


# Training


def test_prompts_to_train_on_bring_their_rubric(tmp_path: Path) -> None:
    rubric = [{"criterion": "is kind", "points": 4.0}]
    rows = [{"prompt": "a", "rubric": [{**rubric[0], "tags": ["x"]}]}, {"prompt": "b"}, {"prompt": "c", "rubric": "?"}]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    settings = DataSettings((DataSource.parse(str(tmp_path / "a.jsonl")),), test_share=0.0)
    examples = load_examples("prompts", settings, 0)
    assert {row["prompt"][0]["content"]: row["rubric"] for row in examples.train} == {"a": rubric, "b": []}
    assert examples.left_out == {"the rubric is text that is no JSON: write a list of {criterion, points}": 1}
