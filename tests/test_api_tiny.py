"""From prompts to a measured model on the embedded checkpoint, in Python; and the whole loop."""

from pathlib import Path
from typing import Any

import pytest

import cai


@pytest.mark.slow
def test_from_prompts_to_a_measured_model(tmp_path: Path) -> None:
    run = cai.generate(
        constitution="harmless",
        limit=3,
        samples=1,
        rounds=1,
        schedule="sample",
        max_tokens=64,
        out=tmp_path / "run",
        progress=False,
    )
    assert len(run) == 3
    plan = cai.plan(cai.train, "sft", data=run, max_steps=2, test_share=0.0, device="cpu", out=tmp_path / "sft")
    assert plan.facts["data"]["train"] == 3
    assert plan.facts["steps"] == plan.settings["max_steps"] == 2
    assert not (tmp_path / "sft").exists()
    trained = cai.train(
        "sft",
        data=run,
        max_steps=2,
        batch_size=2,
        test_share=0.0,
        device="cpu",
        out=tmp_path / "sft",
        progress=False,
    )
    assert trained.path == tmp_path / "sft"
    assert trained.summary.steps == 2
    assert trained.summary.loss is not None
    again = cai.train(
        "sft",
        data=run,
        max_steps=2,
        batch_size=2,
        test_share=0.0,
        device="cpu",
        out=tmp_path / "sft",
        progress=False,
    )
    assert again.summary.already
    result = cai.evaluate(
        {"trained": trained.model},
        constitution="harmless",
        limit=1,
        max_tokens=16,
        out=tmp_path / "measured",
        progress=False,
    )
    (model,) = result.models
    assert model.label == "trained"
    assert model.measurements


def test_an_option_that_a_method_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(cai.errors.UsageError, match="sft has no option beta"):
        cai.train("sft", data="x", out=tmp_path / "sft", beta=0.2)
    with pytest.raises(cai.errors.UsageError, match="dpo has no option packing"):
        cai.train("dpo", data="x", out=tmp_path / "dpo", packing=True)
    with pytest.raises(cai.errors.UsageError, match="there is no training method 'ppt'"):
        cai.train("ppt", data="x", out=tmp_path / "ppt")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_trained_learned_from_or_named_is_told(tmp_path: Path) -> None:
    wrong: Any = print
    with pytest.raises(cai.errors.ModelError, match="an object of type builtin_function_or_method cannot be trained"):
        cai.train("sft", data="x", model=wrong, out=tmp_path / "sft")
    with pytest.raises(cai.errors.ModelError, match="cannot be trained: name tiny, a directory or a hub id"):
        cai.loop(constitution="medical", model=wrong, out=tmp_path / "loop")
    with pytest.raises(cai.errors.UsageError, match="data is of type int; give runs, or paths and names as text"):
        cai.train("sft", data=3, out=tmp_path / "sft")  # type: ignore[arg-type]
    with pytest.raises(cai.errors.UsageError, match="a model is called 3; its name is a text"):
        cai.evaluate({3: "scripted"}, constitution="medical", out=tmp_path / "e")  # type: ignore[dict-item]


@pytest.mark.loop
def test_a_loop(tmp_path: Path) -> None:
    result = cai.loop(
        constitution="harmless",
        limit=8,
        evaluation_limit=4,
        max_tokens=48,
        sft_max_steps=2,
        second_max_steps=2,
        device="cpu",
        out=tmp_path / "loop",
        progress=False,
    )
    assert result.ran == ("generate", "sft", "pairs-1", "dpo-1", "evaluation")
    assert [model.label for model in result.evaluation.models] == ["base", "sft", "dpo-1"]
