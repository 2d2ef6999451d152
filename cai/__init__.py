"""cai: Constitutional AI and RLAIF from a constitution in YAML and a local model.

    run = cai.generate(constitution="medical", model="transformers:Qwen/Qwen3-4B", prompts=["…"], out="runs/x")
    for row in run: ...                    # prompt, traces, verdicts
    sft = run.dataset("sft")               # datasets.Dataset
    trained = cai.train("dpo", data=run, model="Qwen/Qwen3-4B", out="models/x")
    cai.evaluate([trained.model], constitution="medical")

Names are imported when they are first asked for: `import cai` itself waits for nothing. Errors are in `cai.errors`.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cai import errors
    from cai.api import (
        DataCheck,
        DraftedTenets,
        Evaluation,
        JudgeBench,
        LoopResult,
        Message,
        Plan,
        PromptPlaces,
        Report,
        Row,
        Run,
        Training,
        advise,
        agreement,
        check,
        check_constitution,
        check_model,
        convert_model,
        draft_tenets,
        engine_from,
        evaluate,
        generate,
        judge,
        judge_bench,
        load_constitution,
        loop,
        open_run,
        plan,
        plan_abtest,
        read_abtest,
        read_examples,
        register_backend,
        register_measure,
        register_method,
        report,
        review,
        run_async,
        train,
    )

__version__ = "0.1.0"

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
    "__version__",
    "advise",
    "agreement",
    "check",
    "check_constitution",
    "check_model",
    "convert_model",
    "draft_tenets",
    "engine_from",
    "errors",
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


if not TYPE_CHECKING:  # or every name would be one

    def __getattr__(name: str) -> Any:
        """Import a public name, once."""
        if name == "errors":
            return importlib.import_module("cai.errors")
        if name not in __all__:
            raise AttributeError(f"module 'cai' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module("cai.api"), name)
        return value


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """The package; its functions keep their names although the packages that they are made of have the same.

    Importing `cai.train.run` sets `cai.train` to the package `cai.train`, for whoever looks at it as an attribute. Here
    it does not: `cai.train` is the function, before and after, and `from cai.train.run import …` finds the package.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and name != "errors" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
