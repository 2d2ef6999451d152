"""Answers of several models to one prompt: who said what, what is refused, and which model is preferred."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import cai
from cai.constitution import RevisionPlan
from cai.core.errors import UsageError
from cai.core.records import Message, Provenance, Row, Trace, Verdict
from cai.core.shares import wilson
from cai.data.export.ranking import ranked_answers
from cai.data.export.standings import Standings, StandingsCounter
from cai.data.quality import count_left_out
from cai.generate.plan import plan_generate
from cai.generate.settings import GenerateSettings
from cai.method.row import Generation, Judging
from cai.method.settings import RankingSettings
from cai.models.base import Request
from cai.models.meter import UsageCounter
from cai.models.scripted import ScriptedEngine, default_script
from cai.models.spec import ModelSpec
from cai.rundir import Run
from tests.building import make_judge_configuration, make_method, make_prompt, shown_answers
from tests.disturbing import exports, finish, start, wait_until
from tests.echoing import echoing
from tests.storage import abstention, verdict
from tests.test_export import row_of

torch.set_num_threads(1)
PROMPTS = ["Is tea safe?", "May I take ibuprofen?"]


class Named(ScriptedEngine):
    """A model with a name, which says it in its answers, and as a judge prefers them."""

    def __init__(self, name: str) -> None:
        super().__init__(self._answer, self._prefer, concurrency=4)
        self.name = name

    def _answer(self, request: Request) -> str:
        return f"{self.name} says {request.seed}"

    def _prefer(self, messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        first, second = shown_answers(messages[-1]["content"])
        leads = (self.name in first) - (self.name in second)
        return [0.5 + 0.4 * leads, 0.5 - 0.4 * leads]


def test_every_model_answers_and_the_row_says_whose_each_answer_is() -> None:
    one, other = Named("one"), Named("other")
    judging = Judging(one, make_judge_configuration(), UsageCounter(), RankingSettings(rank=True))
    plan = RevisionPlan(schedule="walk", rounds=1, gate=False)
    provenance = Provenance("one", "one", "c", "c", "t", "t", "i", 0, 0)
    generation = Generation(one, make_method(plan), 2, provenance, judging, (other,))
    row = asyncio.run(generation.row(make_prompt()))
    assert [(trace.sample, trace.model) for trace in row.traces] == [(0, "one"), (1, "one"), (2, "other"), (3, "other")]
    for trace in row.traces:
        said = [trace.response, trace.final, *(turn.critique for turn in trace.rounds)]
        assert all(text is not None and text.startswith(f"{trace.model} says") for text in said)
    (found,) = ranked_answers(row, count_left_out(Counter()))
    assert [answer["model"] for answer in found["answers"]] == ["one"] * 4 + ["other"] * 4
    counter = StandingsCounter()
    counter.count(row)
    standings = counter.standings()
    (pair,) = standings.pairs
    assert (pair.a, pair.b, pair.prompts) == ("one", "other", 1)
    assert pair.share.value == pytest.approx(0.9)
    assert standings.own is not None
    assert standings.own.told.endswith("whether it prefers its own responses, too few prompts tell")
    own = replace(standings.own, prompts=20, compared=20, share=wilson(16, 20)).told
    assert own.startswith("the judge one answered too and preferred its own response in 80% [58%, 92%] of 20 prompts;")


def standings_of(rows: Sequence[Row]) -> Standings:
    counter = StandingsCounter()
    for row in rows:
        counter.count(row)
    return counter.standings()


def answered(models: Sequence[str], *verdicts: Verdict) -> Row:
    traces = [
        Trace(sample, 0, f"text {sample}", (), f"text {sample}", False, model=m) for sample, m in enumerate(models)
    ]
    return row_of(tuple(traces), verdicts)


def test_a_prompt_counts_once_whatever_the_number_of_its_comparisons() -> None:
    many = [verdict(f"response:{a}", f"response:{b}", 0.9, 0.9) for a in (0, 1) for b in (2, 3)]
    rows = [answered("aabb", *many), answered("ab", verdict("response:0", "response:1", 0.2, 0.2))]
    rows.append(answered("ab", abstention("response:0", "response:1", "low mass")))
    rows.append(answered("aa", verdict("response:0", "response:1", 0.9, 0.9)))
    (pair,) = standings_of(rows).pairs
    assert (pair.prompts, pair.compared) == (2, 3)
    assert pair.share.value == pytest.approx((0.9 + 0.2) / 2)
    assert pair.told == "too few prompts for a share, 2 of 3 decided"
    assert standings_of(rows).own is None, "the judge is none of them"
    assert standings_of(rows[3:]) == Standings()


def test_strengths_order_models_that_never_met_and_swapping_says_the_same() -> None:
    rows = [answered("ab", verdict("response:0", "response:1", 0.8, 0.8)) for _ in range(30)]
    rows += [answered("bc", verdict("response:0", "response:1", 0.8, 0.8)) for _ in range(30)]
    swapped = [answered("ba", verdict("response:1", "response:0", 0.8, 0.8)) for _ in range(30)] + rows[30:]
    found = standings_of(rows)
    assert found == standings_of(swapped)
    assert [one.model for one in found.strengths] == ["a", "b", "c"]
    a, b, c = found.strengths
    assert a.value - b.value == pytest.approx(1.386, abs=0.02), "the log-odds of 0.8"
    assert a.value + b.value + c.value == pytest.approx(0, abs=1e-5)
    assert b.low < 0 < b.high
    assert a.low > 0 > c.high
    assert found.pairs[0].told.startswith("80% [")


def settings_of(**changes: object) -> GenerateSettings:
    return GenerateSettings("medical", model=ModelSpec.parse("scripted"), **changes)  # type: ignore[arg-type]


def test_a_model_that_answers_twice_is_refused_by_what_was_typed_and_by_its_name() -> None:
    with pytest.raises(UsageError, match=r"--responders scripted answers already; .* raise --samples"):
        plan_generate(settings_of(responders=(ModelSpec.parse("scripted"),)))
    engines = [default_script(), default_script()]
    with pytest.raises(cai.errors.ModelError, match="two models that answer are both called scripted"):
        cai.generate(constitution="medical", model=engines[0], responders=engines[1:], prompts=PROMPTS, progress=False)
    with pytest.raises(UsageError, match="responders is 'tiny'; give a list of models"):
        cai.generate(constitution="medical", responders="tiny", prompts=PROMPTS)


def test_a_cluster_is_refused_in_one_sentence() -> None:
    with pytest.raises(UsageError, match="--responders needs all models in one place, and"):
        cai.generate(constitution="medical", model="tiny", responders=["scripted"], cluster="local", prompts=PROMPTS)


def test_a_server_and_a_model_in_this_process_answer_side_by_side(tmp_path: Path) -> None:
    with echoing() as server:
        run = cai.generate(
            constitution="medical",
            model=f"openai:m@http://{server.host}/v1",
            responders=["tiny"],
            judge="scripted",
            samples=1,
            rounds=0,
            rank=True,
            max_tokens=8,
            prompts=PROMPTS,
            judge_check=False,
            out=tmp_path / "run",
            progress=False,
        )
        names = [trace.model for trace in next(iter(run)).traces]
        assert "m" in str(names[0])
        assert "tiny" in str(names[1])
        assert run.manifest.identity["responders"] == names[1]
        assert all([trace.model for trace in row.traces] == names for row in run)
        assert run.summary is not None
        assert run.summary.done == len(PROMPTS)


def test_what_is_foreseen_counts_every_model(tmp_path: Path) -> None:
    def foreseen(responders: Sequence[str]) -> int:
        plan = cai.plan(
            cai.generate, constitution="medical", model="scripted", responders=responders, rounds=0, prompts=PROMPTS,
            samples=2, judge="scripted", out=tmp_path / "run",
        )  # fmt: skip
        assert plan.estimate is not None
        return plan.estimate.expected.requests

    assert foreseen([]) == len(PROMPTS) * (2 + 2), "two responses, one pair in both orders"
    assert foreseen(["tiny"]) == len(PROMPTS) * (4 + 6 * 2)


def test_a_run_is_ranked_by_judging_it_again(tmp_path: Path) -> None:
    run = cai.generate(
        constitution="medical", model=Named("one"), responders=[Named("other")], prompts=PROMPTS, rounds=0,
        judge_check=False, out=tmp_path / "run", progress=False,
    )  # fmt: skip
    shared: dict[str, Any] = {"judge": "scripted", "rank": True, "judge_check": False, "progress": False}
    with pytest.raises(UsageError, match="--rank-budget 2 is too little to rank 4 responses: give at least 3"):
        cai.judge(run, rank_budget=2, out=tmp_path / "never", **shared)
    again = cai.judge(run, rank_budget=3, out=tmp_path / "again", **shared)
    assert [len(row.verdicts) for row in run] == [6, 6]
    assert [len(row.verdicts) for row in again] == [3, 3]
    assert [row.traces for row in again] == [row.traces for row in run]
    assert again.manifest.identity["rank-budget"] == "3"


PROGRAM = """
import hashlib, sys
import cai
from cai.models.scripted import ScriptedEngine

