"""The loop: its plan, what it remembers, and a real small run that is killed, taken up again and changed."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.cli.main import main
from cai.core.errors import RunError, UsageError
from cai.evaluate.settings import EvaluateSettings
from cai.generate.settings import GenerateSettings
from cai.loop.settings import LoopSettings
from cai.loop.stage_records import StageRecord, Status, changes, identity, read_record, write_record
from cai.loop.stages import Stage, stages_of
from cai.models.spec import LabelledModel, ModelSpec
from cai.rundir import Run
from cai.rundir.claim import claim
from cai.train.methods import loop_methods
from cai.train.settings import AdapterSettings, TrainSettings

PATIENCE = 240.0
LOOP = [
    sys.executable, "-m", "cai", "loop", "--constitution", "medical", "--limit", "8", "--evaluation-limit", "6",
    "--evaluation-prompts", "prompts/evaluation/tiny.jsonl", "--max-tokens", "48", "--samples", "1",
    "--pair-samples", "2", "--sft-max-steps", "2", "--second-max-steps", "2",
]  # fmt: skip
STAGES = ["generate", "sft", "pairs-1", "dpo-1", "evaluation"]


def names(settings: LoopSettings) -> list[str]:
    return [stage.name for stage in stages_of(settings, Path("out"))]


def test_each_method_has_its_stages() -> None:
    assert names(LoopSettings("medical")) == STAGES
    assert names(LoopSettings("medical", method="kto"))[2:-1] == ["pairs-1", "kto-1"]
    assert names(LoopSettings("medical", method="orpo"))[2:-1] == ["pairs-1", "orpo-1"]
    assert names(LoopSettings("medical", method="grpo"))[2:-1] == ["grpo-1"]
    assert names(LoopSettings("medical", method="reward-grpo"))[2:-1] == ["pairs-1", "reward-1", "grpo-1"]
    assert names(LoopSettings("medical", method="rloo"))[2:-1] == ["rloo-1"]
    assert names(LoopSettings("medical", method="reward-ppo"))[2:-1] == ["pairs-1", "reward-1", "ppo-1"]
    with pytest.raises(
        UsageError, match=r"dpo, kto, orpo, grpo, rloo, ppo, reward-grpo, reward-rloo, reward-ppo, not 'sft'"
    ):
        names(LoopSettings("medical", method="sft"))
    assert names(LoopSettings("medical", iterations=2))[2:-1] == ["pairs-1", "dpo-1", "pairs-2", "dpo-2"]


@given(st.sampled_from(list(loop_methods())), st.integers(1, 4), st.sampled_from(["tiny", "m/n"]))
def test_every_stage_reads_only_what_stages_before_it_made(method: str, iterations: int, model: str) -> None:
    settings = LoopSettings("medical", model=ModelSpec.checkpoint(model), method=method, iterations=iterations)
    seen: set[str] = set()
    base = newest = ModelSpec.checkpoint(model)
    for stage in stages_of(settings, Path("out")):
        assert set(stage.needs) <= seen
        read = _read(stage)
        assert {name for name in (_made(path) for path in read) if name} == set(stage.needs)
        if isinstance(stage.settings, GenerateSettings):
            assert stage.settings.model == newest, "pairs are sampled from the newest model"
            assert stage.settings.judge == base, "the untrained model judges"
        if isinstance(stage.settings, TrainSettings) and stage.settings.method != "reward":
            newest = ModelSpec.parse(f"transformers:{stage.settings.out}")
        seen.add(stage.name)
    evaluation = stages_of(settings, Path("out"))[-1].settings
    assert isinstance(evaluation, EvaluateSettings)
    assert evaluation.baseline == LabelledModel("base", base)
    assert str(evaluation.models[0]) == "sft=transformers:out/sft", "the SFT-only control is always measured"
    assert evaluation.models[-1].spec == newest


def _read(stage: Stage) -> list[str]:
    settings = stage.settings
    if isinstance(settings, GenerateSettings):
        return [str(settings.model)]
    if isinstance(settings, TrainSettings):
        return [
            *map(str, (settings.model, *settings.data.data)),
            *map(str, getattr(settings.own, "reward_model", ())),
        ]
    return [str(model) for model in settings.models]


def _made(path: str) -> str | None:
    """Return the stage that made a path, if one did."""
    head, found, name = path.partition("out/")
    return name if (found and head in ("", "transformers:")) or "=transformers:out/" in path else None


def test_a_stage_s_identity_follows_its_settings_its_files_and_what_came_before() -> None:
    def of(settings: LoopSettings, content: Mapping[str, str]) -> dict[str, StageRecord]:
        found: dict[str, StageRecord] = {}
        for stage in stages_of(settings, Path("out")):
            found[stage.name] = StageRecord(
                "done", identity(stage, content, {name: found[name] for name in stage.needs})
            )
        return found

    base = of(LoopSettings("medical"), {"constitution": "1"})

    def differing(settings: LoopSettings, content: Mapping[str, str] | None = None) -> list[str]:
        other = of(settings, content or {"constitution": "1"})
        return [name for name in base if changes(base[name].identity, other[name].identity)]

    assert differing(LoopSettings("medical")) == []
    assert differing(LoopSettings("medical", evaluation_limit=3)) == ["evaluation"]
    assert differing(LoopSettings("medical", pair_samples=8)) == ["pairs-1", "dpo-1", "evaluation"]
    assert differing(LoopSettings("medical", samples=3)) == STAGES
    assert differing(LoopSettings("medical"), {"constitution": "2"}) == STAGES


def test_adapters_are_merged_because_the_next_stage_trains_on_top_of_them() -> None:
    settings = LoopSettings("medical", iterations=2, adapter=AdapterSettings("lora", rank=4))
    trained = [
        stage.settings for stage in stages_of(settings, Path("out")) if isinstance(stage.settings, TrainSettings)
    ]
    assert [stage.adapter for stage in trained] == [AdapterSettings("lora", rank=4, merge=True)] * 3


def test_records_survive_and_a_broken_one_is_told(tmp_path: Path) -> None:
    record = StageRecord("started", {"epochs": "3"})
    with closing(claim(tmp_path, "loop")) as owned:
        assert read_record(owned, "sft") is None
        write_record(owned, "sft", record)
        assert read_record(owned, "sft") == record
    with closing(claim(tmp_path, "loop")) as owned:
        assert read_record(owned, "sft") == record
        (tmp_path / "stages" / "sft.json").write_text('{"status":')
        with pytest.raises(RunError, match=r"sft\.json"):
            read_record(owned, "sft")
        (tmp_path / "stages" / "dpo-1.json").write_text('{"status": "done", "identity": {}}')
        assert read_record(owned, "dpo-1") is None, "nobody else's file is a record"
        with pytest.raises(RunError, match=r"dpo-1\.json was not written by cai"):
            write_record(owned, "dpo-1", record)


def run_loop(out: Path, *more: str) -> tuple[list[str], dict[str, object]]:
    """Run the command to its end; return the lines that tell about stages, and the measurement."""
    done = subprocess.run(
        [*LOOP, "--out", str(out), *more], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("cai: ") for line in done.stderr.splitlines()]
    measured = orjson.loads((out / "evaluation" / "evaluation.json").read_bytes())
    return [line for line in lines if line.partition(":")[0] in STAGES], measured


@pytest.mark.loop
def test_killed_at_every_stage_it_ends_as_if_undisturbed_and_changes_run_what_they_touch(tmp_path: Path) -> None:
    out = tmp_path / "loop"
    for stage in STAGES[1:]:
        process = subprocess.Popen([*LOOP, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        record = out / "stages" / f"{stage}.json"
        deadline = time.monotonic() + PATIENCE
        while not record.exists():  # the stage has begun: kill it there
            assert time.monotonic() < deadline
            assert process.poll() is None, "the loop ended before it could be disturbed"
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    told, measured = run_loop(out)
    assert [line for line in told if line.endswith("done before")] == [f"{name}: done before" for name in STAGES[:4]]
    assert sum(1 for _ in Run.read(out / "generate").rows()) == 8
    assert (out / "evaluation" / "evaluation.png").exists()

    again, same = run_loop(out)
    assert again == [f"{name}: done before" for name in STAGES[:4]], "nothing is left to do"
    assert same == measured

    changed, _ = run_loop(out, "--second-max-steps", "1")
    assert changed[:3] == [f"{name}: done before" for name in STAGES[:3]]
    assert changed[3].startswith("dpo-1: runs again, because it changed (max-steps: 2 → 1")
    assert changed[4].startswith("evaluation: runs again")


def test_a_loop_s_directory_can_be_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records: dict[str, StageRecord] = {}
    with closing(claim(tmp_path, "loop")) as owned:
        for stage in stages_of(LoopSettings("medical"), tmp_path)[:4]:
            needed = {name: records[name] for name in stage.needs}
            status: Status = "done" if stage.name != "dpo-1" else "started"
            records[stage.name] = StageRecord(status, identity(stage, {}, needed))
            write_record(owned, stage.name, records[stage.name])
    (tmp_path / "generate" / "rows").mkdir(parents=True)
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "README.md").write_text("# a card")
    with pytest.raises(SystemExit) as left:
        main(["show", str(tmp_path), "--json"])
    assert left.value.code == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["kind"] == "loop"
    assert told["stages"] == [
        {"stage": "generate", "status": "done", "look_at": f"cai show {tmp_path}/generate"},
        {"stage": "sft", "status": "done", "look_at": f"{tmp_path}/sft/README.md"},
        {"stage": "pairs-1", "status": "done", "look_at": f"{tmp_path}/pairs-1"},
        {"stage": "dpo-1", "status": "started", "look_at": f"{tmp_path}/dpo-1"},
    ]
    with pytest.raises(SystemExit):
        main(["show", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[1] == f"generate  done     cai show {tmp_path}/generate"
