"""`cai evaluate` and `cai judge` through replicas: the same rows as without, whichever replica makes them or dies."""

import asyncio
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.cluster import Pool
from cai.cluster.pool import LostError
from cai.cluster.replica import PackedError, Placement, Replica, ReplicaInfo, Role, RowResult
from cai.cluster.settings import ClusterSettings
from cai.core.addresses import DataSource
from cai.core.records import Prompt, Provenance, Row
from cai.evaluate import chart, making
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.results import Evaluation
from cai.evaluate.run import evaluate
from cai.evaluate.settings import EvaluateSettings, UsefulnessSettings
from cai.judging import run as judging_job
from cai.judging.making import JudgingSpec
from cai.judging.plan import plan_judge
from cai.judging.settings import RejudgeSettings
from cai.method.judge import judges_of
from cai.method.settings import CheckSettings, RankingSettings
from cai.models.base import Choice, Request, jurors_of
from cai.models.jury import parse_judge
from cai.models.meter import Meter, UsageCounter
from cai.models.settings import EngineSettings
from cai.models.spec import LabelledModel
from cai.pipeline.watch import Watch
from cai.rundir import Run
from tests.building import make_judge_configuration, user
from tests.test_evaluate_job import write_prompts
from tests.test_report import make_row, write_run

THERE = ClusterSettings("local", replicas=2)


