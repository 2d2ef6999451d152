"""A loop's plan: short, and it refuses what the run would refuse, in the loop's own words."""

import shutil
from pathlib import Path

import orjson
import pytest

from cai.cli.main import main
from cai.core.addresses import DataSource
from cai.core.errors import CaiError
from cai.generate.plan import plan_generate
from cai.generate.settings import GenerateSettings
from cai.loop.plan import plan_loop
from cai.loop.settings import LoopSettings
from cai.method.label_calibration import JudgeCalibration, write_calibrations
from cai.models.settings import EngineSettings
from cai.models.spec import ModelSpec
from cai.train.settings import AdapterSettings, FitSettings
from tests.test_loop import STAGES


def source(place: object) -> DataSource:
    return DataSource.parse(str(place))


def test_a_dry_run_is_a_line_a_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "l"
    arguments = ["loop", "--constitution", "medical", "--limit", "20", "--evaluation-limit", "30", "--out", str(out)]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--second-max-steps", "40", "--dry-run"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) <= 5 * len(STAGES), "short, however narrow the terminal is"
    assert "…" not in told
    assert not out.exists()
    with pytest.raises(SystemExit):
        main([*arguments, "--dry-run", "--json"])
    stages = orjson.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in stages] == STAGES
    assert stages[1]["model"] == "tiny"


def test_the_lines_say_what_how_much_and_where(tmp_path: Path) -> None:
    out = tmp_path / "l"
    settings = LoopSettings(
        "medical", limit=20, evaluation_limit=30, second=FitSettings(max_steps=40), out=out, iterations=2
    )
    lines = {name: rest for name, *rest in plan_loop(settings).lines()}
    assert lines["generate"] == ["tiny answers, critiques and revises", "20 prompts, 2 samples each", f"{out}/generate"]
    assert lines["sft"] == ["sft of tiny", "up to 40 examples; filters: default", f"{out}/sft"]
    assert lines["pairs-2"][:2] == ["dpo-1 answers, tiny judges the pairs", "20 prompts, 4 samples each"]
    assert lines["dpo-2"][:2] == ["dpo of dpo-1", "up to 120 pairs, 40 steps; filters: default"]
    assert lines["evaluation"][:2] == ["tiny, sft, dpo-1, dpo-2, judged by tiny", "30 prompts, 4 models"]
    online_plan = plan_loop(LoopSettings("medical", method="grpo", limit=20, out=out))
    online = {name: rest for name, *rest in online_plan.lines()}
    assert online["grpo-1"][:2] == ["grpo of sft", "20 prompts, 8 responses each"]


def own_constitution(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nversion: 1.0.0\nprinciples:\n  - id: rhyme\n    text: Rhyme.\n")
    return str(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompts": source("-")}, "--prompts is standard input"),
        ({"evaluation_prompts": source("-")}, "--evaluation-prompts is standard input"),
        ({"prompts": source("medcal")}, "give --prompts a file or one of"),
        ({"evaluation_prompts": source("medcal")}, "give --evaluation-prompts a file or one of"),
        ({"evaluation_prompts": source("no.jsonl")}, "no.jsonl"),
        ({"constitution": "mine"}, "no seed prompts ship for the constitution mine; give some with --prompts"),
        ({"constitution": "mine", "prompts": source("tiny")}, "give some with --evaluation-prompts"),
        ({"model": ModelSpec.checkpoint("./no-such-model")}, "there is no model directory ./no-such-model"),
        (
            {"method": "grpo", "second": FitSettings(batch_size=6)},
            "--second-batch-size 6 is not a multiple",
        ),
        ({"adapter": AdapterSettings(quantize=True)}, "--quantize"),
        ({"template": "no-such-template"}, "no-such-template"),
        (
            {"method": "grpo", "prompts_dir": Path()},
            "--prompts-dir does not reach the judge that",
        ),
        ({"method": "ppo", "judge_thinking": "on"}, "--judge-thinking does not reach the judge that rewards"),
        (
            {"method": "rloo", "engine": EngineSettings(template_option=("enable_thinking=false",))},
            "--template-option does not reach the judge that rewards",
        ),
        ({"quality": "stict"}, "there is no quality 'stict'; name default, strict, none or a YAML file"),
    ],
)
def test_the_plan_refuses_what_the_run_would_refuse(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    own = own_constitution(tmp_path)
    values = {"constitution": "medical", "out": tmp_path / "l", **changes}
    values["constitution"] = own if values["constitution"] == "mine" else values["constitution"]
    with pytest.raises(CaiError) as told:
        plan_loop(LoopSettings(**values))  # type: ignore[arg-type]
    assert says in str(told.value)
    assert not (tmp_path / "l").exists()


def test_shipped_sets_are_named_alike_for_both_kinds_of_prompts(tmp_path: Path) -> None:
    settings = LoopSettings(own_constitution(tmp_path), prompts=source("tiny"), evaluation_prompts=source("tiny"))
    plan = plan_loop(settings)
    assert (plan.prompts, plan.evaluation_prompts) == (600, 800)
    assert plan.content["prompts-content"] != plan.content["evaluation-prompts-content"]


def test_generate_takes_a_shipped_set_by_name_and_prefers_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = GenerateSettings("medical", prompts=source("tiny"))
    assert plan_generate(wanted).prompts.size == 600
    Path("tiny").mkdir()
    Path("tiny", "mine.jsonl").write_text('{"prompt": "mine"}\n')
    assert plan_generate(wanted).prompts.size == 1
    with pytest.raises(CaiError, match="there are no seed prompts medcal; give --prompts a file or one of coding"):
        plan_generate(GenerateSettings("medical", prompts=source("medcal")))


def test_other_templates_calibrations_and_weights_of_the_judge_are_other_content(tmp_path: Path) -> None:
    templates, judge, calibration = tmp_path / "templates", tmp_path / "judge", tmp_path / "calibration.json"
    shutil.copytree("prompts/templates", templates)
    judge.mkdir()
    (judge / "config.json").write_text("{}")
    (judge / "model.safetensors").write_bytes(b"1")
    calibrations = [JudgeCalibration(("m",), {}, (weight,), 100, 100, 0.2, 0.02, 0.2, 0.1) for weight in (0.5, 0.6)]
    calibration.write_bytes(write_calibrations(calibrations[:1]))
    settings = LoopSettings(
        "medical", judge=ModelSpec.checkpoint(str(judge)), prompts_dir=templates, judge_calibration=calibration
    )
    first = plan_loop(settings).content
    words = next(templates.glob("en/critique*"))
    words.write_text(words.read_text() + "Be brief.\n")
    (judge / "model.safetensors").write_bytes(b"2")
    calibration.write_bytes(write_calibrations(calibrations[1:]))
    second = plan_loop(settings).content
    assert {name for name in second if first[name] != second[name]} == {
        "templates-content",
        "judge-content",
        "judge-calibration-content",
    }


def test_of_a_server_s_model_no_folder_of_its_name_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpt").mkdir()
    Path("gpt", "notes.json").write_text("{}")
    settings = LoopSettings("medical", judge=ModelSpec.parse("openai:gpt@http://127.0.0.1:1/v1"))
    assert "judge-content" not in plan_loop(settings).content
