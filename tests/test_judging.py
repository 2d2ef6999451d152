"""Judging a run again: what the new run keeps of how the one before was judged."""

import asyncio
import shutil
from pathlib import Path

from cai.core.addresses import DataSource
from cai.core.resources import shipped
from cai.judging.plan import plan_judge
from cai.judging.run import judge_again
from cai.judging.settings import RejudgeSettings
from cai.method.settings import CheckSettings
from cai.models.spec import ModelSpec
from cai.pipeline.watch import Watch
from cai.rundir import Run
from tests.test_report import make_row, write_run


def test_templates_of_one_s_own_are_kept_however_often_a_run_is_judged(tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(shipped("prompts", "templates"), own)
    for template in own.glob("en/*judge*.j2"):
        template.write_text(template.read_text() + "Weigh it well.\n")
    source, directory = write_run(tmp_path / "r", [make_row(1)]), own
    used = []
    for number in range(3):
        out = tmp_path / f"judged-{number}"
        settings = RejudgeSettings(
            DataSource.parse(str(source)),
            judge=ModelSpec.parse("scripted"),
            constitution="harmless",
            checking=CheckSettings(judge_check=False),
            prompts_dir=directory if number == 0 else None,
            out=out,
        )
        plan = plan_judge(settings)
        used.append(plan.judge_configuration.templates.fingerprint)
        asyncio.run(judge_again(plan, Watch()))
        assert Run.read(out).manifest.settings["prompts_dir"] == str(own)
        source = out
    assert used == used[:1] * 3
