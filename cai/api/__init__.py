"""The public API: what the command line does, as functions on Python objects.

`cai` itself has these names (`cai.generate`), imported when they are first asked for. Nothing inside the package
imports them: what the API and the command line share lies below both, in the verbs' settings, plans and runs.
"""

from cai.api.benching import judge_bench
from cai.api.checking import check
from cai.api.deploying import plan_abtest, read_abtest
from cai.api.drafting import draft_tenets
from cai.api.evaluation import evaluate, register_measure
from cai.api.generation import generate, judge
from cai.api.given import PromptPlaces
from cai.api.looking import check_constitution, check_model, convert_model, load_constitution, read_examples
from cai.api.looping import LoopResult, loop
from cai.api.planning import plan, run_async
from cai.api.reporting import report
from cai.api.reviewing import agreement, review
from cai.api.runs import RunDirectory as Run
from cai.api.runs import open_run
from cai.api.training import Training, advise, train
from cai.api.working import Plan
from cai.check.results import DataCheck
from cai.core.records import Message, Row
from cai.evaluate.results import Evaluation
from cai.judge_bench.results import JudgeBench
from cai.models import register_backend
from cai.models.function import engine_from
from cai.report.outcome import Report
from cai.tenets.run import DraftedTenets
from cai.train.methods import register as register_method

__all__ = [
    "DataCheck",
    "DraftedTenets",
    "Evaluation",
    "JudgeBench",
    "LoopResult",
    "Message",
    "Plan",
    "PromptPlaces",
    "Report",
    "Row",
    "Run",
    "Training",
    "advise",
    "agreement",
    "check",
    "check_constitution",
    "check_model",
    "convert_model",
    "draft_tenets",
    "engine_from",
    "evaluate",
    "generate",
    "judge",
    "judge_bench",
    "load_constitution",
    "loop",
    "open_run",
    "plan",
    "plan_abtest",
    "read_abtest",
    "read_examples",
    "register_backend",
    "register_measure",
    "register_method",
    "report",
    "review",
    "run_async",
    "train",
]
