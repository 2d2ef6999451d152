"""A bench of judges: what it measures, that every number follows from the rows, that it goes on where it stopped."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cai.annotation.index import open_items
from cai.annotation.places import find_place
from cai.annotation.store import AnnotationStore
from cai.cli.main import cai
from cai.core.addresses import DataSource
from cai.core.errors import InputError, RunError, UsageError
from cai.core.records import Comparison, Message, Usage, Verdict
from cai.core.reliability import reliability
from cai.core.shares import Proportion
from cai.generate.plan import plan_generate
from cai.generate.run import generate
from cai.generate.settings import GenerateSettings
from cai.judge_bench import figure
from cai.judge_bench.items import FIRST, SECOND, LabelledItem
from cai.judge_bench.measuring import JudgeAnswers, compare_judges, measure_judge
from cai.judge_bench.plan import BenchPlan, plan_bench
from cai.judge_bench.records import BenchEntry
from cai.judge_bench.results import JudgeBench, JudgeMeasures
from cai.judge_bench.run import bench_judges
from cai.judge_bench.settings import BenchSettings
from cai.method.settings import JudgeSettings
from cai.method.templates import Templates
from cai.models.base import Engine
from cai.models.given import GivenModel
from cai.models.scripted import ScriptedEngine
from cai.models.spec import LabelledModel, ModelSpec
from cai.pipeline.watch import Watch
from tests.annotating import say
from tests.building import PRINCIPLES, make_engine, shown_answers

FIXTURES = Path(__file__).parent / "data" / "judges"

Prefers = Callable[[str, str], float]


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no picture, which takes longer than all else, but where a test is about it."""
    if "picture" not in request.node.name:
        monkeypatch.setattr(figure, "draw_reliability", lambda _: {})


