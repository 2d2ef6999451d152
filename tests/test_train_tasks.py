"""Several tasks in one training: what steps hold, curricula, gradients in conflict, and each task measured apart."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import Trainer, TrainerCallback

from benchmarks import tasks as benchmark
from cai.core.addresses import DataSource
from cai.core.errors import InputError, UsageError
from cai.tiny import oracle
from cai.train.adapters.building import adapter_config
from cai.train.data.collecting import TASK
from cai.train.methods.dpo import build_dpo
from cai.train.methods.sft import build_sft
from cai.train.plan import plan_train
from cai.train.settings import AdapterSettings, DataSettings, FitSettings, TaskSettings, TrainSettings
from cai.train.tasks import planning
from cai.train.tasks.gradients import TaskGradients
from cai.train.tasks.interference import mean_cosines, tell_tasks
from cai.train.tasks.order import StepBatches, StepOrder, StepSize
from cai.train.tasks.pace import FIRST, competence
from cai.train.tasks.planning import TaskPlan
from cai.train.tasks.surgery import cosines, projected
from cai.train.trainers import tasked as tasked_trainer
from cai.train.trainers.base import BaseTrainer
from cai.train.trainers.prompt_batches import ELEMENT, mark_elements
from tests.train_context import BAD, GOOD, QUESTIONS, assistant, lesson, liking, make_context, make_model, pair, user
from tests.training import approximately, curve, make_settings, train

TASK_OF = np.array([0] * 30 + [1] * 11 + [2] * 7, np.int32)
LENGTHS = np.arange(48, dtype=np.int64) % 13
DIFFICULTY = np.random.default_rng(0).permutation(48).astype(float)


def make_order(difficulty: Any = None, steps: int | None = None, examples: int = 6, **tasks: Any) -> StepOrder:
    chosen = TaskSettings(**({"schedule": "proportional"} | tasks))
    return StepOrder(TASK_OF, difficulty, LENGTHS, chosen, StepSize(examples, 2, steps, 1.0), 3)


def step_examples(order: StepOrder, number: int) -> list[int]:
    return [index for batch in order.step(number) for index in batch.examples.tolist()]


# What a step holds.


@pytest.mark.parametrize("schedule", ["proportional", "alternating", "balanced"])
@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 1.0)])
def test_a_step_has_its_examples_in_as_many_batches_each_of_one_task(schedule: Any, weights: Any) -> None:
    order = make_order(schedule=schedule, task_weight=weights)
    for number in range(30):
        batches = order.step(number)
        assert len(batches) == order.batches_per_step
        assert sum(len(batch.examples) for batch in batches) == 6
        assert all(1 <= len(batch.examples) <= 2 for batch in batches)
        for batch in batches:
            if batch.task is not None:
                assert set(TASK_OF[batch.examples]) == {batch.task}
        told_apart = schedule != "proportional" or bool(weights)
        assert all((batch.task is not None) == told_apart for batch in batches)


def test_proportional_shows_every_example_once_before_any_again() -> None:
    order = make_order(task_weight=(1.0, 1.0, 2.0))
    assert order.steps_per_epoch == 8
    shown = [index for number in range(16) for index in step_examples(order, number)]
    assert sorted(shown) == sorted([*range(48), *range(48)])
    assert sorted(shown[:48]) == list(range(48))
    assert shown[:48] != shown[48:]


def test_alternating_takes_the_tasks_in_turn_each_in_whole_passes() -> None:
    order = make_order(schedule="alternating")
    assert order.steps_per_epoch == 15  # five steps of six show the largest task, and there are three tasks
    steps = [step_examples(order, number) for number in range(15)]
    assert [set(TASK_OF[step]) for step in steps] == [{0}, {1}, {2}] * 5
    assert sorted(index for step in steps[::3] for index in step) == list(range(30))
    smallest = [index for step in steps[2::3] for index in step]
    assert {smallest.count(index) for index in range(41, 48)} <= {4, 5}  # 30 places for 7 examples


def test_balanced_has_as_many_of_each_task_in_every_step() -> None:
    order = make_order(schedule="balanced")
    assert order.steps_per_epoch == 15
    for number in range(15):
        assert np.bincount(TASK_OF[step_examples(order, number)]).tolist() == [2, 2, 2]
    assert sorted(i for number in range(15) for i in step_examples(order, number) if i < 30) == list(range(30))


def test_an_epoch_s_batches_are_those_of_its_steps_wherever_one_begins() -> None:
    order = make_order(schedule="balanced")
    batches = StepBatches(order)
    batches.set_epoch(2)
    assert len(list(batches)) == len(batches) == 15 * order.batches_per_step
    wanted = [batch.examples.tolist() for number in range(30, 45) for batch in order.step(number)]
    assert list(batches) == wanted
    # Nothing is remembered: steps that are asked for in another order are the same.
    again = make_order(schedule="balanced")
    assert step_examples(again, 44) == step_examples(order, 44)


# Curricula.


def test_the_pace_is_the_papers() -> None:
    assert competence("linear", 0, 100) == competence("sqrt", 0, 100) == FIRST
    assert competence("linear", 50, 100) == pytest.approx(0.5 * 0.99 + 0.01)
    assert competence("sqrt", 50, 100) == pytest.approx(math.sqrt(0.5 * (1 - 0.0001) + 0.0001))
    assert competence("linear", 100, 100) == competence("sqrt", 200, 100) == 1.0


@given(step=st.integers(0, 400), full=st.floats(1, 300))
def test_competence_grows_from_c0_to_1_and_the_square_root_is_ahead(step: int, full: float) -> None:
    for pace in ("linear", "sqrt"):
        now, later = (competence(pace, at, full) for at in (step, step + 1))
        assert FIRST <= now <= later <= 1.0
    assert competence("sqrt", step, full) >= competence("linear", step, full) - 1e-12


@pytest.mark.parametrize("pace", ["linear", "sqrt"])
@pytest.mark.parametrize("schedule", ["proportional", "alternating", "balanced"])
def test_a_step_draws_from_what_the_pace_has_opened_of_each_task(pace: Any, schedule: Any) -> None:
    steps = 40
    order = make_order(DIFFICULTY, steps, schedule=schedule, curriculum="length", pace=pace, pace_share=0.5)
    rank: dict[int, int] = {}
    for task in range(3):
        members = np.flatnonzero(task == TASK_OF)
        rank |= {int(index): place for place, index in enumerate(members[np.argsort(DIFFICULTY[members])])}
    least = {"alternating": 6, "balanced": 2, "proportional": 1}[schedule]
    hardest = []
    for number in range(steps):
        share = competence(pace, number, 20.0)
        if schedule == "proportional":  # a step's six are open between the tasks
            share = max(share, 6 / 48)
        drawn = step_examples(order, number)
        for index in drawn:
            size = int((TASK_OF[index] == TASK_OF).sum())
            assert rank[index] < max(math.ceil(share * size), least)
        hardest += [rank[index] for index in drawn if TASK_OF[index] == 0 and number >= 20]
    assert max(hardest) == 29  # everything is open at last
    assert step_examples(order, 33) == step_examples(
        make_order(DIFFICULTY, steps, schedule=schedule, curriculum="length", pace=pace, pace_share=0.5), 33
    )


def test_a_small_task_leaves_no_step_short_of_examples() -> None:
    tasks = np.array([0] * 1000 + [1] * 2, np.int32)
    difficulty = np.arange(1002, dtype=float)
    chosen = TaskSettings("proportional", curriculum="length")
    order = StepOrder(tasks, difficulty, np.ones(1002, np.int64), chosen, StepSize(16, 16, 1000, 1.0), 3)
    first = step_examples(order, 0)
    assert len(set(first)) == 16
    assert max(index for index in first if index < 1000) < 17


def test_equally_hard_examples_are_not_ordered_by_where_they_lie() -> None:
    alike = np.zeros(48)
    order = make_order(alike, 1000, curriculum="certainty")
    first = {index for number in range(20) for index in step_examples(order, number) if TASK_OF[index] == 0}
    assert first != set(range(len(first)))
    assert step_examples(make_order(alike, 1000, curriculum="certainty"), 7) == step_examples(order, 7)


# Gradients in conflict.


def test_pcgrad_by_hand() -> None:
    gradients = np.array([[1.0, 0.0], [-1.0, 1.0]])
    coefficients = projected(gradients @ gradients.T, [[1], [0]])
    # g1 . g2 = -1, |g2|^2 = 2, |g1|^2 = 1: g1 + g2 / 2 and g2 + g1.
    assert coefficients @ gradients == pytest.approx(np.array([[0.5, 0.5], [0.0, 1.0]]))
    # Three tasks, the first meets the third before the second: it is projected twice, against what they were.
    gradients = np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])
    first = (projected(gradients @ gradients.T, [[2, 1], [], []]) @ gradients)[0]
    # after the third: (0.5, -0.5); against the second: its product is -1, so (0.5, -0.5) + (-1, 1) / 2 = 0.
    assert first == pytest.approx(np.array([0.0, 0.0]))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), tasks=st.integers(2, 5), width=st.integers(2, 12), at=st.integers(0, 3))
def test_a_projected_gradient_does_not_conflict_with_the_one_projected_on(
    seed: int, tasks: int, width: int, at: int
) -> None:
    draw = np.random.default_rng(seed)
    gradients = draw.normal(size=(tasks, width)) * draw.uniform(0.01, 10.0, (tasks, 1))
    task = at % tasks
    order = [other for other in draw.permutation(tasks).tolist() if other != task]
    orders = [order if place == task else [] for place in range(tasks)]
    result = (projected(gradients @ gradients.T, orders) @ gradients)[task]
    last = gradients[order[-1]]
    assert result @ last >= -1e-9 * (1 + np.linalg.norm(result) * np.linalg.norm(last))
    # By the paper's words, one vector after the other.
    wanted = gradients[task].copy()
    for other in order:
        along = wanted @ gradients[other]
        if along < 0:
            wanted -= along / (gradients[other] @ gradients[other]) * gradients[other]
    assert result == pytest.approx(wanted, abs=1e-8 * float(np.linalg.norm(gradients)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_where_nothing_conflicts_pcgrad_changes_nothing(seed: int) -> None:
    gradients = np.abs(np.random.default_rng(seed).normal(size=(4, 6)))
    assert projected(gradients @ gradients.T, [[1, 2, 3, 0]] * 4).tolist() == np.eye(4).tolist()


def test_a_task_without_a_gradient_conflicts_with_nobody() -> None:
    products = np.array([[1.0, 0.0], [0.0, 0.0]])
    assert projected(products, [[1], [0]]).tolist() == np.eye(2).tolist()
    assert math.isnan(cosines(products)[0, 1])
    assert cosines(np.array([[4.0, -6.0], [-6.0, 9.0]]))[0, 1] == -1.0


def test_gradients_are_kept_apart_and_put_together() -> None:
    one, other, frozen = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(1))
    frozen.requires_grad_(False)
    kept = TaskGradients([one, other, frozen], 2)
    one.grad = torch.tensor([1.0, 2.0])
    kept.take(0)
    one.grad, other.grad = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0, 3.0])
    kept.take(0)
    assert one.grad is None
    one.grad = torch.tensor([-1.0, 1.0])
    kept.take(1)
    assert kept.products().tolist() == [[4 + 4 + 9, 0.0], [0.0, 2.0]]
    kept.put_together([1.0, 2.0])
    assert one.grad is not None
    assert one.grad.tolist() == [0.0, 4.0]
    assert other.grad is not None
    assert other.grad.tolist() == [0.0, 0.0, 3.0]
    assert kept.products().tolist() == [[0.0, 0.0], [0.0, 0.0]]


# The trainer.

NAMES = ("careful", "brisk")


def task_rows() -> list[dict[str, Any]]:
    """Return supervised examples of two tasks that say opposite things to the same questions, one longer and rarer."""
    rows = [
        {"prompt": user(f"{question} {n}"), "completion": assistant(GOOD), TASK: 0}
        for n in range(3)
        for question in QUESTIONS
    ]
    return rows + [
        {"prompt": user(question), "completion": assistant(f"{BAD} {BAD}"), TASK: 1} for question in QUESTIONS
    ]


def pair_rows() -> list[dict[str, Any]]:
    """Return pairs of two tasks that prefer opposite answers."""
    return [{**each, TASK: int(flipped)} for flipped in (False, True) for each in lesson(flipped=flipped)]


def tasked(out: Path, method: str, build: Any, chosen: TaskSettings, *, batch: int = 8, **more: Any) -> Any:
    """Return a trainer on the tasks, of three examples at a time at most, whose gradients are not cut."""
    rows = task_rows() if method == "sft" else pair_rows()
    kind: Any = "supervised" if method == "sft" else "pairs"
    more = {"max_steps": 1, "max_grad_norm": 0.0} | more
    context = make_context(out, method, kind, rows, batch=batch, **more)
    context = replace(context, settings=replace(context.settings, tasks=chosen))
    trainer = build(context)
    fit = FitSettings(epochs=1.0, max_steps=more["max_steps"], batch_size=batch)
    weights = chosen.task_weight or (1.0, 1.0)
    shares = tuple(weight * 2 / sum(weights) for weight in weights)
    plan = TaskPlan(NAMES, chosen, shares, (0, 0), batch, 3, 1, more["max_steps"], 0)
    trainer.take_tasks(plan, fit, 3, 0)
    return trainer


class Watch(TrainerCallback):  # type: ignore[misc]
    """Keeps the first step's gradient."""

    gradient: torch.Tensor

    def __init__(self, trainer: Any) -> None:
        self._model = trainer.model

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.gradient = flat(self._model)


