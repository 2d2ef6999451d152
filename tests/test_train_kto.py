"""KTO learns from what is called good and bad, by the counts' weights, against the model it started as."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig

from cai.core.errors import InputError, UsageError
from cai.train.methods.kto import balanced_weights, build_kto
from cai.train.trainers.references import TOO_LONG
from tests.train_context import BAD, GOOD, QUESTIONS, assistant, liking, make_context, make_model, one_thread, user  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")


def labelled(*, flipped: bool = False) -> list[dict[str, Any]]:
    return [
        {"prompt": user(question), "completion": assistant(answer), "label": (answer == GOOD) != flipped}
        for question in QUESTIONS * 2
        for answer in (GOOD, BAD)
    ]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.slow
def test_flipped_labels_reverse_what_is_learned(tmp_path: Path, flipped: bool) -> None:
    context = make_context(tmp_path, "kto", "labelled", labelled(flipped=flipped))
    before = liking(context, context.model)
    build_kto(context).train()
    change = liking(context, context.model) - before
    assert change < -5 if flipped else change > 5


def test_the_reference_is_the_model_as_it_is_and_not_the_one_on_the_disk(tmp_path: Path) -> None:
    model = make_model(seed=3)
    make_model(seed=4).save_pretrained(tmp_path / "elsewhere")
    model.config._name_or_path = str(tmp_path / "elsewhere")
    trainer = build_kto(make_context(tmp_path, "kto", "labelled", labelled(), model=model, max_steps=1))
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["rewards/chosen"] == pytest.approx(0, abs=1e-4)
    assert first["rewards/rejected"] == pytest.approx(0, abs=1e-4)
    assert first["loss"] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.slow
def test_an_adapter_learns_against_its_base(tmp_path: Path) -> None:
    adapter = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    context = make_context(tmp_path, "kto", "labelled", labelled(), adapter=adapter)
    before = {name: value.clone() for name, value in context.model.state_dict().items()}
    trainer = build_kto(context)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(0.5, abs=1e-4)
    assert trainer.state.log_history[-2]["rewards/margins"] > 0.01
    base = trainer.model.get_base_model().state_dict()
    for name, value in base.items():
        if "lora" not in name:
            torch.testing.assert_close(value, before[name.replace(".base_layer", "")])


@given(good=st.integers(1, 500), bad=st.integers(1, 500))
def test_the_two_sides_weigh_the_same(good: int, bad: int) -> None:
    desirable, undesirable = balanced_weights([True] * good + [False] * bad)
    assert math.isclose(good * desirable, bad * undesirable)
    assert min(desirable, undesirable) == 1


def test_one_sided_data_is_refused(tmp_path: Path) -> None:
    rows = [row for row in labelled() if row["label"]]
    with pytest.raises(InputError, match="8 good and 0 bad"):
        build_kto(make_context(tmp_path, "kto", "labelled", rows))


def test_a_batch_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kto compares the answers of a batch"):
        build_kto(make_context(tmp_path, "kto", "labelled", labelled(), per_device_train_batch_size=1))


def test_prompts_that_leave_no_room_are_counted(tmp_path: Path) -> None:
    rows = [*labelled(), {"prompt": user("sleep " * 200), "completion": assistant(GOOD), "label": True}]
    trainer: Any = build_kto(make_context(tmp_path, "kto", "labelled", rows))
    assert trainer.left_out == {TOO_LONG: 1}
    with pytest.raises(InputError, match="every prompt fills --max-length"):
        build_kto(make_context(tmp_path, "kto", "labelled", labelled(), max_length=4))