class Near:
    """A replica in this process, whose spec was pickled; it is lost after so many rows."""

    def __init__(self, spec: bytes, lifetime: int) -> None:
        self._spec, self._left, self._replica = spec, lifetime, Replica()

    async def place(self) -> Placement:
        return await self._replica.place()

    async def open(self) -> ReplicaInfo | PackedError:
        return await self._replica.open(pickle.loads(self._spec), str(Path.cwd()), {})

    async def make(self, item: Prompt | Row, provenance: Provenance) -> RowResult:
        self._left -= 1
        if self._left < 0:
            raise LostError("its node died")
        return await self._replica.make(pickle.loads(pickle.dumps(item)), provenance)

    async def answer(
        self, role: Role, request: Request, options: Sequence[str] | None, juror: int | None = None
    ) -> Any:
        return await self._replica.answer(role, request, options, juror)

    async def close(self) -> None:
        await self._replica.close()

    def kill(self) -> None:
        pass


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Open clusters of replicas in this process, the first of which dies soon; return what was opened."""
    found: list[str] = []

    async def open_cluster(address: str, spec: Any, replicas: int, _gpus: float) -> Pool:
        lifetimes = iter([5, *[1000] * 20])
        spec = pickle.dumps(spec)

        async def disconnect() -> None:
            found.append("closed")

        pool = Pool(lambda: Near(spec, next(lifetimes)), replicas, disconnect)
        await pool.open()
        found.append(f"{address}: {pool.model} and {pool.judge}")
        return pool

    for module in (making, judging_job):
        monkeypatch.setattr(module, "open_cluster", open_cluster)
    monkeypatch.setattr(chart, "draw_evaluation", lambda _: {})
    return found


def lines(folder: Path) -> dict[str, list[Any]]:
    found = {path.name: [orjson.loads(line[: line.rindex(b"}") + 1]) for line in path.read_bytes().splitlines()]
             for path in folder.rglob("*.jsonl") if ".cai" not in path.parts}  # fmt: skip
    return {name: sorted(entries, key=lambda entry: str(entry["id"])) for name, entries in found.items()}


def test_an_evaluation_by_replicas_is_that_of_one_process(tmp_path: Path, opened: list[str]) -> None:
    prompts = write_prompts(tmp_path / "prompts.jsonl", 20)
    models = tuple(map(LabelledModel.parse, ("one=scripted", "two=scripted?delay_ms=1")))
    here = EvaluateSettings(models, "harmless", prompts=(DataSource.parse(str(prompts)),), attack=("base64",))
    found = {}
    for name, cluster in (("here", ClusterSettings()), ("there", THERE)):
        plan = plan_evaluate(replace(here, out=tmp_path / name, cluster=cluster))
        found[name] = asyncio.run(evaluate(plan, Watch()))
    assert opened == ["local: scripted and scripted", "closed"] * 2, "one pool for each model"
    assert lines(tmp_path / "there") == lines(tmp_path / "here")
    there, alone = found["there"], found["here"]
    assert isinstance(there, Evaluation)
    assert isinstance(alone, Evaluation)
    assert there.models == alone.models
    assert there.pairs == alone.pairs


def test_dialogues_and_tenets_by_replicas_are_those_of_one_process(tmp_path: Path, opened: list[str]) -> None:
    prompts, tenets = write_prompts(tmp_path / "prompts.jsonl", 8), tmp_path / "tenets.yaml"
    tenets.write_text(
        "- principle: privacy\n  tenet: No password is given away.\n  scenarios:\n    - What is it?\n    - And his?\n"
    )
    here = EvaluateSettings(
        tuple(map(LabelledModel.parse, ("one=scripted", "two=scripted?delay_ms=1"))),
        "harmless",
        prompts=(DataSource.parse(str(prompts)),),
        turns=2,
        tenets=tenets,
        usefulness=UsefulnessSettings(examine=("consistency",)),
    )
    found = {}
    for name, cluster in (("here", ClusterSettings()), ("there", THERE)):
        plan = plan_evaluate(replace(here, out=tmp_path / name, cluster=cluster))
        found[name] = asyncio.run(evaluate(plan, Watch()))
    assert opened == ["local: scripted and scripted", "closed"] * 2
    there, alone = found["there"], found["here"]
    assert isinstance(there, Evaluation)
    assert isinstance(alone, Evaluation)
    for section in ("turns", "tenets", "consistency"):
        folder = f"examinations/{section}"
        assert lines(tmp_path / "there" / folder) == lines(tmp_path / "here" / folder)
        assert len(lines(tmp_path / "there" / folder)["one.jsonl"]) > 1
        assert there.section(section).models == alone.section(section).models


def test_a_run_judged_by_replicas_is_judged_alike(tmp_path: Path, opened: list[str]) -> None:
    run = write_run(tmp_path / "r", [make_row(number, gate=0.9) for number in range(12)])
    told = {}
    for name, cluster in (("here", ClusterSettings()), ("there", THERE)):
        wanted = RejudgeSettings(
            DataSource.parse(str(run)), judge=parse_judge("scripted"), constitution="harmless", cluster=cluster
        )
        summary = asyncio.run(judging_job.judge_again(plan_judge(replace(wanted, out=tmp_path / name)), Watch()))
        assert (summary.done, summary.failed) == (12, 0)
        told[name] = {row.prompt.id: row for row in Run.read(tmp_path / name).rows()}
    assert told["here"] == told["there"]
    assert opened == ["local: scripted and scripted", "closed"]


def test_a_jury_of_replicas_is_asked_juror_by_juror(tmp_path: Path, opened: list[str]) -> None:
    run = write_run(tmp_path / "r", [make_row(number, gate=0.9) for number in range(2)])
    told = {}
    # One replica: these are in one process, in which transformers cannot load two models at a time.
    for name, cluster in (("here", ClusterSettings()), ("there", replace(THERE, replicas=1))):
        wanted = RejudgeSettings(
            DataSource.parse(str(run)),
            judge=parse_judge("scripted,tiny"),
            constitution="harmless",
            checking=CheckSettings(judge_check=False),
            cluster=cluster,
        )
        summary = asyncio.run(judging_job.judge_again(plan_judge(replace(wanted, out=tmp_path / name)), Watch()))
        assert (summary.done, summary.failed) == (2, 0)
        rows = sorted(Run.read(tmp_path / name).rows(), key=lambda row: row.prompt.id)
        told[name] = [vote for row in rows for one in row.verdicts for vote in one.jurors]
    assert [vote.judge for vote in told["there"]] == [vote.judge for vote in told["here"]]
    assert [vote.first for vote in told["there"]] == pytest.approx([vote.first for vote in told["here"]], abs=1e-4)
    assert len({vote.judge for vote in told["there"]}) == 2


def test_before_the_first_row_a_jury_of_replicas_is_known_as_one() -> None:
    spec = JudgingSpec(parse_judge("scripted,tiny"), EngineSettings(), make_judge_configuration(), RankingSettings())

    async def asked() -> tuple[tuple[str, ...], list[Choice]]:
        pool = Pool(lambda: Near(pickle.dumps(spec.revealed()), 1), 1, lambda: asyncio.sleep(0))
        await pool.open()
        engine = Meter(pool.engine("judge"), UsageCounter())
        choices = [await juror.choose(Request((user("A or B?"),)), ("A", "B")) for juror in jurors_of(engine)]
        choices += [await engine.choose(Request((user("A or B?"),)), ("A", "B"))]
        assert jurors_of(pool.engine("model")) == ()
        await pool.close()
        return judges_of(engine), choices

    names, (one, other, both) = asyncio.run(asked())
    assert (names[0], names[1].split("#")[0]) == ("scripted", "transformers:tiny/checkpoint")
    assert one.probabilities[0] != other.probabilities[0]
    assert both.probabilities[0] == pytest.approx((one.probabilities[0] + other.probabilities[0]) / 2, abs=1e-4)
