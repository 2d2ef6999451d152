"""Reward models by objective: each learns its lesson, unlearns it when the signal is turned, and goes on as it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from cai.core.addresses import DataSource
from cai.core.errors import InputError, ModelError, UsageError
from cai.models.reward_model import RewardModel
from cai.train.methods.reward import RewardSettings, build_reward, settle_objective
from cai.train.plan import plan_train
from cai.train.rewards.ensemble import Ensemble, Scale
from cai.train.rewards.objectives import OBJECTIVES
from cai.train.rewards.report import reward_lines
from cai.train.rewards.scorer import ScoreReward
from cai.train.settings import DataSettings
from cai.train.trainers.answer_scores import ANSWER_TOO_LONG, ONE_RANK, REPEATED
from cai.train.trainers.reward_measuring import ScoredPair, accuracies
from cai.train.trainers.reward_models import TOO_LONG
from tests.train_context import (  # noqa: F401
    BAD,
    GOOD,
    QUESTIONS,
    assistant,
    make_context,
    make_model,
    one_thread,
    pair,
    user,
)
from tests.training import make_settings, train

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
FAIR = "Rest a while."
ANSWERS = (GOOD, FAIR, BAD)


def ranked(*, flipped: bool = False, answers: tuple[str, ...] = ANSWERS) -> list[dict[str, Any]]:
    order = answers[::-1] if flipped else answers
    said = [{"completion": assistant(answer), "rank": place} for place, answer in enumerate(order, start=1)]
    return [{"prompt": user(question), "answers": said} for question in QUESTIONS * 2]


def scored(*, flipped: bool = False) -> list[dict[str, Any]]:
    order = ANSWERS[::-1] if flipped else ANSWERS
    return [
        {"prompt": user(question), "completion": assistant(answer), "score": 7.0 - 3 * place}
        for question in QUESTIONS
        for place, answer in enumerate(order)
    ]


def build(tmp_path: Path, objective: Any, rows: list[dict[str, Any]], **more: Any) -> Any:
    own = RewardSettings(objective=objective, **more.pop("own", {}))
    kind = OBJECTIVES[objective].data
    arguments = {"model": make_model(labels=1), "max_steps": 16, "learning_rate": 3e-3, "own": own} | more
    return build_reward(make_context(tmp_path, "reward", kind, rows, **arguments))


def scores_of(trainer: Any, tmp_path: Path, texts: tuple[str, ...] = ANSWERS) -> list[float]:
    trainer.save_model(str(tmp_path / "saved"))
    trainer.processing_class.save_pretrained(tmp_path / "saved")
    found = RewardModel(tmp_path / "saved", CPU).score([user(QUESTIONS[0]) + assistant(text) for text in texts])
    return [score for score in found if score is not None]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("objective", ["plackett-luce", "ordinal"])
def test_the_order_of_answers_is_learned_and_turned_round_with_them(
    tmp_path: Path, objective: str, flipped: bool
) -> None:
    rows = ranked(flipped=flipped) if objective == "plackett-luce" else scored(flipped=flipped)
    trainer = build(tmp_path, objective, rows)
    trainer.train()
    scores = scores_of(trainer, tmp_path)
    assert sorted(scores, reverse=not flipped) == scores
    assert abs(scores[0] - scores[2]) > 1


def test_a_list_whose_answers_are_all_alike_teaches_nothing(tmp_path: Path) -> None:
    rows = ranked()
    level = {"prompt": user("Hm?"), "answers": [{**answer, "rank": 1} for answer in rows[0]["answers"]]}
    again = {"prompt": user("What?"), "answers": [*rows[0]["answers"], {"completion": assistant(GOOD), "rank": 4}]}
    long = {"completion": assistant("sleep " * 300), "rank": 4}
    cut = {"prompt": user("Why?"), "answers": [*rows[0]["answers"], long]}
    gone = {"prompt": user("Who?"), "answers": [rows[0]["answers"][0], long]}
    trainer = build(tmp_path, "plackett-luce", [*rows, level, again, cut, gone])
    assert trainer.left_out == {ONE_RANK: 1, REPEATED: 1, ANSWER_TOO_LONG: 2, TOO_LONG: 1}
    assert len(trainer.train_dataset) == len(rows) + 2
    with pytest.raises(InputError, match="no example is left"):
        build(tmp_path, "plackett-luce", [level])


def test_lists_of_two_have_the_loss_and_gradients_of_pairs(tmp_path: Path) -> None:
    pairs = [pair(question, GOOD, BAD) for question in QUESTIONS]
    lists = ranked(answers=(GOOD, BAD))[:4]
    found = []
    for objective, rows in (("bradley-terry", pairs), ("plackett-luce", lists)):
        trainer = build(tmp_path, objective, rows, own={"center_rewards": 0.1})
        loss = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
        loss.backward()
        found.append((loss.item(), trainer.model.score.weight.grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_a_margin_asks_more_of_pairs_that_are_more_certain(tmp_path: Path) -> None:
    def loss(probability: float, margin: float) -> float:
        rows = [pair(QUESTIONS[0], GOOD, BAD, probability)]
        trainer = build(tmp_path, "bradley-terry", rows, own={"labels": "hard", "margin": margin})
        return float(trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader()))).detach())

    plain = loss(0.9, 0)
    assert plain == pytest.approx(loss(0.6, 0))
    assert plain < loss(0.6, 2) < loss(0.9, 2) < loss(1.0, 2)
    turned = [pair(QUESTIONS[0], BAD, GOOD, 0.1)]
    trainer = build(tmp_path, "bradley-terry", turned, own={"labels": "hard", "margin": 2.0})
    assert trainer.train_dataset[0]["margin"] == pytest.approx(1.6)


def test_what_length_alone_tells_is_not_learned(tmp_path: Path) -> None:
    """The longer answer is chosen; beside it a word decides in half of the pairs, and the shorter one has it then."""
    long, short = "Rest, and rest again, and then rest a little more.", "Rest."
    rows = [pair(f"{question} {number}", long, short) for number in range(3) for question in QUESTIONS]
    rows += [pair(f"{question} no {number}", short, long) for number in range(1) for question in QUESTIONS]
    leads = []
    for debias in (False, True):
        trainer = build(tmp_path, "bradley-terry", rows, own={"debias_length": debias}, max_steps=10)
        trainer.train()
        found = trainer.measured()
        assert (found["length_slope"] is not None) == debias
        longer, shorter = scores_of(trainer, tmp_path, (long, short))
        leads.append(longer - shorter)
    assert leads[0] > 0.7
    assert abs(leads[1]) < 0.5 * leads[0]
    assert "held apart" in trainer.remarks[0]


def test_right_answers_are_told_by_length_and_by_principle() -> None:
    found = accuracies(
        [
            ScoredPair(2, 1, 9, 3, ("kind", "brief")),
            ScoredPair(1, 2, 3, 9, ("brief",)),
            ScoredPair(2, 1, 3, 9, ()),
            ScoredPair(1, 1, 5, 5, ("kind",)),
        ]
    )
    assert {name: (one["part"], one["of"]) for name, one in found["accuracy"].items()} == {
        "all": (2.5, 4),
        "the better one longer": (1, 1),
        "the worse one longer": (1, 2),
        "both as long": (0.5, 1),
    }
    assert {name: (one["part"], one["of"]) for name, one in found["principles"].items()} == {
        "kind": (1.5, 2),
        "brief": (1, 2),
    }


def test_a_trained_model_says_where_it_is_right(tmp_path: Path) -> None:
    rows = [{**pair(question, GOOD, BAD), "principles": ["care"]} for question in QUESTIONS]
    turned = [{**pair(QUESTIONS[0], BAD, GOOD, 0.2), "principles": []}, pair("Tie?", GOOD, BAD, 0.5)]
    trainer = build(tmp_path, "bradley-terry", rows, test=[*rows, *turned], max_steps=12)
    trainer.train()
    found = trainer.measured()
    assert (found["accuracy"]["all"]["part"], found["accuracy"]["all"]["of"]) == (5, 5), "a tie is no comparison"
    assert (found["principles"]["care"]["part"], found["principles"]["care"]["of"]) == (4, 4)
    assert found["scale"]["answers"] == 8
    lines = dict(reward_lines(found))
    assert lines["ranked right"] == "100.0 % [56.6, 100.0] of 5 comparisons"
    untested = build(tmp_path, "bradley-terry", rows).measured()
    assert dict(reward_lines(untested))["ranked right"] == "not measured: no test split"
    assert reward_lines({}) == []


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"margin": 1.0}, "give --labels hard"),
        ({"objective": "regression", "labels": "hard"}, "neither --labels nor --margin"),
        ({"objective": "plackett-luce", "margin": 1.0}, "neither --labels nor --margin"),
        ({"objective": "ordinal", "center_rewards": 0.1}, "the data say where scores lie"),
    ],
)
def test_options_that_an_objective_does_not_have_are_refused(own: dict[str, Any], message: str) -> None:
    data = DataSettings((DataSource.parse("rows"),))
    with pytest.raises(UsageError, match=message):
        settle_objective(RewardSettings(**{"objective": "bradley-terry", **own}), data)


def test_scores_that_are_no_steps_are_refused(tmp_path: Path) -> None:
    rows = scored()
    with pytest.raises(InputError, match=r"one is 2.5; use --objective regression"):
        build(tmp_path, "ordinal", [*rows, {**rows[0], "score": 2.5}])
    with pytest.raises(InputError, match="the scores have 1"):
        build(tmp_path, "ordinal", [rows[0]])


@pytest.mark.parametrize("adapter", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_ordinal_goes_on_with_its_thresholds(tmp_path: Path, adapter: bool) -> None:
    def trainer(out: str, steps: int) -> Any:
        lora = LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear", modules_to_save=["score"])
        return build(
            tmp_path / out,
            "ordinal",
            scored(),
            adapter=lora if adapter else None,
            max_steps=steps,
            save_strategy="steps",
            save_steps=2,
        )

    whole, part = trainer("whole", 4), trainer("part", 4)
    before = whole.thresholds.tolist()
    whole.train()
    part.args.max_steps = 2
    part.train()
    again = trainer("part", 4)
    again.train(resume_from_checkpoint=str(tmp_path / "part" / "checkpoints" / "checkpoint-2"))
    assert again.thresholds.tolist() == pytest.approx(whole.thresholds.tolist(), abs=1e-6)
    assert whole.thresholds.tolist() != pytest.approx(before, abs=1e-3)
    losses = [[entry["loss"] for entry in one.state.log_history if "loss" in entry] for one in (whole, again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_a_whole_run_chooses_its_objective_and_writes_down_where_it_is_right(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "reward", test_share=0.3, rows=40, max_steps=4)
    told = train(settings).measured
    recorded = json.loads((settings.out / "train.json").read_text())
    assert recorded["measured"] == told
    assert (told["objective"], recorded["identity"]["objective"]) == ("bradley-terry", "bradley-terry")
    card = (settings.out / "README.md").read_text()
    assert "ranked right, the better one longer" in card or "ranked right, the worse one longer" in card
    rows = [{**row, "prompt": row["prompt"][0]["content"]} for row in scored()]
    rows = [{**row, "completion": row["completion"][0]["content"]} for row in rows]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataSettings((DataSource.parse(str(tmp_path / "scores.jsonl")),), test_share=0.5)
    ordinal = replace(
        settings, data=data, out=tmp_path / "steps", own=RewardSettings(objective="ordinal", debias_length=True)
    )
    steps = train(ordinal).measured
    assert (steps["levels"], len(steps["thresholds"])) == ([1.0, 4.0, 7.0], 2)
    assert "thresholds between the levels 1 to 7" in (ordinal.out / "README.md").read_text()
    assert plan_train(replace(ordinal, own=None)).settings.own.objective == "regression"


SCALES = (Scale(0.0, 1.0), Scale(10.0, 2.0))


def test_an_ensemble_by_hand() -> None:
    scores: list[list[float | None]] = [[1.0, 0.0, None], [12.0, 14.0, 11.0]]  # on their scales 1 and 1, 0 and 2
    careful, disagreement = Ensemble("penalty", 0.5, SCALES).combine(scores)
    assert careful == [1.0, 1.0 - 0.5 * 1.0, None]
    assert disagreement == 0.5
    assert Ensemble("worst", 0.5, SCALES).combine(scores)[0] == [1.0, 0.0, None]
    assert Ensemble("penalty", 0.0, SCALES).combine(scores)[0] == [1.0, 1.0, None]


def saved(place: Path, seed: int) -> Path:
    make_model(labels=1, seed=seed).save_pretrained(place)
    make_context(place, "reward", "scored", scored()).tokenizer.save_pretrained(place)
    (place / "train.json").write_text('{"measured": {"scale": {"mean": 0.1, "deviation": 0.5, "answers": 4}}}')
    return place


def test_several_reward_models_are_asked_and_their_disagreement_is_logged(tmp_path: Path) -> None:
    places = [saved(tmp_path / str(seed), seed) for seed in (1, 2)]
    prompts, answers = [user(QUESTIONS[0])] * 2, [assistant(GOOD), assistant(BAD)]
    alone = [RewardModel(place, CPU).score([prompts[0] + one for one in answers]) for place in places]
    logged: dict[str, float] = {}
    with ScoreReward(places, CPU, {1}, "worst") as reward:
        found = reward(prompts, answers, [[5, 1]] * 2, log_metric=logged.__setitem__)
    wanted = [min((score - 0.1) / 0.5 for score in both) for both in zip(*alone, strict=True)]
    assert found == pytest.approx(wanted, abs=1e-5)
    assert logged["reward_models/disagreement"] > 0


def test_a_model_without_a_scale_is_refused_beside_another_and_taken_alone(tmp_path: Path) -> None:
    places = [saved(tmp_path / str(seed), seed) for seed in (1, 2)]
    (places[1] / "train.json").unlink()
    ScoreReward(places[1:], CPU, {1})
    with pytest.raises(ModelError, match="does not tell the scale"):
        ScoreReward(places, CPU, {1})
    (places[1] / "train.json").write_text('{"measured": {"scale": {"mean": 0.1, "deviation": 0.0, "answers": 4}}}')
    with pytest.raises(ModelError, match="one score"):
        ScoreReward(places, CPU, {1})
