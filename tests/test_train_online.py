"""GRPO and RLOO: the policy moves towards what is rewarded and is held where it began; the judge is looked after."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
import transformers
from peft import LoraConfig, PromptTuningConfig
from trl import GRPOConfig, RLOOConfig

from cai.core.addresses import DataSource
from cai.core.errors import CaiError, EngineGoneError, InputError, ModelError, RequestError, UsageError
from cai.core.identity import draw
from cai.core.records import Message
from cai.method.templates import Templates
from cai.models.scripted import ScriptedEngine
from cai.models.settings import DEFAULT_MODEL
from cai.models.spec import ModelSpec
from cai.train.adapters.building import adapter_config
from cai.train.context import Context
from cai.train.data.examples import load_examples
from cai.train.methods import online as online_methods
from cai.train.methods.online import OnlineSettings, build_grpo, build_rloo, end_tokens, online_arguments
from cai.train.rewards.adherence import AdherenceReward, EngineThread
from cai.train.settings import AdapterSettings, DataSettings
from cai.train.trainers.policies import JudgedGRPOTrainer, JudgedRLOOTrainer
from cai.train.trainers.rewarded import TOO_LONG, answerable
from tests.building import make_constitution
from tests.train_context import CHECKPOINT, QUESTIONS, make_context, make_model, one_thread, user  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPTS = [{"prompt": user(question)} for question in QUESTIONS * 2]


def embedded() -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)


def online_context(tmp_path: Path, method: Any = "grpo", **changes: Any) -> Context:
    online = {"constitution": "medical", "group": 8, "max_tokens": 48, "kl_penalty": 0.0} | changes.pop("online", {})
    settings = {"model": embedded(), "batch": 16, "max_steps": 1, "learning_rate": 3e-4, "rows": PROMPTS} | changes
    return make_context(tmp_path, method, "prompts", settings.pop("rows"), own=OnlineSettings(**online), **settings)


def with_judge(context: Context, weigh: Any, ends: Any = None) -> Any:
    """Return the context's trainer with a scripted judge; `ends` are the tokens that end an answer, if not its own."""

    async def opening() -> ScriptedEngine:
        return ScriptedEngine(lambda request: "", weigh)

    judge = EngineThread(opening)
    reward = AdherenceReward(make_constitution(), Templates.load("en"), judge, ends or end_tokens(context))
    if context.settings.method == "grpo":
        return JudgedGRPOTrainer(context, reward, GRPOConfig(**online_arguments(context)))
    return JudgedRLOOTrainer(context, reward, RLOOConfig(**online_arguments(context)))