def flat(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])


def step_gradient(trainer: Any) -> torch.Tensor:
    """Return the gradient of a trainer's first step."""
    watch = Watch(trainer)
    trainer.add_callback(watch)
    trainer.train()
    return watch.gradient


def task_gradients(trainer: Any) -> list[torch.Tensor]:
    """Return the gradient of each task's mean loss over the first step's examples, each task as one batch."""
    found, plain = [], type(trainer).compute_loss
    model = trainer.model.train()
    for task in range(2):
        places = [int(i) for batch in trainer._order.step(0) if batch.task == task for i in batch.examples]
        data = trainer._remove_unused_columns(trainer.train_dataset.select(places))
        model.zero_grad()
        plain(trainer, model, trainer.data_collator([data[place] for place in range(len(data))])).backward()
        found.append(flat(model))
    model.zero_grad()
    trainer._metrics["train"].clear()
    return found


@pytest.mark.parametrize(("method", "build"), [("sft", build_sft), ("dpo", build_dpo)])
@pytest.mark.parametrize("weights", [(), (3.0, 1.0)])
def test_a_balanced_step_s_gradient_is_the_weighed_mean_of_the_tasks(
    tmp_path: Path, method: str, build: Any, weights: Any
) -> None:
    trainer = tasked(tmp_path, method, build, TaskSettings("balanced", weights))
    assert [len(batch.examples) for batch in trainer._order.step(0)] == [2, 2, 2, 2]
    one, other = task_gradients(trainer)
    share = (0.75, 0.25) if weights else (0.5, 0.5)
    assert torch.allclose(step_gradient(trainer), share[0] * one + share[1] * other, atol=2e-6)
    assert not torch.allclose(one, other, atol=1e-3)


