"""A training by rewards is named by what rewards it, not by where that lies: another reward is another training."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from cai.core.errors import RunError
from cai.models.jury import parse_judge
from cai.train.methods.online import OnlineSettings
from cai.train.methods.ppo import PPOSettings
from cai.train.plan import plan_train
from cai.train.rewards.scorer import ScoreReward
from tests.train_context import CHECKPOINT, make_model, one_thread  # noqa: F401
from tests.training import make_settings, train

CONSTITUTION = "name: clinic\nversion: '1'\nprinciples:\n  - {{id: tone, text: The response is {}.}}\n"


def save(directory: Path, seed: int, labels: int | None = None) -> Path:
    """Write a random model, in place of what lies there."""
    shutil.rmtree(directory, ignore_errors=True)
    make_model(labels, seed).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (CHECKPOINT / name).exists():
            shutil.copy(CHECKPOINT / name, directory / name)
    return directory


def identity(directory: Path, **own: Any) -> dict[str, str]:
    """Return the identity of a plan whose responses are rewarded as `own` says."""
    settings = make_settings(directory, "grpo", own=OnlineSettings(max_tokens=8, **own), rows=16)
    return plan_train(settings).identity()


def test_a_reward_model_is_named_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = identity(tmp_path, reward_model=(save(tmp_path / "models" / "reward", 1, labels=1),))
    assert first["reward-model"].startswith("reward:models/reward#")
    monkeypatch.chdir(tmp_path)
    for spelled in ("models/reward", "./models/reward"):
        assert identity(tmp_path, reward_model=(Path(spelled),)) == first
    assert identity(tmp_path, reward_model=(save(tmp_path / "models" / "reward", 2, labels=1),)) != first


def test_a_constitution_is_named_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "clinic.yaml"
    file.write_text(CONSTITUTION.format("kind"))
    first = identity(tmp_path, constitution=str(file))
    copy = tmp_path / "copy.yaml"
    shutil.copy(file, copy)
    assert identity(tmp_path, constitution=str(copy)) == first
    file.write_text(CONSTITUTION.format("rude"))
    assert identity(tmp_path, constitution=str(file)) != first
    assert identity(tmp_path, constitution="medical")["constitution"].startswith("medical ")


def test_a_judge_is_named_by_the_weights_that_lie_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(judge: str | None) -> dict[str, str]:
        return identity(tmp_path, constitution="medical", judge=None if judge is None else parse_judge(judge))

    save(tmp_path / "models" / "judge", 1)
    monkeypatch.chdir(tmp_path)
    first = judged("transformers:models/judge")
    assert judged(f"transformers:{tmp_path}/./models/judge") == first
    jury = judged("tiny,transformers:models/judge,openai:m@http://user:hunter22@h:1/v1")["judge"]
    assert jury == f"{judged('tiny')['judge']} and {first['judge']} and openai:m@http://h:1/v1"
    save(tmp_path / "models" / "judge", 2)
    assert judged("transformers:models/judge") != first
    assert judged(None) == judged(f"transformers:{tmp_path / 'model'}")  # the model itself


@pytest.mark.usefixtures("one_thread")
def test_the_same_command_with_another_reward_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(place: str) -> bool:
        own = PPOSettings(reward_model=(Path(place),), max_tokens=4, group=1)
        return train(make_settings(tmp_path, "ppo", own=own, rows=16, max_steps=1, test_share=0.0)).already

    monkeypatch.setattr(ScoreReward, "require_answers", lambda _: None)  # the random policy ends no answer
    save(tmp_path / "reward", 1, labels=1)
    monkeypatch.chdir(tmp_path)
    assert [trained("reward"), trained("./reward")] == [False, True]
    save(tmp_path / "reward", 2, labels=1)
    with pytest.raises(RunError, match="reward-model"):
        trained("reward")