def weigh(messages, options):
    share = hashlib.sha256(messages[-1]["content"].encode()).digest()[0] / 255
    return [share, 1 - share]

engines = [
    ScriptedEngine(lambda request, name=name: f"{name} says {request.seed}", weigh, name, 4, delay=0.004)
    for name in ("one", "two")
]
run = cai.generate(
    constitution="medical", model=engines[0], responders=engines[1:], limit=40, gate=False, schedule="sample", rounds=1,
    rank=True, rank_budget=8, samples=2, concurrency=4, judge_check=False, out=sys.argv[2], progress=False,
)
run.export(pairs="adjacent")
"""


@pytest.mark.slow
def test_killed_runs_of_several_models_rank_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", PROGRAM]
    whole, pieces = tmp_path / "whole" / "run", tmp_path / "pieces" / "run"

    def finished() -> int:
        return sum(1 for _ in Run.read(pieces).rows()) if (pieces / "run.json").exists() else 0

    process = start(command, pieces)
    wait_until(process, lambda: finished() >= 5)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    assert finished() < 40
    # Only what is killed needs a process of its own.
    for out in (pieces, whole):
        monkeypatch.setattr(sys, "argv", ["-c", "", str(out)])
        exec(PROGRAM, {})
    row = next(Run.read(pieces).rows())
    assert [trace.model for trace in row.traces] == ["one", "one", "two", "two"]
    assert len({(verdict.a_source, verdict.b_source) for verdict in row.verdicts}) == len(row.verdicts) == 8
    made = exports(pieces)
    assert made == exports(whole)
    assert "ranking/train.parquet" in made