def chances(context: Context, dialogues: Sequence[tuple[Message, ...]], model: Any) -> torch.Tensor:
    """Return each answer's log-probability in nats."""
    found = []
    for question, answer in dialogues:
        start = len(context.tokenizer.apply_chat_template([question], add_generation_prompt=True)["input_ids"])
        ids = torch.tensor([context.tokenizer.apply_chat_template([question, answer])["input_ids"]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits.log_softmax(-1)
        found.append(float(logits[0, :-1].gather(1, ids[0, 1:, None])[start - 1 :].sum()))
    return torch.tensor(found)


@pytest.mark.parametrize("method", ["grpo", "rloo"])
@pytest.mark.slow
def test_flipped_rewards_move_the_policy_the_other_way(tmp_path: Path, method: str) -> None:
    moved = {}
    for flipped in (False, True):
        context = online_context(tmp_path, method, max_steps=2)
        seen: dict[str, tuple[Message, ...]] = {}

        def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
            seen.setdefault(messages[1]["content"], messages[:2])  # noqa: B023
            chance = min(len(messages[1]["content"]) / 300, 1.0)
            return [1 - chance, chance] if flipped else [chance, 1 - chance]  # noqa: B023

        with_judge(context, weigh).train()
        dialogues = [dialogue for dialogue in seen.values() if dialogue[1]["content"].strip()][:16]
        lengths = torch.tensor([float(len(dialogue[1]["content"])) for dialogue in dialogues])
        change = chances(context, dialogues, context.model) - chances(context, dialogues, embedded())
        moved[flipped] = float(((lengths - lengths.mean()) * (change - change.mean())).sum())
    assert moved[False] < 0 < moved[True]


@pytest.mark.parametrize("method", ["grpo", "rloo"])
@pytest.mark.slow
def test_the_reference_is_the_model_as_it_is_and_not_the_one_on_the_disk(tmp_path: Path, method: str) -> None:
    make_model(seed=4).save_pretrained(tmp_path / "elsewhere")
    context = online_context(tmp_path, method, max_steps=2, online={"kl_penalty": 0.1})
    context.model.config._name_or_path = str(tmp_path / "elsewhere")
    trainer = with_judge(context, lambda messages, options: [len(messages[1]["content"]) / 999, 0.6])
    trainer.train()
    first, second = (line["kl"] for line in trainer.state.log_history[:2])
    assert first == pytest.approx(0, abs=1e-5)
    assert abs(second) > 1e-5
    assert trainer.args.beta == trainer.beta == 0.1
    torch.testing.assert_close(trainer.ref_model.state_dict(), embedded().state_dict())


@pytest.mark.slow
def test_an_adapter_is_held_to_its_base(tmp_path: Path) -> None:
    adapter = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    context = online_context(tmp_path, max_steps=2, learning_rate=1e-2, online={"kl_penalty": 0.1}, adapter=adapter)
    trainer = with_judge(context, lambda messages, options: [len(messages[1]["content"]) / 999, 0.6])
    trainer.train()
    first, second = (line["kl"] for line in trainer.state.log_history[:2])
    assert trainer.ref_model is None
    assert first == pytest.approx(0, abs=1e-5)
    assert second > 1e-5


def test_a_judge_that_is_gone_ends_training_with_its_own_words(tmp_path: Path) -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        raise EngineGoneError("the server is gone")

    with pytest.raises(EngineGoneError, match="the server is gone"):
        with_judge(online_context(tmp_path), weigh).train()


@pytest.mark.parametrize("method", ["grpo", "rloo"])
@pytest.mark.slow
def test_no_checkpoint_is_kept_of_training_that_got_no_answer(tmp_path: Path, method: str) -> None:
    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        raise RequestError("the server answered 400", retryable=False, kind="http 400")

    few = {"batch": 8, "rows": PROMPTS[:1]}  # fewer questions than end it by themselves
    context = online_context(tmp_path, method, save_strategy="steps", **few)
    with pytest.raises(EngineGoneError, match="answered none of 16 questions, so nothing was learned: the server"):
        with_judge(context, weigh).train()
    assert not list(tmp_path.rglob("checkpoint-*"))


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_no_checkpoint_is_kept_of_training_in_which_a_reward_model_scored_nothing(tmp_path: Path, method: str) -> None:
    make_model(labels=1).save_pretrained(tmp_path / "scorer")
    transformers.AutoTokenizer.from_pretrained(CHECKPOINT).save_pretrained(tmp_path / "scorer")
    online = {"constitution": None, "reward_model": (tmp_path / "scorer",), "max_tokens": 4}
    context = online_context(tmp_path, method, model=make_model(), save_strategy="steps", online=online)
    build = build_grpo if method == "grpo" else build_rloo
    with pytest.raises(CaiError, match="scored none of 16 answers, so nothing was learned: 16 did not end within"):
        build(context).train()
    assert not list(tmp_path.rglob("checkpoint-*"))


def test_room_is_what_virtual_tokens_leave_and_a_model_without_a_longest_position_has_any(tmp_path: Path) -> None:
    rows = [{"prompt": user("Rest? " * count)} for count in (1, 40)]
    length = len(
        online_context(tmp_path).tokenizer.apply_chat_template(rows[1]["prompt"], add_generation_prompt=True)[
            "input_ids"
        ]
    )
    most = 256 - length
    prefix = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=1)
    for adapter, left in ((None, 0), (LoraConfig(task_type="CAUSAL_LM"), 0), (prefix, 1)):
        context = online_context(tmp_path, model=make_model(), rows=rows, adapter=adapter)
        assert answerable(context, most, 1)[1][TOO_LONG] == left
    sizes = {"vocab_size": 2048, "hidden_size": 16, "n_layer": 1, "n_head": 2}
    endless = transformers.BloomForCausalLM(transformers.BloomConfig(**sizes))
    kept, left_out = answerable(online_context(tmp_path, model=endless, rows=rows), 1000, 1)
    assert (len(kept), left_out[TOO_LONG]) == (2, 0)


@pytest.mark.slow
def test_the_embedded_model_judges_itself_under_a_shipped_constitution(tmp_path: Path) -> None:
    trainer = build_grpo(online_context(tmp_path))
    trainer.train()
    line = trainer.state.log_history[0]
    assert 0 < line["rewards/adherence/mean"] <= 1
    assert line["reward"] == line["rewards/adherence/mean"]
    assert 0 <= line["kept/emergency-first"] <= 1
    assert line["judge/unanswered"] < 0.5


def test_a_reward_model_rewards(tmp_path: Path) -> None:
    scorer = make_model(labels=1)
    scorer.save_pretrained(tmp_path / "scorer")
    transformers.AutoTokenizer.from_pretrained(CHECKPOINT).save_pretrained(tmp_path / "scorer")
    context = online_context(
        tmp_path, "rloo", online={"constitution": None, "reward_model": (tmp_path / "scorer",), "group": 2}, batch=2
    )
    trainer: Any = build_rloo(context)
    trainer.train()
    logged = trainer.state.log_history[0]["rewards/reward_model/mean"]
    prompts, answers = trainer._logs["prompt"], trainer._logs["completion"]
    ids = [
        context.tokenizer.apply_chat_template(prompt + answer, return_tensors="pt")["input_ids"]
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    with torch.no_grad():
        by_hand = [scorer(input_ids=row).logits.item() for row in ids]
    assert logged == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-4)


def test_a_principle_for_a_tag_is_asked_about_for_the_prompts_that_have_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"prompt": "I took too many pills, what now?", "tags": ["emergency"]},
        {"prompt": "Hello?", "tags": []},
    ]
    (tmp_path / "prompts.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    (tmp_path / "clinic.yaml").write_text(
        "name: clinic\nversion: '1'\nprinciples:\n  - {id: kind, text: The response is kind.}\n"
        "  - {id: fast, text: The response sends for help., applies_to: [emergency]}\n"
    )
    settings = DataSettings((DataSource.parse(str(tmp_path / "prompts.jsonl")),), test_share=0.0)
    examples = load_examples("prompts", settings, 0)
    assert {row["prompt"][0]["content"]: row["tags"] for row in examples.train} == {
        row["prompt"]: row["tags"] for row in rows
    }
    asked: defaultdict[str, set[str]] = defaultdict(set)

    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        asked[messages[0]["content"]].add("fast" if "sends for help" in messages[-1]["content"] else "kind")
        return [0.5, 0.5]

    async def opening(*_: Any) -> ScriptedEngine:
        return ScriptedEngine(lambda request: "", weigh)

    monkeypatch.setattr("cai.models.open_engine", opening)
    monkeypatch.setattr(online_methods, "end_tokens", lambda context: range(2048))  # none is cut
    online = {"constitution": str(tmp_path / "clinic.yaml"), "group": 2, "max_tokens": 4}
    context = online_context(tmp_path, model=make_model(), rows=list(examples.train), batch=4, online=online)
    build_grpo(context).train()
    assert asked == {rows[0]["prompt"]: {"kind", "fast"}, rows[1]["prompt"]: {"kind"}}


