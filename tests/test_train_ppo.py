"""PPO's trainer: the policy moves towards what is rewarded, what is drawn is its own, and a run goes on as it was."""

import asyncio
import copy
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import pytest
import torch
import transformers
from peft import LoraConfig
from transformers import TrainingArguments

from cai.core.addresses import DataSource
from cai.core.errors import InputError, UsageError
from cai.models.base import Sampling
from cai.train.context import Context
from cai.train.data.examples import LEAKING
from cai.train.data.pretraining import load_pretraining
from cai.train.hardware import Workload
from cai.train.methods import ppo as methods_ppo
from cai.train.methods.online import GRPO, OnlineSettings, build_grpo
from cai.train.methods.ppo import PPO, PPOSettings, build_ppo
from cai.train.plan import TrainPlan, plan_train
from cai.train.settings import AdapterSettings
from cai.train.template.preparing import prepare_template
from cai.train.trainers.ppo import PPOTrainer
from cai.train.trainers.ppo_batches import Piece, joined, length_batches, pretraining_pieces, text_tensors
from cai.train.trainers.rollouts import Rollouts
from cai.train.trainers.value_model import PolicyAndValue, log_probs, open_value_model
from cai.train.workload import workload_of
from tests.train_context import BAD, CHECKPOINT, GOOD, QUESTIONS, assistant, make_context, make_model, one_thread, user  # noqa: F401
from tests.training import approximately, curve, make_settings, train

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPTS = [{"prompt": user(question)} for question in QUESTIONS * 4]
Worth = Callable[[Sequence[int]], float | None]


class Counted:
    """A reward that is a function of a response's tokens."""

    __name__ = "counted"

    def __init__(self, worth: Worth) -> None:
        self._worth = worth

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def require_answers(self) -> None:
        pass

    def __call__(self, completion_ids: Sequence[Sequence[int]], **_more: Any) -> list[float | None]:
        return [self._worth(ids) for ids in completion_ids]


def low(ids: Sequence[int]) -> float:
    """Return the share of tokens from the lower half of the vocabulary."""
    return float(np.mean(np.array(ids) < 1024))


def ppo_context(tmp_path: Path, **changes: Any) -> Context:
    own = {"group": 2, "max_tokens": 6, "rollout_epochs": 2, "minibatches": 2} | changes.pop("own", {})
    settings: dict[str, Any] = {"batch": 16, "max_steps": 3, "learning_rate": 2e-3, "rows": PROMPTS} | changes
    return make_context(tmp_path, "ppo", "prompts", settings.pop("rows"), own=PPOSettings(**own), **settings)


def trainer_of(context: Context, worth: Worth, texts: Sequence[Piece] = ()) -> Any:
    own = context.own(PPOSettings)
    batch = context.settings.fit.batch_size or 0
    arguments = {
        **context.arguments,
        "per_device_train_batch_size": batch // own.group,
        "remove_unused_columns": False,
        "dataloader_drop_last": True,
    }
    reward: Any = Counted(worth)
    return PPOTrainer(context, reward, TrainingArguments(**arguments), texts)


def lowness(model: Any, context: Context) -> float:
    """Return the probability of the lower half of the vocabulary as a response's first token."""
    prompt = context.tokenizer.apply_chat_template(user(QUESTIONS[0]), add_generation_prompt=True)["input_ids"]
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1)[:1024].sum())


def test_flipped_rewards_move_the_policy_the_other_way(tmp_path: Path) -> None:
    moved = {}
    for sign in (1, -1):
        context = ppo_context(tmp_path, max_steps=5, own={"kl_penalty": 0.01, "max_tokens": 4})
        before = lowness(context.model, context)
        trainer = trainer_of(context, lambda ids: sign * low(ids))  # noqa: B023
        trainer.train()
        moved[sign] = lowness(context.model, context) - before
        names = {"reward", "kl", "kl_coefficient", "entropy", "clip_fraction", "approximate_kl", "value_loss"}
        names |= {"explained_variance", "policy_loss", "num_tokens", "completions/clipped_ratio"}
        assert names <= {*trainer.state.log_history[0]}
    assert moved[-1] < -0.001 < 0.001 < moved[1]