def test_proportional_weights_multiply_what_a_token_counts(tmp_path: Path) -> None:
    gradients = []
    for weights in ((1.0, 1.0), (3.0, 1.0)):
        trainer = tasked(tmp_path, "sft", build_sft, TaskSettings("proportional", weights))
        tokens = [0, 0]
        for batch in trainer._order.step(0):
            for place in batch.examples.tolist():
                tokens[int(batch.task or 0)] += sum(label != -100 for label in trainer.train_dataset[place]["labels"])
        one, other = task_gradients(trainer)
        share = [weight * 2 / sum(weights) * count / sum(tokens) for weight, count in zip(weights, tokens, strict=True)]
        gradients.append(step_gradient(trainer))
        assert torch.allclose(gradients[-1], share[0] * one + share[1] * other, atol=2e-6)
    assert not torch.allclose(gradients[0], gradients[1], atol=1e-3)


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_pcgrad_s_step_is_the_sum_of_projected_gradients(tmp_path: Path, adapter: Any) -> None:
    config = adapter_config(AdapterSettings(adapter=adapter), "language", make_model())
    trainer = tasked(tmp_path, "dpo", build_dpo, TaskSettings("balanced", (), "pcgrad"), adapter=config)
    one, other = (0.5 * gradient for gradient in task_gradients(trainer))
    assert one @ other < 0  # opposite preferences
    wanted = one - (one @ other) / (other @ other) * other + other - (one @ other) / (one @ one) * one
    found = step_gradient(trainer)
    assert torch.allclose(found, wanted, atol=1e-6)
    # What is left conflicts with neither, as the plain sum does with one of them.
    assert min(found @ one, found @ other) >= -1e-9
    cosine = trainer.state.log_history[0]["cosine/careful/brisk"]
    assert cosine == pytest.approx(float(one @ other / one.norm() / other.norm()), abs=1e-4)