def judging(prefers: Prefers, name: str = "judge", mass: float = 0.9) -> ScriptedEngine:
    def choose(messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        probability = prefers(*shown_answers(messages[0]["content"]))
        return [mass * probability, mass * (1 - probability)]

    engine = make_engine(lambda _: "because", choose)
    engine.name = name
    return engine


def longer(first: str, second: str) -> float:
    return 0.9 if len(first) > len(second) else 0.1


def always_first(_first: str, _second: str) -> float:
    return 0.8


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Pairs of which the longer answer is the better one."""
    return [
        {"prompt": f"q{n}", "chosen": f"a longer answer {n}", "rejected": f"no {n}", **changes} for n in range(count)
    ]


def planned(data: Path, out: Path, judges: Mapping[str, Engine | ModelSpec], **changes: Any) -> BenchPlan:
    named = tuple(
        LabelledModel(label, one if isinstance(one, ModelSpec) else GivenModel(one)) for label, one in judges.items()
    )
    return plan_bench(BenchSettings(DataSource.parse(str(data)), named, "medical", out=out, **changes))


def benched(data: Path, out: Path, judges: Mapping[str, Engine | ModelSpec], **changes: Any) -> JudgeBench:
    result = asyncio.run(bench_judges(planned(data, out, judges, **changes), Watch()))
    assert result != "interrupted"
    return result


def test_judges_side_by_side(tmp_path: Path) -> None:
    rows = [*pairs(12, category="x"), *pairs(12, category="y")]
    rows = [row | {"prompt": f"{place}"} for place, row in enumerate(rows)]
    judges: dict[str, Engine] = {
        "good": judging(longer, "good"),
        "constant": judging(always_first, "constant"),
        "contrary": judging(lambda first, second: 1 - longer(first, second), "contrary"),
    }
    bench = benched(write(tmp_path / "pairs.jsonl", rows), tmp_path / "out", judges)
    good, constant, contrary = bench.judges
    assert good.accuracy == good.labelled == good.label_accuracy == good.both_orders == Proportion(24, 24)
    assert good.problems() == ()
    assert good.position == Proportion(0, 24)
    assert good.by_subset == {"x": Proportion(12, 12), "y": Proportion(12, 12)}
    assert sum(one.of for one in good.by_principle.values()) == 24
    assert good.longer == good.longer_by_label == Proportion(24, 24)
    assert good.labels is not None
    assert good.labels.error == pytest.approx(0.1)
    assert good.labels.brier == pytest.approx(0.01)
    assert constant.accuracy == Proportion(12, 24)  # one half each: both orders averaged know nothing
    assert constant.position == Proportion(24, 24)
    assert constant.first_place == 24
    assert constant.labelled == Proportion(0, 24)
    assert constant.abstained == {"orders contradict": 24}
    assert any("is a constant: it prefers the first answer" in problem for problem in constant.problems())
    assert any("right less often than one who guesses" in problem for problem in contrary.problems())
    by_names = {(pair.a, pair.b): pair for pair in bench.pairs}
    assert (by_names["good", "contrary"].only_a, by_names["good", "contrary"].only_b) == (24, 0)
    assert by_names["good", "contrary"].p == pytest.approx(2 * 0.5**24)


def test_the_picture_is_the_same_for_the_same_numbers(tmp_path: Path) -> None:
    data = write(tmp_path / "p.jsonl", pairs(4))
    drawn = []
    for name in ("one", "two"):
        benched(data, tmp_path / name, {"j": judging(longer)})
        drawn.append([(tmp_path / name / f"reliability.{form}").read_bytes() for form in ("png", "svg")])
    assert drawn[0] == drawn[1]
    assert "![reliability]" in (tmp_path / "one" / "README.md").read_text()


def test_a_tie_stays_a_tie(tmp_path: Path) -> None:
    data = FIXTURES / "helpsteer3.jsonl"
    judge = benched(data, tmp_path / "out", {"j": judging(longer)}).of("j")
    assert judge.asked == 6
    assert judge.accuracy.of == 5
    assert (judge.ties.of, judge.ties.labelled) == (1, 1)
    assert judge.ties.certainty == pytest.approx(0.4)
    assert judge.labels is not None
    assert judge.labels.count == 6
    # The tie happened half, in whatever way it was labelled: |0.9 - x| over six labels.
    right = judge.label_accuracy.part + 0.5
    assert judge.labels.error == pytest.approx(abs(0.9 * 6 - right) / 6)


@pytest.mark.parametrize("name", ["hh", "judgebench", "helpsteer3"])
def test_every_shape_of_pairs_is_read_with_its_label(name: str, tmp_path: Path) -> None:
    better = {row["chosen"] for row in map(json.loads, (FIXTURES / "references.jsonl").read_text().splitlines())}
    judge = judging(lambda first, _: 0.9 if first in better else 0.1)
    found = benched(FIXTURES / f"{name}.jsonl", tmp_path / "out", {"j": judge}).of("j")
    assert found.accuracy.part == found.accuracy.of > 0


def right_texts() -> set[str]:
    return {row["chosen"] for row in map(json.loads, (FIXTURES / "references.jsonl").read_text().splitlines())}


def test_the_best_of_four_beats_every_other_one(tmp_path: Path) -> None:
    better = right_texts()
    good = judging(lambda first, second: 0.9 if first in better else 0.1 if second in better else 0.5, "good")
    almost = judging(
        lambda first, second: (
            0.1 if "Trust me" in first else 0.9 if "Trust me" in second else 0.2 if first in better else 0.8
        ),
        "x",
    )
    same = judging(lambda *_: 0.5, "same")
    bench = benched(FIXTURES / "rewardbench2.jsonl", tmp_path / "out", {"good": good, "almost": almost, "same": same})
    found = bench.of("good")
    assert (found.asked, found.cost.verdicts) == (6, 18)
    assert found.accuracy == Proportion(6, 6)
    assert found.both_orders == Proportion(6, 6)
    assert found.labelled == Proportion(18, 18)
    assert found.chance == 0.25
    assert {name: one.of for name, one in found.by_subset.items()} == {"Factuality": 3, "Safety": 3}
    assert found.mean_of_subsets == 1.0
    assert bench.of("almost").accuracy == Proportion(0, 6), "one that beats it is enough"
    assert bench.of("same").accuracy == Proportion(6 / 4, 6), "four that are alike: one of four"
    assert [pair.only_a for pair in bench.pairs if (pair.a, pair.b) == ("good", "same")] == [6]


@pytest.mark.parametrize(("name", "chance"), [("hhh", 1 / 2), ("kinds_of_harm", 1 / 9)])
def test_options_are_chosen_among_all_at_once(name: str, chance: float, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (FIXTURES / f"{name}.jsonl").read_text().splitlines()]
    right = {row["prompt"]: row["corrects"][0].strip(" ()") for row in rows}

    def knows(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        return [0.8 if option == right[messages[0]["content"]] else 0.1 / (len(options) - 1) for option in options]

    def always_a(_messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        return [0.6 if option == "A" else 0.1 / (len(options) - 1) for option in options]

    judges = {"knows": make_engine(lambda _: "", knows), "always": make_engine(lambda _: "", always_a)}
    bench = benched(FIXTURES / f"{name}.jsonl", tmp_path / "out", judges)
    found, always = bench.judges
    assert found.accuracy == Proportion(6, 6)
    assert found.chance == pytest.approx(chance)
    assert found.cost.verdicts == found.cost.usage.requests == 6
    assert found.mass == pytest.approx(0.9)
    assert found.labels is not None
    assert found.labels.error == pytest.approx(1 - 8 / 9, abs=1e-3)
    assert (always.favourite, always.favourite_share) == ("A", Proportion(6, 6))
    assert any("is a constant: it chooses A in all 6 questions" in problem for problem in always.problems())
    again = benched(FIXTURES / f"{name}.jsonl", tmp_path / "out", judges)
    assert again.judges == bench.judges, "options come back from the file as they were"


def test_targets_with_scores_are_pairs(tmp_path: Path) -> None:
    better = right_texts()
    judge = judging(lambda first, _: 0.9 if first in better else 0.1)
    assert benched(FIXTURES / "bigbench.jsonl", tmp_path / "out", {"j": judge}).of("j").accuracy == Proportion(6, 6)


def test_what_people_said_of_a_run_is_the_label_and_not_what_its_judge_said(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = GenerateSettings(
        constitution="medical",
        model=ModelSpec.parse("scripted"),
        prompts=DataSource.parse("tiny"),
        limit=4,
        rounds=0,
        out=run,
    )
    asyncio.run(generate(plan_generate(settings), Watch()))
    with pytest.raises(InputError, match=r"holds nothing of which it is known.*: nobody has said"):
        planned(run, tmp_path / "none", {"j": judging(longer)})
    place = find_place(DataSource.parse(str(run)))
    store = AnnotationStore(place)
    with open_items(place) as index:
        items = [item for entry in index.entries("pair") if (item := index.find(entry.key)) is not None]
    for item in items[:3]:
        by_length = "a" if len(item.answers[0].text) > len(item.answers[1].text) else "b"
        for annotator in ("kim", "lee"):
            store.append(say(item, by_length, annotator=annotator), item)
    store.append(say(items[0], "tie", annotator="mia"), items[0])
    bench = benched(run, tmp_path / "out", {"j": judging(longer)})
    assert bench.left_out == {"nobody has said which answer is better": 1}
    assert bench.of("j").accuracy == Proportion(3, 3)
    targets = [json.loads(line)["target"] for line in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    assert sorted(targets) == pytest.approx([2.5 / 3, 1, 1])


@pytest.mark.parametrize("reasoning", [False, True])
def test_a_reference_is_shown_to_the_judge_and_to_nobody_without_one(tmp_path: Path, *, reasoning: bool) -> None:
    asked: list[str] = []

    def choose(messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        asked.append(messages[0]["content"])
        return [0.5, 0.4]

    rows = [{"prompt": "Why?", "chosen": "So.", "rejected": "No.", "reference": "Because (A) of it."}, *pairs(1)]
    data, engine = write(tmp_path / "p.jsonl", rows), make_engine(lambda _: "reasons", choose)
    benched(data, tmp_path / "out", {"j": engine}, judging=JudgeSettings(judge_reasoning=reasoning))
    with_reference = [text for text in asked if "reference" in text]
    assert len(with_reference) == len(asked) - len(with_reference) == 2
    for text in with_reference:
        assert r"Because \(A) of it." in text, "no text can pass for an answer's mark"
        assert text.index("Because") < text.index("So.")
    korean = Templates.load("ko")
    shown = Comparison(({"role": "user", "content": "왜?"},), "가", "나", "a", "b", "참고입니다")
    assert "참고 답변" in korean.judge(PRINCIPLES[0], shown.messages, shown.a, shown.b, shown.reference)
    assert shown.swap().reference == "참고입니다"


def test_a_label_about_a_principle_is_judged_under_it(tmp_path: Path) -> None:
    rows = [*pairs(3, principle="privacy"), *pairs(2, principle="nonsense"), *pairs(1)]
    bench = benched(write(tmp_path / "p.jsonl", rows), tmp_path / "out", {"j": judging(longer)})
    assert bench.left_out == {"the constitution has no principle nonsense": 2}
    assert bench.of("j").by_principle["privacy"].of >= 3
    entries = [json.loads(line) for line in (tmp_path / "out" / "verdicts" / "j.jsonl").read_text().splitlines()]
    assert sum(entry["verdicts"][0]["principle_id"] == "privacy" for entry in entries) >= 3


def test_numbers_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{n}", "chosen": "x" * (n % 7 + 1), "rejected": "y" * (n % 5 + 1), "category": f"{n % 3}"}
        for n in range(40)
    ]
    judge = judging(lambda first, second: (7 + len(first) - len(second) + 0.3) / 14)
    out = tmp_path / "out"
    told = json.loads(json.dumps(benched(write(tmp_path / "p.jsonl", rows), out, {"j": judge}).as_json()))["judges"][0]
    items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    entries = {e["id"]: e for e in map(json.loads, (out / "verdicts" / "j.jsonl").read_text().splitlines())}
    right = labelled = labels_right = same_place = 0.0
    gaps = [0.0] * 10
    squares = tokens = 0.0
    by_subset: dict[str, list[float]] = {}
    for item in items:
        entry = entries[item["id"]]
        (verdict,) = entry["verdicts"]
        mean = (verdict["first"] + verdict["second"]) / 2
        score = 0.5 if mean == 0.5 else float(mean > 0.5)
        right += score
        by_subset.setdefault(item["subset"], []).append(score)
        same_place += (verdict["first"] - 0.5) * (verdict["second"] - 0.5) < 0
        tokens += entry["usage"]["prompt_tokens"]
        if verdict["probability"] is not None:
            sure = max(verdict["probability"], 1 - verdict["probability"])
            labelled += 1
            labels_right += verdict["probability"] > 0.5
            gaps[min(int(sure * 10), 9)] += sure - (verdict["probability"] > 0.5)
            squares += (sure - (verdict["probability"] > 0.5)) ** 2
    assert 0 < labels_right < labelled < len(items), "the judge is neither perfect nor mute"
    assert (told["accuracy"]["part"], told["accuracy"]["of"]) == (right, 40)
    assert (told["labelled"]["part"], told["label_accuracy"]["part"]) == (labelled, labels_right)
    assert told["position"]["part"] == same_place > 0
    assert told["labels"]["error"] == pytest.approx(sum(map(abs, gaps)) / labelled)
    assert told["labels"]["brier"] == pytest.approx(squares / labelled)
    assert {name: part["part"] for name, part in told["by_subset"].items()} == {n: sum(s) for n, s in by_subset.items()}
    assert told["cost"]["per_thousand_verdicts"]["prompt_tokens"] == pytest.approx(1000 * tokens / 40)
    assert json.loads((out / "bench.json").read_text())["result"]["judges"] == [told]


def test_it_goes_on_with_what_is_owed_and_asks_nothing_twice(tmp_path: Path) -> None:
    data, out, asked = write(tmp_path / "p.jsonl", pairs(20)), tmp_path / "out", []

    def counted(first: str, second: str) -> float:
        asked.append(first)
        return longer(first, second)

    first = benched(data, out, {"j": judging(counted)}, limit=8)
    assert (first.items, first.found, len(asked)) == (8, 20, 16)
    path = out / "verdicts" / "j.jsonl"
    path.write_bytes(path.read_bytes()[:-20])  # killed within the last line
    again = benched(data, out, {"j": judging(counted), "other": judging(always_first, "other")}, limit=20)
    assert len(asked) == 16 + 2 * 13
    assert again.of("j").accuracy == Proportion(20, 20)
    lines = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(set(lines))
    assert [len(one) for one in (again.judges, again.pairs)] == [2, 1]


def test_an_interrupted_bench_keeps_what_was_answered(tmp_path: Path) -> None:
    data, out = write(tmp_path / "p.jsonl", pairs(30)), tmp_path / "out"
    watch, count = Watch(), 0

    def stopping(first: str, second: str) -> float:
        nonlocal count
        count += 1
        if count == 10:
            watch.stop.drain()
        return longer(first, second)

    engine = judging(stopping)
    engine.concurrency = 2
    assert asyncio.run(bench_judges(planned(data, out, {"j": engine}), watch)) == "interrupted"
    kept = len((out / "verdicts" / "j.jsonl").read_text().splitlines())
    assert 4 <= kept < 30
    assert benched(data, out, {"j": engine}).of("j").accuracy == Proportion(30, 30)
    assert count == 60


def test_what_may_not_be_mixed_is_refused(tmp_path: Path) -> None:
    data, out = write(tmp_path / "p.jsonl", pairs(4)), tmp_path / "out"
    benched(data, out, {"j": judging(longer)})
    with pytest.raises(RunError, match="judge j: the run has judge, now other"):
        benched(data, out, {"j": judging(longer, "other")})
    with pytest.raises(RunError, match="data: the run has"):
        benched(write(tmp_path / "q.jsonl", pairs(5)), out, {"j": judging(longer)})
    with pytest.raises(UsageError, match="two judges are called j"):
        plan_bench(
            BenchSettings(
                DataSource.parse(str(data)), (LabelledModel("j", GivenModel(judging(longer))),) * 2, "medical"
            )
        )
    with pytest.raises(InputError, match="holds nothing of which it is known"):
        planned(write(tmp_path / "t.jsonl", pairs(3, chosen_probability=0.5)), out, {"j": judging(longer)})


def test_variants_are_judges_of_their_own(tmp_path: Path) -> None:
    data = write(tmp_path / "p.jsonl", pairs(6))
    bench = benched(data, tmp_path / "out", {"j": judging(longer)}, variant=("plain", "averaged", "reasoning"))
    assert [judge.label for judge in bench.judges] == ["j", "j~averaged", "j~reasoning"]
    plain, averaged, reasoning = bench.judges
    assert averaged.cost.verdicts > plain.cost.verdicts == 6
    assert reasoning.how == "judge-reasoning True"
    assert reasoning.cost.usage.completion_tokens > 0
    assert reasoning.labels is not None
    assert reasoning.labels.bins[-1].said == pytest.approx(0.6), "labels with reasons are clamped"


def test_the_judge_s_own_answers_are_told_apart(tmp_path: Path) -> None:
    rows = pairs(6, chosen_model="other", rejected_model="me") + [
        row | {"prompt": f"own {row['prompt']}"} for row in pairs(2, chosen_model="me", rejected_model="other")
    ]
    judge = benched(write(tmp_path / "p.jsonl", rows), tmp_path / "out", {"me": judging(longer)}).of("me")
    assert judge.own == judge.own_by_label == Proportion(2, 8)


def entry(number: int, first: float, second: float, probability: float | None) -> BenchEntry:
    verdict = Verdict(FIRST, SECOND, "p", first, second, 0.9, 0.9, probability, None if probability else "tie", ())
    return BenchEntry(str(number), number, (verdict,), Usage(1, 5, 0, 1), (), float(number), number + 0.5)


def item(number: int, target: float) -> LabelledItem:
    return LabelledItem(str(number), number, ({"role": "user", "content": "?"},), ("one two", "three"), target)


def measured(said: Sequence[tuple[float, float]], targets: Sequence[float]) -> JudgeMeasures:
    entries = {str(n): entry(n, one, two, (one + two) / 2) for n, (one, two) in enumerate(said)}
    return measure_judge([item(n, t) for n, t in enumerate(targets)], JudgeAnswers("j", ("j",), "", entries, {}))


halves = st.floats(0.01, 0.99)


@given(st.lists(st.tuples(halves, halves), min_size=1, max_size=30))
def test_with_the_labels_the_other_way_round_right_becomes_wrong(said: list[tuple[float, float]]) -> None:
    one, other = (measured(said, [target] * len(said)) for target in (1.0, 0.0))
    assert one.accuracy.part + other.accuracy.part == one.accuracy.of
    assert one.position == other.position
    assert one.cost.seconds == pytest.approx(0.5 * len(said))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=50))
def test_calibration_error_is_no_more_than_the_mean_distance(points: list[tuple[float, float]]) -> None:
    found = reliability(points)
    assert found is not None
    assert 0 <= found.error <= sum(abs(one - two) for one, two in points) / len(points) + 1e-9
    assert found.error**2 <= found.brier + 1e-9  # Jensen: bins only average
    assert sum(one.count for one in found.bins) == len(points)


def test_overlapping_times_are_counted_once() -> None:
    entries = {str(n): entry(0, 0.9, 0.9, 0.9) for n in range(3)}
    answers = JudgeAnswers("j", ("j",), "", entries, {})
    assert measure_judge([item(n, 1.0) for n in range(3)], answers).cost.seconds == 0.5
    assert compare_judges([item(0, 1.0)], [answers, answers])[0].p == 1.0


def test_the_command_and_the_one_beside_it(tmp_path: Path) -> None:
    data, out = write(tmp_path / "p.jsonl", pairs(5)), tmp_path / "out"
    words = ["judge", "bench", str(data), "--judge", "scripted", "--constitution", "medical", "--out", str(out)]
    done = CliRunner().invoke(cai, [*words, "--quiet", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["judges"][0]["accuracy"]["of"] == 5
    shown = CliRunner().invoke(cai, [*words, "--quiet"])
    assert "accuracy by principle" in shown.output
    assert "a bench of judges under medical" in CliRunner().invoke(cai, ["show", str(out)]).output
    usage = CliRunner().invoke(cai, ["judge", "--help"]).output
    assert "cai judge [OPTIONS] DATA" in usage
    assert "cai judge bench" in usage
    assert "no file, directory or run nosuch" in str(CliRunner().invoke(cai, ["judge", "nosuch"]).exception)