def test_what_nobody_can_reward_teaches_nothing(tmp_path: Path) -> None:
    context = ppo_context(tmp_path, max_steps=1)
    before = lowness(context.model, context)
    trainer = trainer_of(context, lambda ids: None)
    trainer.train()
    assert trainer.state.log_history[0]["unrewarded"] == 1
    assert lowness(context.model, context) == pytest.approx(before, abs=1e-5)


def test_responses_are_drawn_from_the_policy_as_it_is_now(tmp_path: Path) -> None:
    context = ppo_context(tmp_path)
    model, tokenizer = context.model.eval(), context.tokenizer
    prompts = [tokenizer.apply_chat_template(user(one), add_generation_prompt=True)["input_ids"] for one in QUESTIONS]
    rollouts = Rollouts(model, torch.device("cpu"), frozenset({1}), Sampling(0.7, max_tokens=5))

    def naive(seed: int, prompt: list[int]) -> list[int]:
        numbers = np.random.Generator(np.random.Philox(key=seed))
        drawn: list[int] = []
        while len(drawn) < 5 and 1 not in drawn:
            with torch.no_grad():
                chances = (model(input_ids=torch.tensor([prompt + drawn])).logits[0, -1] / 0.7).softmax(-1).cumsum(-1)
            drawn.append(int(torch.searchsorted(chances, chances[-1] * float(numbers.random(dtype=np.float32)))))
        return drawn

    first = rollouts.draw(prompts, range(4))
    assert first == [naive(seed, prompt) for seed, prompt in enumerate(prompts)]
    with torch.no_grad():
        model.lm_head.weight.neg_()
    second = rollouts.draw(prompts, range(4))
    assert second == [naive(seed, prompt) for seed, prompt in enumerate(prompts)] != first


def test_responses_are_drawn_in_the_trainer_s_own_thread_whose_openmp_threads_are_there_already(tmp_path: Path) -> None:
    model, drawing = ppo_context(tmp_path).model, set[threading.Thread]()
    model.register_forward_pre_hook(lambda *_: drawing.add(threading.current_thread()))

    async def draw() -> list[list[int]]:  # as in a notebook, whose loop runs
        return Rollouts(model, torch.device("cpu"), frozenset({1}), Sampling(max_tokens=3)).draw([[5, 6], [7]], [1, 2])

    assert all(asyncio.run(draw()))
    assert drawing == {threading.current_thread()}