def test_the_weights_decide_which_of_two_contrary_tasks_is_learned(tmp_path: Path) -> None:
    learned = []
    for weights in ((9.0, 1.0), (1.0, 9.0)):
        trainer = tasked(tmp_path, "dpo", build_dpo, TaskSettings("balanced", weights), max_steps=6)
        context = make_context(tmp_path, "dpo", "pairs", pair_rows())
        before = liking(context, trainer.model)
        trainer.train()
        learned.append(liking(context, trainer.model) - before)
    assert learned[0] > 0.5
    assert learned[1] < -0.5


def test_a_curriculum_by_loss_begins_with_what_the_model_finds_likeliest(tmp_path: Path) -> None:
    trainer = tasked(tmp_path, "sft", build_sft, TaskSettings(curriculum="loss", schedule="proportional"), batch=4)
    losses = trainer._first_losses()
    assert trainer._metrics["eval"] == {}  # nothing of it is logged
    for task in range(2):
        ranked = trainer._order._ranked[task]
        assert losses[ranked].tolist() == sorted(losses[ranked])
    easiest = {int(index) for ranked in trainer._order._ranked for index in ranked[: len(ranked) // 4]}
    assert set(step_examples(trainer._order, 0)) == easiest


# Whole runs, and plans.


def task_run(directory: Path, method: str = "sft", *, out: str = "out", **more: Any) -> TrainSettings:
    """Return settings for a run on two files, `careful` and `brisk`."""
    chosen = more.pop("tasks", TaskSettings())
    data = more.pop("data", {})
    paths = []
    for number, (name, count) in enumerate(zip(NAMES, (40, 24), strict=True)):
        paths.append(directory / f"{name}.jsonl")
        rows = []
        for place in range(count):
            answers = (GOOD, BAD) if number == 0 else (BAD, GOOD)
            row = {"prompt": f"{name} {place}: " + "tea " * (place % 7), "hard": count - place}
            row |= (
                {"completion": answers[0]}
                if method == "sft"
                else dict(zip(("chosen", "rejected"), answers, strict=True))
            )
            rows.append(orjson.dumps(row))
        paths[-1].write_bytes(b"\n".join(rows))
    made = make_settings(directory, method, out=out, rows=8, **more)
    sources = tuple(DataSource.parse(str(path)) for path in paths)
    return replace(made, data=replace(DataSettings(sources, test_share=0.2), **data), tasks=chosen)


@pytest.mark.parametrize(
    ("tasks", "more", "said"),
    [
        (TaskSettings("alternating"), {"data": {"mixing_temperature": 2.0}}, "gives every task the same share"),
        (TaskSettings(task_weight=(1.0,)), {}, "--task-weight is given 1 times, and --data names 2 tasks"),
        (TaskSettings("alternating", task_gradients="pcgrad"), {}, "needs every task in every step"),
        (TaskSettings(task_gradients="measured"), {"data": {"test_share": 0.0}}, "give --test-share more than 0"),
        (TaskSettings("balanced"), {"batch_size": 7}, "--batch-size 7 cannot be shared by 2 tasks"),
        (TaskSettings("balanced"), {"packing": True}, "--packing mixes tasks"),
        (TaskSettings(pace="linear"), {}, "give --curriculum, too"),
        (TaskSettings(curriculum="certainty"), {}, "learns from no pairs"),
        (TaskSettings(curriculum="prompt"), {}, r"careful.jsonl:1 has no number in the column prompt"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(tmp_path: Path, tasks: TaskSettings, more: Any, said: str) -> None:
    with pytest.raises((UsageError, InputError), match=said):
        plan_train(task_run(tmp_path, tasks=tasks, **more))


def test_a_method_that_cannot_tell_tasks_apart_refuses_and_dpo_has_no_loss_to_order_by(tmp_path: Path) -> None:
    chosen = TaskSettings("balanced")
    with pytest.raises(UsageError, match="kto cannot tell tasks apart"):
        plan_train(replace(make_settings(tmp_path, "kto", rows=8), tasks=chosen))
    with pytest.raises(UsageError, match="before training dpo's loss says nothing"):
        plan_train(task_run(tmp_path, "dpo", tasks=TaskSettings(curriculum="loss")))
    with pytest.raises(UsageError, match="--data names one"):
        plan_train(replace(make_settings(tmp_path, rows=8), tasks=chosen))


def test_what_says_nothing_of_the_order_or_of_tasks_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--curriculum certainty: all examples are equally hard"):
        plan_train(task_run(tmp_path, "dpo", tasks=TaskSettings(curriculum="certainty")))
    few = task_run(tmp_path, data={"test_share": 1e-9}, tasks=TaskSettings(task_gradients="measured"))
    with pytest.raises(UsageError, match="compares held-out examples of the tasks, and none has any"):
        plan_train(few)


def test_a_task_without_a_held_out_example_is_told(tmp_path: Path) -> None:
    plan = plan_train(task_run(tmp_path))
    assert plan.tasks is not None
    assert all(plan.tasks.held_out)
    assert plan.tasks.sentences() == []
    assert replace(plan.tasks, held_out=(9, 0)).sentences() == [
        "the task brisk has no held-out example: eval_loss, the best checkpoint and --patience go by the others"
    ]
    assert replace(plan.tasks, held_out=(0, 0)).sentences() == []


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/data-3.jsonl", "a/data.jsonl", "b/data.jsonl"], ("data-3", "data", "data-2")),
        (["runs/a", "runs/a-2", "other/a", "more/a/"], ("a", "a-2", "a-3", "a-4")),
        (["도움.jsonl", "무해.csv.gz", "s p.jsonl"], ("도움", "무해", "s-p")),
        (["runs/v1.0", "runs/v1.1", "!"], ("v1.0", "v1.1", "task")),
    ],
)
def test_a_task_is_called_like_its_file_and_like_no_other(paths: list[str], names: tuple[str, ...]) -> None:
    assert planning._names(paths) == names


def test_compared_gradients_hold_no_more_activations_than_training_does() -> None:
    model, ids = make_model().train(), torch.randint(3, 400, (4, 60))
    model.gradient_checkpointing_enable()

    def kept() -> int:
        held: list[int] = []

        def keep(part: torch.Tensor) -> torch.Tensor:
            held.append(part.numel())
            return part

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda part: part):
            model(input_ids=ids, labels=ids, use_cache=False)
        return sum(held)

    training = kept()
    model.eval()
    assert kept() > 1.2 * training
    with tasked_trainer._computing_again(model):
        assert kept() <= training
    assert not any(module.training for module in model.modules())


def test_the_plan_says_what_a_step_an_epoch_and_surgery_are(tmp_path: Path) -> None:
    plan = plan_train(
        task_run(tmp_path, tasks=TaskSettings(task_gradients="pcgrad", curriculum="hard"), max_steps=None)
    )
    assert plan.tasks is not None
    assert plan.settings.tasks.schedule == "balanced"
    said = " ".join(plan.tasks.sentences())
    assert "careful, brisk have 4 examples each in every step" in said
    assert f"PCGrad: 2 gradients of {plan.shape.parameters * 4 / 1e6:.1f} MB are held" in said
    assert f"everything from step {math.ceil(plan.steps / 2) + 1} of about {plan.steps}" in said
    assert plan.steps == 3 * math.ceil(plan.examples.parts[0].train / 4)
    assert plan.identity()["curriculum"] == "hard"
    assert plan_train(task_run(tmp_path, tasks=TaskSettings(task_gradients="pcgrad"))).identity() != plan.identity()


class KilledError(Exception):
    """The process is gone."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    whole = BaseTrainer.training_step

    def training_step(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if self.state.global_step == step:
            raise KilledError
        return whole(self, *arguments, **keywords)

    monkeypatch.setattr(BaseTrainer, "training_step", training_step)


@pytest.mark.parametrize(
    ("method", "tasks"),
    [
        ("sft", TaskSettings(task_gradients="pcgrad", curriculum="hard", task_weight=(2.0, 1.0))),
        ("dpo", TaskSettings("alternating", task_gradients="measured")),
        ("orpo", TaskSettings(task_weight=(2.0, 1.0), curriculum="loss")),
        ("reward", TaskSettings("balanced", curriculum="length")),
    ],
)
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_curve(
    tmp_path: Path, method: str, tasks: TaskSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: dict[str, Any] = {"max_steps": 10, "evaluations": 3}
    train(task_run(tmp_path, method, out="whole", tasks=tasks, **numbers))
    killed = task_run(tmp_path, method, tasks=tasks, **numbers)
    with monkeypatch.context() as patch:
        kill_at(patch, 7)
        with pytest.raises(KilledError):
            train(killed)
    assert train(killed).resumed == 6
    names = ["loss", "eval_loss", "eval_careful_loss", "eval_brisk_loss"]
    names += ["cosine/careful/brisk"] if tasks.task_gradients == "pcgrad" else []
    names += ["eval_cosine/careful/brisk"] if tasks.task_gradients == "measured" else []
    for name in names:
        assert curve(tmp_path / "out", name) == approximately(curve(tmp_path / "whole", name)), name
        assert curve(tmp_path / "out", name)
    recorded = orjson.loads((tmp_path / "out" / "train.json").read_bytes())
    best = dict(curve(tmp_path / "out", "eval_loss"))[recorded["best_step"]]
    weights = recorded["tasks"]["weights"]
    assert best == pytest.approx(np.average([task["loss"] for task in recorded["tasks"]["measured"]], weights=weights))
    assert (tmp_path / "out" / "tasks.png").read_bytes().startswith(b"\x89PNG")
    assert "![tasks](tasks.png)" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_killed_between_two_tasks_evaluations_nothing_is_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: dict[str, Any] = {"max_steps": 4, "evaluations": 2}
    train(task_run(tmp_path, out="whole", **numbers))
    killed = task_run(tmp_path, **numbers)
    whole = Trainer.evaluate

    def evaluate(self: Trainer, eval_dataset: Any = None, *positional: Any, **keywords: Any) -> Any:
        if self.state.global_step == 2 and eval_dataset == NAMES[1]:
            raise KilledError
        return whole(self, eval_dataset, *positional, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "evaluate", evaluate)
        with pytest.raises(KilledError):
            train(killed)
    assert train(killed).resumed == 2
    for name in ("loss", "eval_loss", "eval_careful_loss", "eval_brisk_loss"):
        assert curve(killed.out, name) == approximately(curve(tmp_path / "whole", name)), name


@pytest.mark.slow
def test_packed_training_measures_the_tasks_as_training_in_single_rows_does(tmp_path: Path) -> None:
    names = ["eval_loss", "eval_careful_loss", "eval_brisk_loss", "eval_cosine/careful/brisk"]
    measured = []
    for packing in (True, False):
        numbers: dict[str, Any] = {"max_steps": 1, "evaluations": 1, "learning_rate": 1e-12, "packing": packing}
        made = task_run(tmp_path, tasks=TaskSettings(task_gradients="measured"), out=f"packed-{packing}", **numbers)
        train(made)
        measured.append([value for name in names for _, value in curve(made.out, name)])
    assert measured[0] == pytest.approx(measured[1], rel=1e-4)
    assert len(measured[0]) == len(names)


def test_patience_waits_for_the_mean_of_the_tasks(tmp_path: Path) -> None:
    made = task_run(tmp_path, max_steps=20, evaluations=10, patience=1, learning_rate=3.0)
    summary = train(made)
    assert summary.steps < 20
    means = [
        np.mean(both)
        for both in zip(*(np.array(curve(made.out, f"eval_{name}_loss"))[:, 1] for name in NAMES), strict=True)
    ]
    assert [value for _, value in curve(made.out, "eval_loss")] == pytest.approx(means)
    assert summary.best_step == curve(made.out, "eval_loss")[int(np.argmin(means))][0]


def test_who_interferes_is_told() -> None:
    history = [
        {"step": 1, "loss": 2.0, "cosine/a/b": -0.5},
        {"step": 2, "loss": 2.0, "cosine/a/b": -0.1, "eval_a_loss": 1.0, "eval_b_loss": 2.0},
    ]
    matrix = mean_cosines(("a", "b", "c"), history)
    assert matrix is not None
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(-0.3)
    assert math.isnan(matrix[0, 2])
    assert tell_tasks({"tasks": None}, "x.png") == []


def test_the_pairs_of_a_prompt_are_elements_of_one_task_each() -> None:
    rows = [{**pair("Hm?", GOOD, BAD), TASK: task} for task in (0, 0, 1)]
    rows[1]["chosen"], rows[2]["chosen"] = assistant(f"{GOOD} Yes."), assistant(f"{GOOD} No.")
    marked, _ = mark_elements(Dataset.from_list(rows))
    assert marked[ELEMENT][:] == [0, 0, 1]


def test_the_benchmark_s_constitutions_pull_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "EXAMPLES", dict.fromkeys(benchmark.TASKS, 30))
    for task, other in (benchmark.TASKS, benchmark.TASKS[::-1]):
        benchmark.write_examples(tmp_path / task, task, 0)
        rows = [orjson.loads(line) for line in (tmp_path / task).read_bytes().splitlines()]
        kept = []
        for row in rows:
            question = oracle.understand(row["prompt"][1]["content"])
            assert question is not None
            assert benchmark.keeps(task, question, row["completion"])
            kept.append((question.intent.risky, benchmark.keeps(other, question, row["completion"])))
        assert {both for risky, both in kept if risky} == {False}
        assert {both for risky, both in kept if not risky} == {True}
