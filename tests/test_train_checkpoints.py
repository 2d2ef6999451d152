"""Checkpoints that a kill left torn or a disk damaged: training goes on from the newest whole one, and says so."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cai.core.errors import RunError
from cai.rundir.claim import join
from cai.rundir.owned import Owned
from cai.train.checkpoints import CHECKPOINTS, EVALUATED, MARK, begin_checkpoint, complete_checkpoint, newest_checkpoint
from cai.train.folder import TrainingFolder
from tests.training import approximately, curve, make_settings, train


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def put_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


DAMAGES = (flip, cut, empty, put_pointer, Path.unlink)


def make_checkpoint(directory: Path, step: int, best: str | None = None, *, marked: bool = True) -> Path:
    checkpoint = directory / CHECKPOINTS / f"checkpoint-{step}"
    with closing(join(directory, "training")) as owned:
        owned.folder(CHECKPOINTS)
        begin_checkpoint(owned, step)
    (checkpoint / "shards").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(bytes(range(200)))
    (checkpoint / "shards" / "optimizer.pt").write_bytes(b"optimizer" * 9)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": best, "loss": float("nan")}))
    if marked:
        with closing(join(directory, "training")) as owned:
            complete_checkpoint(owned, step)
    return checkpoint


def add_evaluation(checkpoint: Path, *, marked: bool = True) -> None:
    (checkpoint / EVALUATED).mkdir()
    state = {"best_model_checkpoint": None, "loss": 0.5}
    (checkpoint / EVALUATED / "trainer_state.json").write_text(json.dumps(state))
    if marked:
        with closing(join(checkpoint.parent.parent, "training")) as owned:
            complete_checkpoint(owned, int(checkpoint.name.rpartition("-")[2]))


def loss(checkpoint: Path) -> Any:
    return json.loads((checkpoint / "trainer_state.json").read_text())["loss"]


def newest(directory: Path) -> tuple[str | None, list[str]]:
    told: list[str] = []
    with closing(join(directory, "training")) as owned:
        found = newest_checkpoint(owned, told.append)
    return None if found is None else found.name, told


def test_a_torn_checkpoint_is_removed_without_a_word(tmp_path: Path) -> None:
    for step in (9, 10):
        make_checkpoint(tmp_path, step)
    make_checkpoint(tmp_path, 100, marked=False)
    (tmp_path / CHECKPOINTS / "checkpoint-of-mine").mkdir()
    assert newest(tmp_path) == ("checkpoint-10", [])
    assert not (tmp_path / CHECKPOINTS / "checkpoint-100").exists()
    assert (tmp_path / CHECKPOINTS / "checkpoint-of-mine").exists()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "shards/optimizer.pt", "trainer_state.json"])
def test_a_damaged_file_is_told_and_the_checkpoint_before_is_taken(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    make_checkpoint(tmp_path, 5)
    damage(make_checkpoint(tmp_path, 10) / name)
    found, told = newest(tmp_path)
    assert found == "checkpoint-5"
    assert len(told) == 1
    assert told[0].startswith(f"checkpoint-10 is damaged ({name} ")
    assert told[0].endswith(": training goes on from step 5")
    damage(tmp_path / CHECKPOINTS / "checkpoint-5" / name)
    found, told = newest(tmp_path)
    assert found is None
    assert told[0].endswith(": training begins again at step 0")


@pytest.mark.parametrize("mark", [b"", b"[]", b'{"files": 3}', b'{"files": {"a": 1}}'])
def test_a_damaged_mark_is_a_damaged_checkpoint(tmp_path: Path, mark: bytes) -> None:
    (make_checkpoint(tmp_path, 5) / MARK).write_bytes(mark)
    assert newest(tmp_path) == (
        None,
        ["checkpoint-5 is damaged (complete cannot be read): training begins again at step 0"],
    )


def test_a_checkpoint_without_its_best_weights_is_no_better_than_none(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 5)
    flip(make_checkpoint(tmp_path, 10) / "model.safetensors")
    make_checkpoint(tmp_path, 15, best=f"{tmp_path}/{CHECKPOINTS}/checkpoint-10")
    found, told = newest(tmp_path)
    assert found == "checkpoint-5"
    assert "checkpoint-15 is damaged (its best weights are those of checkpoint-10, and there model.safe" in told[0]


def test_the_best_weights_are_found_where_out_lies_now(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 10)
    checkpoint = make_checkpoint(tmp_path, 15, best="/where/it/was/checkpoint-10")
    assert newest(tmp_path) == ("checkpoint-15", [])
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(tmp_path / CHECKPOINTS / "checkpoint-10")
    assert newest(tmp_path) == ("checkpoint-15", [])


def test_what_cannot_be_read_at_all_is_not_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make_checkpoint(tmp_path, 5)
    opened = Path.open

    def refuse(path: Path, *rest: Any, **more: Any) -> Any:
        if path.name == "optimizer.pt":
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **more)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunError, match="checkpoint-5 cannot be read: Permission denied"):
        newest(tmp_path)
    assert checkpoint.is_dir()


def test_an_evaluation_that_was_added_counts_and_one_that_was_cut_short_does_not(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path, 5)
    add_evaluation(checkpoint, marked=False)
    for _ in range(2):
        assert newest(tmp_path) == ("checkpoint-5", [])
        assert loss(checkpoint) != 0.5
        assert not (checkpoint / EVALUATED).exists()
    add_evaluation(checkpoint)
    for _ in range(2):
        assert newest(tmp_path) == ("checkpoint-5", [])
        assert loss(checkpoint) == 0.5
        assert not (checkpoint / EVALUATED).exists()
    flip(checkpoint / "trainer_state.json")
    assert newest(tmp_path)[0] is None
    assert not checkpoint.exists()


@pytest.mark.parametrize(("call", "number"), [("write", 1), ("write", 2), ("remove_below", 1), ("tree", 1)])
def test_killed_while_an_evaluation_is_put_in_place_it_is_put_there_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    checkpoint = make_checkpoint(tmp_path, 5)
    add_evaluation(checkpoint)
    whole, calls = getattr(Owned, call), []

    def die(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == number:
            raise KeyboardInterrupt
        return whole(*given)

    with monkeypatch.context() as patched:
        patched.setattr(Owned, call, die)
        with pytest.raises(KeyboardInterrupt):
            newest(tmp_path)
    assert newest(tmp_path) == ("checkpoint-5", [])
    assert loss(checkpoint) == 0.5


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_evaluation_is_a_damaged_checkpoint(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make_checkpoint(tmp_path, 5)
    checkpoint = make_checkpoint(tmp_path, 10)
    add_evaluation(checkpoint)
    damage(checkpoint / EVALUATED / "trainer_state.json")
    found, told = newest(tmp_path)
    assert found == "checkpoint-5"
    assert told[0].startswith("checkpoint-10 is damaged (evaluated/trainer_state.json ")
    assert not checkpoint.exists()


def test_checkpoints_that_a_kill_at_the_end_left_go_with_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(TrainingFolder, "forget_checkpoints", lambda _self: None)
        settings = make_settings(tmp_path, max_steps=2)
        summary = train(settings, lambda _: None)
    assert list((settings.out / "checkpoints").glob("checkpoint-*"))
    assert train(settings, lambda _: None).steps == summary.steps
    assert not (settings.out / "checkpoints").exists()


@pytest.mark.slow
def test_a_run_whose_newest_checkpoint_is_damaged_ends_like_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingFolder, "forget_checkpoints", lambda _self: None)
    settings = make_settings(tmp_path, max_steps=12, evaluations=4)
    train(settings, lambda _: None)
    undisturbed = curve(settings.out)
    # What a kill after the last checkpoint leaves.
    for path in settings.out.iterdir():
        if path.name != "checkpoints" and path.is_file():
            path.unlink()
    steps = sorted(int(path.name.rpartition("-")[2]) for path in (settings.out / "checkpoints").glob("checkpoint-*"))
    flip(settings.out / "checkpoints" / f"checkpoint-{steps[-1]}" / "optimizer.pt")
    told: list[str] = []
    summary = train(settings, told.append)
    assert summary.resumed == steps[-2]
    assert any(f"checkpoint-{steps[-1]} is damaged (optimizer.pt" in line for line in told)
    assert curve(settings.out) == approximately(undisturbed)
