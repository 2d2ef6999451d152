"""Several judges of an evaluation: each alone, their agreement, intervals over prompts and judges; judges not apart."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cai.core.records import JurorVote, Message, Prompt, Verdict
from cai.evaluate import chart
from cai.evaluate.crossed import crossed_mean, student_95
from cai.evaluate.independence import Named, partial_judges
from cai.evaluate.jurors import Judgements, jury_section
from cai.evaluate.measures import measures_of
from cai.evaluate.pairs import PairDecisions
from cai.evaluate.records import Decision, Gate
from cai.evaluate.results import Evaluation, EvaluationSection
from cai.models.base import Engine
from cai.models.jury import JuryEngine, members_of, parse_judge
from cai.models.spec import ModelSpec
from tests.evaluating import answered, made_answer, made_decision
from tests.test_evaluate_job import Models, bad, good, run, settings

VALUES = st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3), min_size=2, max_size=20)


@given(st.floats(1, 500))
def test_the_ends_of_students_distribution_are_those_that_others_compute(freedom: float) -> None:
    assert student_95(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-3)


@given(VALUES, st.randoms(use_true_random=False))
def test_a_mean_over_prompts_and_judges_does_not_depend_on_their_order(values: list[list[int]], random: Any) -> None:
    table = np.array(values, dtype=float)
    found = crossed_mean(table)
    rows, columns = list(range(len(values))), [0, 1, 2]
    random.shuffle(rows)
    random.shuffle(columns)
    other = crossed_mean(table[rows][:, columns])
    assert found is not None
    assert other is not None
    assert list(found) == pytest.approx(list(other))
    assert found.low <= found.value <= found.high


@given(st.lists(st.integers(0, 1), min_size=2, max_size=40))
def test_judges_of_one_mind_give_the_interval_over_prompts_alone(values: list[int]) -> None:
    column = np.array(values, dtype=float)
    found = crossed_mean(np.stack([column, column], axis=1))
    assert found is not None
    width = stats.t.ppf(0.975, len(values) - 1) * column.std(ddof=1) / np.sqrt(len(values))
    assert found.high - found.value == pytest.approx(width, rel=2e-3, abs=1e-12)


@pytest.mark.parametrize(("judges", "spread"), [(2, 0.0), (2, 0.15), (4, 0.15)])
def test_the_interval_covers_what_all_judges_would_say_of_all_prompts(judges: int, spread: float) -> None:
    generator = np.random.default_rng(7)
    covered = naive = 0
    for _ in range(400):
        leanings = generator.normal(0, spread, judges)
        values = 0.4 + generator.normal(0, 0.3, (60, 1)) + leanings + generator.normal(0, 0.2, (60, judges))
        found = crossed_mean(values)
        assert found is not None
        covered += found.low <= 0.4 <= found.high
        by_prompt = values.mean(axis=1)
        naive += abs(by_prompt.mean() - 0.4) <= 1.96 * by_prompt.std(ddof=1) / np.sqrt(60)
    assert covered / 400 >= 0.92
    if spread:
        assert naive / 400 < 0.8, "an interval over prompts alone would not"


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart, "draw_evaluation", lambda _: {})  # the pictures take longest


class Juries(Models):
    """Models of which juries can be made; the judge `strict` finds that everything is broken."""

    async def opened(self, spec: ModelSpec, settings: Any, stack: AsyncExitStack, say: object) -> Engine:  # type: ignore[override]
        engines = [await super(Juries, self).opened(one, settings, stack, say) for one in members_of(spec)]
        for engine, member in zip(engines, members_of(spec), strict=True):
            if member.model == "strict":
                engine._choose = self.strictly
        return engines[0] if len(engines) == 1 else JuryEngine(engines)

    def strictly(self, messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        return (0.9, 0.05) if len(messages) > 1 else self.choose(messages, options)


def judged_by(tmp_path: Path, judge: str, *models: str, **changes: Any) -> Evaluation:
    return run(replace(settings(tmp_path, *models, **changes), judge=parse_judge(judge)))


def test_each_judge_stands_beside_the_others_and_the_interval_is_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Juries(monkeypatch, fine=good, poor=bad, mild=good, strict=good)
    found = judged_by(tmp_path, "transformers:mild,transformers:strict", "fine", baseline="poor")
    section = found.section("judges")
    assert section.details["judges"] == ["scripted mild", "scripted strict"]
    alone, by_agreement, pairs = section.tables[1], section.tables[0], section.tables[2]
    assert alone.columns == ("", "model", "scripted mild", "scripted strict")
    fine = next(row for row in alone.rows if row[:2] == ("breaks any principle", "fine"))
    assert (fine[2].split()[0], fine[3].split()[0]) == ("0.0", "100.0")
    assert {row[0]: row[1].split()[0] for row in by_agreement.rows}["gates: agreement"] == "50.0"
    assert pairs.rows[0][0] == "fine over poor"
    assert pairs.rows[0][1:3] == ("12 of 12", "12 of 12")
    over = next(model for model in section.models if model.label == "fine").measurement("breaks any principle")
    assert over is not None
    assert (over.value, over.low, over.high, over.count) == (0.5, 0.0, 1.0, 12), "two judges that differ say little"
    assert found.measurement("breaks any principle", "fine").value == 1, "the mean of 0.11 and 0.95 is above one half"


def section_of(
    said: Mapping[str, Sequence[Mapping[str, tuple[float | None, ...]]]], *decisions: Decision, judges: int = 2
) -> EvaluationSection:
    """Return the section on judges of which each model's answers have these gates, by principle a prompt."""
    prompts = [Prompt(f"q{n}", n, ()) for n in range(max(map(len, said.values())))]
    models = [
        answered(
            label,
            *(
                made_answer(f"q{n}", "text", gates=tuple(Gate(name, None, votes) for name, votes in gates.items()))
                for n, gates in enumerate(found)
            ),
        )
        for label, found in said.items()
    ]
    pairs = [PairDecisions("new", "base", {one.id: one for one in decisions}, {})] if decisions else []
    judged = Judgements(prompts, models, pairs, tuple(f"judge {n}" for n in range(judges)))
    principles = dict.fromkeys(name for found in said.values() for gates in found for name in gates)
    section = jury_section(judged, "base" if "base" in said else None, measures_of(list(principles)), 0)
    assert section is not None
    return section