@pytest.mark.parametrize("adapter", [None, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")])
@pytest.mark.parametrize(
    ("method", "own", "build"), [("ppo", PPOSettings, build_ppo), ("grpo", OnlineSettings, build_grpo)]
)
def test_responses_are_drawn_in_the_precision_in_which_they_are_learned(
    tmp_path: Path, method: str, own: Any, build: Callable[[Context], Any], adapter: LoraConfig | None
) -> None:
    few = {"own": own("harmless", group=2, max_tokens=3), "batch": 4, "max_steps": 1}
    context = make_context(tmp_path, method, "prompts", PROMPTS, **few, adapter=copy.deepcopy(adapter), bf16=True)
    trainer = build(context)
    seen: set[bool] = set()
    context.model.register_forward_pre_hook(lambda *_: seen.add(torch.is_autocast_enabled("cpu")))
    trainer._rollouts.draw([[5, 6, 7], [8]], [1, 2])
    assert seen == {True}


def test_log_probabilities_do_not_depend_on_padding_and_neighbours(tmp_path: Path) -> None:
    context = ppo_context(tmp_path)
    prompts, responses = [[5, 6, 7], [8]], [[9, 10], [11, 12, 13, 14]]
    ids, mask, width = joined(prompts, responses, 0, torch.device("cpu"))
    value, began = open_value_model(context, context.model, ())
    value.head.weight.data.normal_()
    both = PolicyAndValue(context.model, value)
    assert began is None
    with torch.no_grad():
        told = both(ids, mask, width, 0.5)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            alone = torch.tensor([prompt + response])
            chances = (context.model(input_ids=alone).logits[0, :-1] / 0.5).log_softmax(-1)[-len(response) :]
            states = context.model.model(input_ids=alone).last_hidden_state[0, :-1][-len(response) :]
            expected = {
                "log_probs": chances.gather(1, torch.tensor(response)[:, None])[:, 0],
                "entropies": -(chances.exp() * chances).sum(-1),
                "values": value.head(states)[:, 0],
            }
            for name, numbers in expected.items():
                torch.testing.assert_close(told[name][row, : len(response)], numbers, atol=1e-4, rtol=1e-4)


def test_micro_batches_and_processes_of_work_change_nothing(tmp_path: Path) -> None:
    losses = []
    for micro in (8, 3):
        context = ppo_context(tmp_path, max_steps=2, batch=8, own={"kl_target": 0.1})
        trainer = trainer_of(context, low)
        trainer._micro = micro
        trainer.train()
        losses.append([line["loss"] for line in trainer.state.log_history if "loss" in line])
        coefficients = [line["kl_coefficient"] for line in trainer.state.log_history if "loss" in line]
        assert coefficients[1] == pytest.approx(0.04 * 0.98), "the first responses are the reference's own"
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_an_adapter_s_value_model_shares_the_frozen_weights_and_its_reference_is_the_base(tmp_path: Path) -> None:
    adapter = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    trainer = trainer_of(ppo_context(tmp_path, max_steps=2, batch=8, adapter=adapter, learning_rate=1e-2), low)
    models = trainer.model
    frozen = {id(weight) for weight in models.policy.parameters() if not weight.requires_grad}
    assert {id(weight) for weight in models.value.body.parameters() if not weight.requires_grad} <= frozen
    base = {name: weight.clone() for name, weight in models.named_parameters() if not weight.requires_grad}
    trained = {name: weight.clone() for name, weight in models.named_parameters() if weight.requires_grad}
    trainer.train()
    first, second = (line["kl"] for line in trainer.state.log_history[:2])
    assert first == pytest.approx(0, abs=1e-5)
    assert abs(second) > 1e-5
    now = dict(models.named_parameters())
    assert all(torch.equal(now[name], weight) for name, weight in base.items())
    moved = {name.split(".")[0] for name, weight in trained.items() if not torch.equal(now[name], weight)}
    assert moved == {"policy", "value"}


def test_a_value_model_begins_as_the_reward_model_that_reads_the_same_tokens(tmp_path: Path) -> None:
    scorer = make_model(labels=1, seed=5)
    scorer.save_pretrained(tmp_path / "scorer")
    transformers.AutoTokenizer.from_pretrained(CHECKPOINT).save_pretrained(tmp_path / "scorer")
    own = {"reward_model": (tmp_path / "scorer",), "group": 1, "minibatches": 1}
    context = ppo_context(tmp_path, batch=4, max_steps=1, own={**own, "reward_clip": 0.0})
    trainer: Any = build_ppo(context)
    assert trainer.remarks == (f"the value model begins as the reward model {tmp_path / 'scorer'}",)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        score = scorer(input_ids=ids).logits[0, 0]
        value = trainer.model.value(ids, torch.ones_like(ids), torch.arange(3)[None])[0, -1]
    torch.testing.assert_close(value, score)
    trainer.train()
    assert trainer.state.log_history[0]["completions/mean_length"] <= 6


def test_values_begin_in_the_unit_in_which_rewards_are_counted(tmp_path: Path) -> None:
    directories = []
    for member in range(2):
        scorer = make_model(labels=1, seed=5 + member)
        with torch.no_grad():  # uncentred, as a regression's on a scale that begins at 1
            usual = scorer.model(input_ids=torch.arange(500)[None]).last_hidden_state[0].mean(0)
            scorer.score.weight.copy_(5 * usual / usual.dot(usual))
        directories.append(tmp_path / f"scorer-{member}")
        scorer.save_pretrained(directories[-1])
        transformers.AutoTokenizer.from_pretrained(CHECKPOINT).save_pretrained(directories[-1])
        (directories[-1] / "train.json").write_bytes(orjson.dumps({"measured": {"scale": {"mean": 4, "deviation": 2}}}))

    def first_values(members: int, reward_clip: float, steps: int = 1) -> tuple[float, float, float]:
        """Return the mean of the first tokens' values in the last step, the only one rewarded, and rewards' spread."""
        own = {"reward_model": tuple(directories[:members]), "group": 1, "minibatches": 1, "reward_clip": reward_clip}
        trainer: Any = build_ppo(ppo_context(tmp_path, batch=16, max_steps=steps, own=own))
        seen: list[Any] = []
        look, scored, drawn = trainer._look, trainer._scores, trainer._rollouts.draw
        end = trainer.processing_class.eos_token_id

        def draw(*arguments: Any) -> Any:  # answers that are cut have no reward
            return [[*tokens[:-1], end] for tokens in drawn(*arguments)]

        def scores(rows: Any, responses: Any) -> Any:
            if trainer.state.global_step < steps - 1:
                return torch.zeros(len(rows)), torch.zeros(len(rows), dtype=torch.bool)
            return scored(rows, responses)

        def looked(*arguments: Any) -> Any:
            seen.append(look(*arguments))
            return seen[-1]

        trainer._look, trainer._scores, trainer._rollouts.draw = looked, scores, draw
        trainer.train()
        return float(seen[-1][2][:, 0].mean()), *trainer._scale.spread()

    for members, steps in ((1, 1), (2, 1), (1, 2)):
        raw, *_ = first_values(members, 0.0, steps)
        found, mean, deviation = first_values(members, 5.0, steps)
        assert deviation > 0.5
        assert found == pytest.approx((raw - mean) / deviation, rel=1e-3)
    assert first_values(2, 0.0)[0] == pytest.approx((first_values(1, 0.0)[0] - 4) / 2, rel=1e-3)


def test_checkpointing_of_activations_changes_no_gradient(tmp_path: Path) -> None:
    lines = []
    for checkpointing in (False, True):
        trainer = trainer_of(ppo_context(tmp_path, max_steps=1, gradient_checkpointing=checkpointing), low)
        trainer.train()
        lines.append({name: trainer.state.log_history[0][name] for name in ("loss", "grad_norm", "value_loss")})
    assert lines[0] == pytest.approx(lines[1], rel=1e-4)


def test_batches_are_of_like_lengths() -> None:
    lengths = [10, 900, 20, 1000, 15, 30]
    assert length_batches(range(6), lengths, 64) == [[0, 4, 2, 5], [1, 3]]
    assert length_batches([3, 0, 2], lengths, 2) == [[0, 2], [3]]


def test_text_s_likelihood_is_held_up(tmp_path: Path) -> None:
    text = [5, 6, 7, 8, 9, 10]

    def likelihood(context: Context) -> float:
        ids = torch.tensor([text])
        with torch.no_grad():
            return float(log_probs(context.model, ids, torch.ones_like(ids), 5, 1.0)[0].sum())

    gained = []
    for texts in ([], [text]):
        context = ppo_context(tmp_path, batch=8)
        before = likelihood(context)
        trainer_of(context, low, [Piece(ids, [True] * len(ids)) for ids in texts]).train()
        gained.append(likelihood(context) - before)
    assert gained[1] > gained[0] + 0.5


def with_texts(context: Context, file: Path) -> Context:
    """Return the context with pre-training data beside its prompts."""
    return replace(context, pretraining=load_pretraining(DataSource.parse(str(file)), 0, ()))


def test_pretraining_data_is_text_in_pieces(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "Rest helps. Tea helps."}\n{"text": "Sleep well."}\n')
    context = with_texts(ppo_context(tmp_path, max_length=6), file)
    pieces, nothing = pretraining_pieces(context)
    assert (max(len(piece.ids) for piece in pieces), nothing.total()) == (6, 0)
    texts = [[*context.tokenizer(text)["input_ids"], 1] for text in ("Rest helps. Tea helps.", "Sleep well.")]
    expected = [ids[start : start + 6] for ids in texts for start in range(0, len(ids), 6)]
    assert sorted(piece.ids for piece in pieces) == sorted(piece for piece in expected if len(piece) > 1)
    assert all(all(piece.learned) for piece in pieces)
    assert pretraining_pieces(ppo_context(tmp_path)) == ([], Counter())


@pytest.mark.parametrize("turns", [False, True])
def test_of_conversations_in_pretraining_data_the_assistant_s_words_are_learned(tmp_path: Path, turns: bool) -> None:
    file = tmp_path / "answers.jsonl"
    row: dict[str, Any] = {"prompt": QUESTIONS[0], "completion": GOOD}
    file.write_bytes(orjson.dumps({"messages": user(QUESTIONS[0]) + assistant(GOOD)} if turns else row))
    context = with_texts(ppo_context(tmp_path), file)
    prepare_template(context.tokenizer, None, need_markers=turns)
    ((piece,), _) = pretraining_pieces(context)
    learned = [token for token, flag in zip(piece.ids, piece.learned, strict=True) if flag]
    assert context.tokenizer.decode(learned, skip_special_tokens=True).strip() == GOOD
    tensors = text_tensors([piece, Piece([5, 6, 7], [True] * 3)], 0, torch.device("cpu"))
    value, _ = open_value_model(context, context.model, ())
    with torch.no_grad():
        both = PolicyAndValue(context.model, value)
        found = both(torch.tensor([[5, 6]]), torch.ones(1, 2).long(), 1, 1.0, **tensors)["text_losses"]
        expected = 0.0
        for ids, flags in ((piece.ids, piece.learned), ([5, 6, 7], [True] * 3)):
            told = context.model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            chances = told.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
            expected -= float((chances * torch.tensor(flags[1:])).sum())
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_pretraining_data_in_pieces_too_short_to_learn_from_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_bytes(orjson.dumps({"prompt": "tea " * 100, "completion": "Yes."}))
    pieces, _ = pretraining_pieces(with_texts(ppo_context(tmp_path, max_length=60), file))
    assert all(piece.tokens for piece in pieces)
    with pytest.raises(InputError, match="holds no text to learn from"):
        pretraining_pieces(with_texts(ppo_context(tmp_path, max_length=1), file))


def test_the_plan_counts_and_names_pretraining_data_and_keeps_held_out_prompts_out_of_it(tmp_path: Path) -> None:
    data = DataSource.parse(str(tmp_path / "answers.jsonl"))
    own = PPOSettings(constitution="medical", max_tokens=8, pretraining_data=data)
    settings = make_settings(tmp_path, "ppo", own=own, test_share=0.3)
    rows = [orjson.loads(line) for line in (tmp_path / "ppo-96.jsonl").read_bytes().splitlines()]
    file = tmp_path / "answers.jsonl"

    def write(answer: str) -> None:
        lines = [orjson.dumps({"prompt": row["prompt"], "completion": answer}) for row in rows]
        file.write_bytes(b"\n".join([*lines, orjson.dumps({"prompt": "Rest?", "completion": ""})]))

    write(GOOD)
    plan = plan_train(settings)
    assert plan.examples.test is not None
    assert plan.pretraining is not None
    assert len(plan.pretraining.train) == len(plan.examples.train)
    left_out = {name: count for name, count in plan.examples.left_out.items() if name.startswith("pretraining data: ")}
    assert left_out.pop(f"pretraining data: {LEAKING}") == len(plan.examples.test)
    assert list(left_out.values()) == [1]
    before = plan.identity()["pretraining-data"]
    write(BAD)
    assert plan_train(settings).identity()["pretraining-data"] != before
    assert str(tmp_path) not in before


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ({"constitution": None}, "ppo needs a reward"),
        ({"group": 3}, "--batch-size 16 counts responses: give a multiple of --group, which is 3"),
        ({"minibatches": 3}, "--minibatches 3 do not share 16 responses evenly"),
        ({"gae_lambda": 1.5}, r"--gae-lambda 1\.5 is more than 1"),
        ({"kl_target": 6.0, "kl_penalty": 0.0}, "--kl-target steers --kl-penalty"),
        ({"pretraining_weight": 2.0}, "--pretraining-weight goes with --pretraining-data"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, own: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        build_ppo(ppo_context(tmp_path, own={"constitution": "medical"} | own))


def test_the_plan_counts_value_model_reference_and_reward_model(tmp_path: Path) -> None:
    plan = plan_train(make_settings(tmp_path, "ppo", own=PPOSettings(constitution="medical", max_tokens=8)))
    policy = plan.shape.parameters
    workload = Workload(2 * policy, 2 * policy, 2, 32, 2048, 8, 256, 2, True, False, beside=policy)
    assert workload.state("float32") == policy * (2 * 16 + 4)
    assert replace(workload, beside_single=policy).state("bfloat16") == policy * (2 * 8 + 2 + 4)
    lora = AdapterSettings("lora")
    scorer = tmp_path / "scorer"
    make_model(labels=1).save_pretrained(scorer)
    plan.tokenizer.save_pretrained(scorer)
    for method, reward, adapter, beside in (
        (PPO, (), AdapterSettings(), policy),
        (PPO, (scorer, scorer), AdapterSettings(), policy),
        (PPO, (), lora, 0),
        (PPO, (scorer, scorer), lora, policy),
        (GRPO, (scorer, scorer), lora, 0),
    ):
        own = PPOSettings(reward_model=reward)
        settings = replace(plan.settings, own=own, adapter=adapter)
        found = workload_of(method, settings, plan.shape, plan.tokenizer, 8, 2)
        assert (found.beside, found.beside_single) == (beside, len(reward) * policy)
    larger = transformers.AutoTokenizer.from_pretrained(scorer)
    larger.add_tokens(["<more>"])
    larger.save_pretrained(scorer)
    assert workload_of(PPO, settings, plan.shape, plan.tokenizer, 8, 2).beside == 0
    assert plan.settings.fit.batch_size == 8
    assert plan.identity()["rollout-epochs"] == "4"
    alone: dict[str, Any] = {"constitution": "medical", "max_tokens": 8, "group": 1}
    assert plan_train(make_settings(tmp_path, "ppo", own=PPOSettings(**alone))).steps == 12
    with pytest.raises(UsageError, match="--group 1: a response is compared with others, so a group has two at least"):
        plan_train(make_settings(tmp_path, "grpo", own=OnlineSettings(**alone)))


def test_a_maximal_length_is_that_of_pretraining_data_and_refused_without(tmp_path: Path) -> None:
    def planned(method: str, own: OnlineSettings, max_length: int | None) -> TrainPlan:
        return plan_train(make_settings(tmp_path, method, own=own, rows=16, max_length=max_length))

    alone: dict[str, Any] = {"constitution": "medical", "max_tokens": 64}
    for method, own in (("grpo", OnlineSettings), ("rloo", OnlineSettings), ("ppo", PPOSettings)):
        with pytest.raises(UsageError, match=f"--max-length does not bound the responses that {method} .*--max-tokens"):
            planned(method, own(**alone), 16)
    (tmp_path / "texts.jsonl").write_bytes(orjson.dumps({"prompt": "Tea?", "completion": "Yes."}))
    mixed = PPOSettings(**alone, pretraining_data=DataSource.parse(str(tmp_path / "texts.jsonl")))
    whole = planned("ppo", PPOSettings(**alone), None).hardware.max_length
    assert whole > 64  # a prompt and its response
    for asked in (16, 248):
        plan = planned("ppo", mixed, asked)
        assert (plan.settings.fit.max_length, plan.hardware.max_length) == (asked, max(asked, whole))
    with pytest.raises(UsageError, match="--max-length 300 is more than the model's context of 256 tokens"):
        planned("ppo", mixed, 300)


@pytest.mark.slow
def test_interrupted_and_started_again_the_curve_is_that_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods_ppo, "choose_reward", lambda *_: Counted(low))
    own = PPOSettings(constitution="medical", group=2, max_tokens=6, kl_target=0.05)
    numbers: dict[str, Any] = {"max_steps": 8, "evaluations": 4, "own": own, "test_share": 0.0, "rows": 40}
    train(make_settings(tmp_path, "ppo", out="undisturbed", **numbers))
    settings = make_settings(tmp_path, "ppo", out="killed", **numbers)

    seen = PPOTrainer._experience

    def killed(self: Any, rows: Any) -> Any:
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return seen(self, rows)

    with monkeypatch.context() as patched:
        patched.setattr(PPOTrainer, "_experience", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    summary = train(settings)
    assert summary.resumed == 4
    for name in ("loss", "reward", "kl", "kl_coefficient", "explained_variance", "num_tokens"):
        assert curve(settings.out, name) == approximately(curve(tmp_path / "undisturbed", name)), name
    held = {path.name for path in settings.out.iterdir()}
    assert {"model.safetensors", "config.json", "train.json", "loss.png", "README.md"} <= held
    assert "trained.safetensors" not in held
    whole, other = (
        transformers.AutoModelForCausalLM.from_pretrained(out) for out in (settings.out, tmp_path / "undisturbed")
    )
    torch.testing.assert_close(whole.state_dict(), other.state_dict(), atol=1e-5, rtol=1e-4)
