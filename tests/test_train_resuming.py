"""A run that goes on in a later epoch takes what is left of that epoch's order, in every process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate.data_loader import BatchSamplerShard, DataLoaderShard, SeedableRandomSampler
from torch.utils.data import BatchSampler, Sampler

from cai.train.launching import train_launched
from cai.train.methods.sft import build_sft
from cai.train.trainers.base import BaseTrainer
from cai.train.trainers.lengths import LengthSampler
from tests.disturbing import interrupted_once
from tests.train_context import GOOD, assistant, make_context, one_thread, user  # noqa: F401
from tests.training import curve, make_settings, train

pytestmark = pytest.mark.usefixtures("one_thread")
NUMBERS = list(range(16))


class Seen(Exception):  # noqa: N818
    """Ends an epoch whose batches were seen."""


def one_of_two(sampler: Sampler[int], process: int) -> Any:
    """Return what one of two processes loads, wrapped as accelerate does."""
    return DataLoaderShard(NUMBERS, batch_sampler=BatchSamplerShard(BatchSampler(sampler, 2, False), 2, process))


def epoch_of(trainer: BaseTrainer, loader: Any, epoch: int, done: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the batches of an epoch that a trainer takes, after those that were `done` before a checkpoint."""
    found: list[Any] = []

    def look(batches: Any, *_: Any) -> Any:
        found.extend(batch.tolist() for batch in batches)
        raise Seen

    monkeypatch.setattr(trainer, "get_batch_samples", look)
    trainer.state.max_steps = 99
    with pytest.raises(Seen):
        trainer._run_epoch(
            model=trainer.model,
            epoch=epoch,
            train_dataloader=loader,
            steps_in_epoch=4,
            num_update_steps_per_epoch=4,
            trial=None,
            ignore_keys_for_eval=None,
            start_time=0.0,
            resume_from_checkpoint="somewhere" if done else None,
            epochs_trained=epoch if done else 0,
            steps_trained_in_current_epoch=done,
        )
    return found


@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.parametrize(
    "sampler",
    [lambda: LengthSampler([1] * 16, 4, 0), lambda: SeedableRandomSampler(NUMBERS, data_seed=0)],
    ids=["lengths", "accelerate"],
)
def test_a_later_epoch_is_gone_on_with_in_its_own_order_in_each_of_two_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: Callable[[], Sampler[int]], process: int
) -> None:
    row = {"prompt": user("Can I rest?"), "completion": assistant(GOOD)}
    trainer: BaseTrainer = build_sft(make_context(tmp_path, "sft", "supervised", [row]))
    undisturbed = one_of_two(sampler(), process)
    first, second = (epoch_of(trainer, undisturbed, epoch, 0, monkeypatch) for epoch in (0, 1))
    assert len(second) == 4
    assert first != second
    assert epoch_of(trainer, one_of_two(sampler(), process), 1, 2, monkeypatch) == second[2:]


@pytest.mark.slow
def test_two_processes_that_were_stopped_in_the_second_epoch_have_the_undisturbed_curve(tmp_path: Path) -> None:
    # Twenty steps an epoch; the stop comes some steps after the first of them, and before the last.
    numbers: dict[str, Any] = {"max_steps": 40, "rows": 160, "test_share": 0.0}
    alone = make_settings(tmp_path, out="alone", **numbers)
    train(alone)
    stopped = make_settings(tmp_path, out="stopped", **numbers)
    lines = stopped.out / "metrics.jsonl"

    with interrupted_once(lambda: lines.exists() and lines.read_bytes().count(b"\n") > 21):
        assert train_launched(stopped, "cpu2", 2, lambda _: None, quiet=True) == "interrupted"
    assert 21 < len(curve(stopped.out)) < 40
    assert train_launched(stopped, "cpu2", 2, lambda _: None, quiet=True) == "done"
    undisturbed: list[Any] = [(step, pytest.approx(loss, rel=1e-3)) for step, loss in curve(alone.out)]
    assert curve(stopped.out) == undisturbed