def test_prompts_that_leave_no_room_are_counted_and_too_few_are_refused(tmp_path: Path) -> None:
    rows = [*PROMPTS, {"prompt": user("sleep " * 1000)}]
    trainer = with_judge(online_context(tmp_path, rows=rows), lambda messages, options: [0.5, 0.5])
    assert trainer.left_out == {TOO_LONG: 1}
    assert len(trainer.train_dataset) == len(PROMPTS)
    with pytest.raises(InputError, match="1 prompt leaves room for 48 tokens of answer, and a batch takes 2"):
        with_judge(online_context(tmp_path, rows=PROMPTS[:1]), lambda messages, options: [0.5, 0.5])


@pytest.mark.parametrize(
    ("online", "problem"),
    [
        ({"constitution": None}, "grpo needs a reward"),
        ({"reward_model": (Path("here"),)}, "grpo needs a reward"),
        (
            {"constitution": None, "reward_model": (Path("here"),), "judge": DEFAULT_MODEL},
            "--judge goes with --constitution",
        ),
        ({"disagreement": 2.0}, "go with several --reward-model"),
        (
            {"constitution": None, "reward_model": (Path("here"),), "ensemble": "worst"},
            "go with several --reward-model",
        ),
        (
            {
                "constitution": None,
                "reward_model": (Path("here"), Path("there")),
                "ensemble": "worst",
                "disagreement": 3.0,
            },
            "--disagreement 3 lowers the mean of --ensemble penalty",
        ),
        ({"group": 3}, "--batch-size 16 counts responses: give a multiple of --group, which is 3"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, online: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        build_grpo(online_context(tmp_path, model=make_model(), online=online))


def test_a_directory_that_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no reward model"):
        build_grpo(
            online_context(tmp_path, model=make_model(), online={"constitution": None, "reward_model": (CHECKPOINT,)})
        )


def test_the_judge_is_asked_for_as_engines_are() -> None:
    assert [str(ModelSpec.checkpoint(name)) for name in ("tiny", "out/sft", "transformers:out/sft")] == [
        "tiny",
        "transformers:out/sft",
        "transformers:out/sft",
    ]


def answers(trainer: Any, prompts: list[list[int]]) -> list[list[int]]:
    drawn: Any = trainer._generate_single_turn(prompts, *([None, {}] + [8] * isinstance(trainer, JudgedGRPOTrainer)))
    found: list[list[int]] = drawn[0] if isinstance(trainer, JudgedGRPOTrainer) else drawn
    return found


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_answers_come_from_the_weights_as_they_are_by_the_step_s_own_seeds(tmp_path: Path, method: str) -> None:
    context = online_context(tmp_path, method, online={"max_tokens": 8})
    trainer = with_judge(context, lambda *_: {})
    prompts = context.tokenizer.apply_chat_template(
        [row["prompt"] for row in PROMPTS], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    torch.manual_seed(1)
    first = answers(trainer, prompts)
    assert first == answers(trainer, prompts)  # whatever else was drawn meanwhile
    trainer.state.global_step = 1
    assert first != answers(trainer, prompts)
    trainer.state.global_step = 0
    with torch.no_grad():
        trainer.model.lm_head.weight.zero_()
    assert all(len(set(answer)) > 4 for answer in answers(trainer, prompts))  # every token is as likely now
    assert trainer.remarks == ()


def test_an_adapter_that_stands_outside_the_layers_leaves_drawing_to_trl(tmp_path: Path) -> None:
    prefix = adapter_config(AdapterSettings("prefix", virtual_tokens=4), "language", make_model())
    trainer = with_judge(online_context(tmp_path, "rloo", adapter=prefix, online={"max_tokens": 4}), lambda *_: {})
    assert "TRL draws the answers" in trainer.remarks[0]
    assert all(1 <= len(answer) <= 4 for answer in answers(trainer, [[5, 6, 7]] * 2))


def of_two_epochs(tmp_path: Path, method: str) -> Any:
    """Return a trainer of six steps, three an epoch, that leaves a checkpoint of the fourth; any answer has ended."""
    rows = [{"prompt": user(f"{number}?")} for number in range(6)]
    online = {"group": 2, "max_tokens": 4}
    fit = {"batch": 4, "max_steps": 6, "save_strategy": "steps", "save_steps": 4}
    context = online_context(tmp_path, method, model=make_model(), rows=rows, online=online, **fit)

    def weigh(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        chance = draw(0, *(str(message["content"]) for message in messages[:2]))
        return [chance, 1 - chance]

    return with_judge(context, weigh, range(2048))


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_a_run_that_goes_on_in_a_later_epoch_takes_that_epoch_s_prompts(tmp_path: Path, method: str) -> None:
    def prompts(loader: Any, epoch: int) -> list[str]:
        loader.set_epoch(epoch)
        return [row["prompt"][0]["content"] for batch in loader for row in batch]

    undisturbed = of_two_epochs(tmp_path / "undisturbed", method)
    loader = undisturbed.get_train_dataloader()
    first, second = prompts(loader, 0), prompts(loader, 1)
    assert sorted(first) == sorted(second)
    assert first != second
    assert prompts(of_two_epochs(tmp_path / "again", method).get_train_dataloader(), 1) == second
    undisturbed.train()
    resumed = of_two_epochs(tmp_path / "resumed", method)
    resumed.train(resume_from_checkpoint=str(tmp_path / "undisturbed" / "checkpoints" / "checkpoint-4"))
    for name in ("reward", "loss", "grad_norm"):
        wanted, found = (
            [line[name] for line in each.state.log_history if name in line] for each in (undisturbed, resumed)
        )
        assert len(wanted) == 6
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6), name
