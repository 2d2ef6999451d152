"""`plan` and `run_async`: the two other ways to call a function of the API, with its own arguments.

    cai.plan(cai.generate, constitution="medical")                what would be done
    cai.generate(constitution="medical")                          done
    await cai.run_async(cai.generate, constitution="medical")     done on the running event loop

They are to these functions what `asyncio.to_thread` is to any: one function each in place of a second and third
signature for every verb, which would have to be kept alike (DESIGN: no sync and async twins).
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from cai.api.benching import JudgeBenchCall, judge_bench
from cai.api.drafting import DraftTenetsCall, draft_tenets
from cai.api.evaluation import EvaluateCall, evaluate
from cai.api.generation import GenerateCall, JudgeCall, generate, judge
from cai.api.looping import LoopCall, loop
from cai.api.options import checked
from cai.api.training import TrainCall, train
from cai.api.working import Call, Plan
from cai.core.errors import UsageError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_CALLS: Mapping[Callable[..., Any], Callable[[dict[str, Any]], Call[Any]]] = {
    generate: GenerateCall,
    judge: JudgeCall,
    train: TrainCall,
    evaluate: EvaluateCall,
    judge_bench: JudgeBenchCall,
    draft_tenets: DraftTenetsCall,
    loop: LoopCall,
}


def plan(verb: Callable[Arguments, Any], *arguments: Arguments.args, **options: Arguments.kwargs) -> Plan:
    """Return what `verb(…)` would do, with every default filled in: `--dry-run` of the command line.

    `verb` is `generate`, `judge`, `judge_bench`, `train`, `evaluate`, `draft_tenets` or `loop`. Files are read,
    tokenizers perhaps; no model is loaded and nothing is written. Raises UsageError as the function itself does.
    """
    return _call_of(verb, *arguments, **options).plan()


async def run_async(
    verb: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Result:
    """Do what `verb(…)` does without blocking the event loop, and return what it returns.

    `generate`, `judge`, `judge_bench`, `evaluate` and `draft_tenets` work on the running loop, on which an engine or an
    async function that was given may hold connections of its own; a cancelled task stops at once, with everything kept
    that was finished. `train` and `loop` work in a thread, which cannot be cancelled.
    """
    call: Call[Result] = _call_of(verb, *arguments, **options)
    return await call.run_async()


def _call_of(verb: Callable[..., Any], *arguments: Any, **options: Any) -> Call[Any]:
    if verb not in _CALLS:
        known = ", ".join(function.__name__ for function in _CALLS)
        raise UsageError(f"{getattr(verb, '__name__', verb)!r} cannot be planned or awaited; these can: {known}")
    bound = inspect.signature(verb).bind(*arguments, **options)
    bound.apply_defaults()
    return _CALLS[verb](checked(verb, bound.arguments))