def test_a_juror_without_a_word_has_no_vote_and_one_that_finds_a_tie_has() -> None:
    def decision(number: int, probability: float | None, abstained: str | None) -> Decision:
        votes = (JurorVote("one", 0.9, 0.9, 0.9, None), JurorVote("two", None, None, probability, abstained))
        verdict = Verdict("a", "b", "kind", 0.9, 0.9, 1.0, 1.0, 0.9, None, (), (), votes)
        return replace(made_decision(f"q{number}", 0.9), verdicts=(verdict,))

    reasons = [(0.8, None), (None, "tie"), (None, "identical"), (None, "low mass"), (None, "unreadable")]
    decisions = [decision(n, *reason) for n, reason in enumerate(reasons)]
    section = section_of({"base": [{}] * 5, "new": [{}] * 5}, *decisions)
    (found,) = (one for one in section.details["agreement"] if one["name"] == "pairs: agreement")
    assert (found["count"], found["value"]) == (3, pytest.approx(1 / 3))


def test_prompts_that_no_juror_answered_are_unanswered() -> None:
    gates: list[tuple[float | None, ...]] = [(0.9, 0.9)] * 9 + [(0.9, None)] + [(None, None)] * 30
    (model,) = section_of({"one": [{"kind": votes} for votes in gates]}).models
    assert model.counts("breaks kind") == (9, 40)


def test_of_many_principles_chance_is_taken_out_with_several_judges_too() -> None:
    principles = [f"p{n}" for n in range(2)]
    base = [{name: (float(n < 6), float(n < 6)) for name in principles} for n in range(40)]
    new = [dict.fromkeys(principles, (0.0, 0.0))] * 40
    found = section_of({"base": base, "new": new}).models[1]
    difference = found.difference("breaks p0")
    assert difference is not None
    assert difference.high is not None
    assert difference.high < 0, "by its interval alone each would be starred"
    assert found.p_values == pytest.approx({f"breaks {name}": 2 * 2 / 2**6 for name in principles})
    assert not found.differs("breaks p0")
    alone = section_of({side: [{"p0": one["p0"]} for one in rows] for side, rows in (("base", base), ("new", new))})
    assert alone.models[1].differs("breaks p0")


def test_one_judge_has_no_section_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, fine=good, judge=good)
    found = run(settings(tmp_path, "fine", judge="judge"))
    assert "judges" not in {section.name for section in found.sections}


def trained(directory: Path, model: str, *judges: str, **more: Any) -> ModelSpec:
    directory.mkdir(parents=True)
    parts = [{"name": f"runs/{place}", "judge": judge} for place, judge in enumerate(judges)]
    (directory / "train.json").write_text(json.dumps({"parts": parts, "settings": {"model": model, **more}}))
    return ModelSpec.parse(f"transformers:{directory}")


def test_a_judge_of_the_training_is_found_also_behind_the_model_that_training_began_from(tmp_path: Path) -> None:
    sft = trained(tmp_path / "sft", "transformers:base", "the judge and another")
    dpo = trained(tmp_path / "dpo", str(sft))
    online = trained(tmp_path / "grpo", "transformers:base", constitution="medical", judge="tiny")
    base, tiny = ModelSpec.parse("transformers:base"), ModelSpec.parse("tiny")
    judge = Named(tiny, "the judge")
    models = [("base", Named(base, None)), ("dpo", Named(dpo, None)), ("grpo", Named(online, None))]
    found = partial_judges([*models, ("tiny", Named(tiny, None))], [judge])
    assert [(one.label, one.itself, one.trained_on) for one in found] == [
        ("dpo", False, "runs/0"),
        ("grpo", False, "its rewards"),
        ("tiny", True, None),
    ]
    assert "--judge tiny,OTHER" in found[0].told
    assert partial_judges(models, [judge, Named(base, "other")]) == (), "one that is apart is beside it"


def test_what_cannot_be_read_of_a_training_says_nothing(tmp_path: Path) -> None:
    spec = trained(tmp_path / "sft", "transformers:base", "the judge")
    (tmp_path / "sft" / "train.json").write_text("{")
    assert partial_judges([("sft", Named(spec, None))], [Named(ModelSpec.parse("tiny"), "the judge")]) == ()
    circle = trained(tmp_path / "a", f"transformers:{tmp_path / 'a'}")
    assert partial_judges([("a", Named(circle, None))], [Named(ModelSpec.parse("tiny"), "the judge")]) == ()


def test_the_warning_is_told_first_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Models(monkeypatch, fine=good)
    found = run(settings(tmp_path, "fine"))
    assert [one.label for one in found.partial_judges] == ["fine"]
    assert "judged by itself" in found.partial_judges[0].told
