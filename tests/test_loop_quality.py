"""Which filters a loop's data goes through: asked for once, in what trains and in what is exported, and remembered."""

from dataclasses import replace
from pathlib import Path

import pytest

from cai.core.addresses import DataSource
from cai.core.records import Row
from cai.data.quality import read_ledger
from cai.loop import run as loop_run
from cai.loop.settings import LoopSettings
from cai.loop.stage_records import StageRecord, changes, identity
from cai.loop.stages import Stage, stages_of
from cai.train.data.examples import load_examples
from cai.train.settings import DataSettings, TrainSettings
from tests.storage import fill, make_row

JUNK = "Sure, here is the revised response:\n\nDrink water and rest."


def rows() -> list[Row]:
    """Return two rows, of which the second's answer begins by talking about the task."""
    clean, junk = make_row(0), make_row(1)
    traces = tuple(replace(trace, response=JUNK, final=JUNK, rounds=()) for trace in junk.traces)
    return [clean, replace(junk, traces=traces)]


def contents(run: Path, quality: str) -> set[str]:
    data = DataSettings((DataSource.parse(str(run)),), quality=quality, test_share=0.0)
    return {example["completion"][0]["content"] for example in load_examples("supervised", data, 0).train}


def test_training_on_a_run_goes_through_the_filters_that_are_asked_for(tmp_path: Path) -> None:
    fill(tmp_path / "run", rows())
    with_all, by_default = (contents(tmp_path / "run", quality) for quality in ("none", "default"))
    assert JUNK in with_all
    assert JUNK not in by_default
    data = DataSettings((DataSource.parse(str(tmp_path / "run")),), test_share=0.0)
    fingerprints = {
        load_examples("supervised", replace(data, quality=name), 0).fingerprint
        for name in ("none", "default", "strict")
    }
    assert len(fingerprints) == 3


def training(settings: LoopSettings) -> list[Stage]:
    return [stage for stage in stages_of(settings, Path("out")) if isinstance(stage.settings, TrainSettings)]


@pytest.mark.parametrize("method", ["dpo", "reward-grpo"])
def test_every_stage_that_trains_has_the_loop_s_filters(method: str) -> None:
    for stage in training(LoopSettings("medical", method=method, quality="strict")):
        assert isinstance(stage.settings, TrainSettings)
        assert stage.settings.data.quality == "strict"


def test_other_filters_train_again_and_do_not_generate_again(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("filters:\n  refusal: drop\n")
    before = LoopSettings("medical", quality=str(own))
    found = [_identities(before), _identities(replace(before, quality="none"))]
    own.write_text("filters:\n  refusal: report\n")
    found.append(_identities(before))
    first, *others = found
    for other in others:
        changed = [name for name in first if first[name] != other[name]]
        assert changed == ["sft", "pairs-1", "dpo-1", "evaluation"]
        assert any(line.startswith("quality: own.yaml ") for line in changes(first["sft"], other["sft"]))


def _identities(settings: LoopSettings) -> dict[str, dict[str, str]]:
    done: dict[str, StageRecord] = {}
    for stage in stages_of(settings, Path("out")):
        wanted = identity(stage, {}, {name: done[name] for name in stage.needs})
        done[stage.name] = StageRecord("done", wanted)
    return {name: dict(record.identity) for name, record in done.items()}


def test_what_filters_left_out_is_in_the_ledger_before_training_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "generate", rows())
    settings = training(LoopSettings("medical", quality="default"))[0].settings
    assert isinstance(settings, TrainSettings)
    settings = replace(settings, data=replace(settings.data, data=(DataSource.parse(str(tmp_path / "generate")),)))

    def no_training(planned: TrainSettings) -> None:
        assert planned is settings
        assert not (tmp_path / "generate" / "sft" / "test.parquet").exists(), "nothing is held out"
        ledger = read_ledger(tmp_path / "generate" / "quality" / "ledger.parquet")
        assert any(JUNK.splitlines()[0] in entry.excerpt for entry in ledger)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop_run, "plan_train", no_training)
    with pytest.raises(KeyboardInterrupt):
        loop_run._run(settings, None)  # type: ignore[arg-type]
