"""A loss, a gradient or a weight that is no number ends training, by whatever method, and nothing is published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from cai.cli.main import main
from cai.core.errors import CaiError
from cai.train.context import Context
from cai.train.methods.dpo import build_dpo
from cai.train.methods.kto import build_kto
from cai.train.methods.orpo import build_orpo
from cai.train.methods.reward import build_reward
from cai.train.methods.sft import build_sft
from tests.test_train_kto import labelled
from tests.test_train_online import online_context, with_judge
from tests.train_context import (
    GOOD,
    QUESTIONS,
    assistant,
    lesson,
    make_context,
    make_model,
    one_thread,  # noqa: F401
    user,
)
from tests.training import command, make_settings, train

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = [{"prompt": user(question), "completion": assistant(GOOD)} for question in QUESTIONS * 2]
SCORED = [{**row, "score": float(number)} for number, row in enumerate(ROWS)]


def judged(context: Context) -> Any:
    return with_judge(context, lambda messages, options: (0.3, 0.7))


TRAINERS: dict[str, Callable[[Path], Any]] = {
    "sft": lambda out: build_sft(make_context(out, "sft", "supervised", ROWS)),
    "dpo": lambda out: build_dpo(make_context(out, "dpo", "pairs", lesson(flipped=False))),
    "reward": lambda out: build_reward(
        make_context(out, "reward", "pairs", lesson(flipped=False), model=scoring_model())
    ),
    "scores": lambda out: build_reward(make_context(out, "reward", "scored", SCORED, model=scoring_model())),
    "kto": lambda out: build_kto(make_context(out, "kto", "labelled", labelled())),
    "orpo": lambda out: build_orpo(make_context(out, "orpo", "pairs", lesson(flipped=False))),
    "grpo": lambda out: judged(online_context(out, "grpo", model=make_model(), max_steps=4)),
    "rloo": lambda out: judged(online_context(out, "rloo", model=make_model(), max_steps=4)),
}


def scoring_model() -> Any:
    model = make_model(labels=1)
    model.config.pad_token_id = 0
    return model


class Spoil(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Does something to the model after the first step."""

    def __init__(self, harm: Callable[[torch.nn.Parameter], None]) -> None:
        self._harm = harm

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        if state.global_step == 1:
            self._harm(model.model.layers[1].mlp.up_proj.weight)


def lose(weight: torch.nn.Parameter) -> None:
    weight.data.fill_(float("nan"))


def lose_gradient(weight: torch.nn.Parameter) -> None:
    weight.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("method", TRAINERS)
def test_training_stops_at_the_first_loss_that_is_no_number(tmp_path: Path, method: str) -> None:
    trainer = TRAINERS[method](tmp_path)
    trainer.add_callback(Spoil(lose))
    with pytest.raises(CaiError, match=r"nan.* at step 2, batch 1 of 1: nothing was written") as caught:
        trainer.train()
    assert caught.value.exit_code == 1
    assert trainer.state.global_step == 1


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_training_stops_at_the_first_gradient_that_is_no_number(tmp_path: Path, method: str) -> None:
    trainer = TRAINERS[method](tmp_path)
    trainer.add_callback(Spoil(lose_gradient))
    with pytest.raises(CaiError, match=r"the gradient's norm is (nan|inf) at step 2, batch 1 of 1: "):
        trainer.train()


def test_the_test_split_s_loss_is_looked_at_too(tmp_path: Path) -> None:
    trainer = build_sft(make_context(tmp_path, "sft", "supervised", ROWS, test=ROWS[:2]))
    assert trainer.evaluate()["eval_loss"] > 0
    lose(trainer.model.model.layers[1].mlp.up_proj.weight)
    with pytest.raises(CaiError, match="eval_loss is nan at step 0"):
        trainer.evaluate()


def test_weights_that_the_last_step_lost_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = torch.optim.AdamW.step

    def stray(self: Any, *positional: Any, **keywords: Any) -> Any:
        done = step(self, *positional, **keywords)
        self.param_groups[0]["params"][0].data.fill_(float("inf"))
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", stray)
    settings = make_settings(tmp_path, max_steps=1, test_share=0.0, rows=40)
    with pytest.raises(CaiError, match="holds nan or infinity after step 1"):
        train(settings, lambda _: None)
    assert not {"train.json", "config.json", "model.safetensors"} & {path.name for path in settings.out.iterdir()}


def test_a_rate_that_ruins_the_model_is_one_sentence_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(tmp_path, max_steps=12, learning_rate=1e30, test_share=0.0, rows=40, evaluations=1)
    with pytest.raises(SystemExit) as left:
        main(command(settings))
    assert left.value.code == 1
    assert "step 2, batch 1 of 1" in capsys.readouterr().err.splitlines()[-1]
    assert not (settings.out / "train.json").exists()
