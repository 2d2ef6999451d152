"""Constitutions and models, looked at before anything is made with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from cai.api.given import Model, data_source, model_spec
from cai.api.options import checked
from cai.api.runs import RunDirectory as Run
from cai.api.working import run_watched
from cai.constitution import Constitution, Remark, load_sources, resolve
from cai.constitution.lint import lint
from cai.core.errors import UsageError
from cai.judge_checking import check_alone
from cai.method.example import example_verdict
from cai.method.judge_check import JudgeCheck
from cai.models import EngineOptions, check_engine_options
from cai.models.check import Findings
from cai.models.check import check_model as check
from cai.models.checkpoint.convert import convert_gguf
from cai.pipeline.watch import Watch

if TYPE_CHECKING:
    from cai.data.examples.runs import RunExamples
    from cai.data.examples.shaping import ExampleKind
    from cai.data.examples.tables import TableExamples


def load_constitution(constitution: str | Path) -> Constitution:
    """Return a constitution, a YAML file or a shipped one by name, with all that it extends.

    Raises ConstitutionError with a line `file:line: message` for everything that is wrong.
    """
    return resolve(load_sources(str(constitution)))


def check_constitution(constitution: str | Path) -> tuple[Remark, ...]:
    """Return what the author of a valid constitution cannot have meant: remarks with path, line and message.

    Raises ConstitutionError as `load_constitution` does when it is not valid.
    """
    return tuple(lint(load_sources(str(constitution))))


def read_examples(
    data: str | Path | Run, *, kind: "ExampleKind | None" = None, split: str | None = None, shape: str | None = None
) -> "TableExamples | RunExamples":
    """Return what a run, a file or a data set holds, in TRL's columns: `kind`, `remarks`, and `examples()`.

    `examples()` reads from the beginning: it yields every example with its place and values, and every row that gives
    none with its place and cause. `kind` is supervised, pairs, ranked, labelled, scored or prompts, None for the one
    that says most; `split` is the one that is meant of several; `shape` is the layout of a public data set where it
    cannot be told. Raises InputError or RunError in one sentence.
    """
    from cai.data.examples.opening import open_examples  # noqa: PLC0415  (pyarrow)

    return open_examples(data_source(data), kind, split=split, shape=shape)


@overload
def check_model(
    model: Model,
    *,
    judge: Literal[False] = False,
    constitution: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    engine_option: Sequence[str] = (),
    template_option: Sequence[str] = (),
    progress: bool = True,
) -> Findings: ...


@overload
def check_model(
    model: Model,
    *,
    judge: Literal[True],
    constitution: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    engine_option: Sequence[str] = (),
    template_option: Sequence[str] = (),
    progress: bool = True,
) -> JudgeCheck: ...


def check_model(
    model: Model,
    *,
    judge: bool = False,
    constitution: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    engine_option: Sequence[str] = (),
    template_option: Sequence[str] = (),
    progress: bool = True,
) -> Findings | JudgeCheck:
    """Open a model, ask it something, and return what it can do and how fast, in tokens a second.

    With `judge` it is tested as a judge and as a gate on pairs whose better answer is known, under a `constitution`
    (None: `harmless`), and what was found is returned: counts, `told()` in a line, `problems()` in sentences. `model`,
    `device`, `dtype`, `engine_option`, `template_option` and `progress` are as for `generate`. Takes a minute at most
    once the model is open. Raises ModelError when it cannot be opened, EngineError when it does not answer, UsageError
    where a constitution is given without `judge`.
    """
    checked(check_model, locals())
    if constitution is not None and not judge:
        raise UsageError("constitution goes with judge=True: nothing else is tested under one")
    spec = model_spec(model)
    check_engine_options((spec,), engine_option, tuple(template_option))

    async def job(watch: Watch) -> Findings | JudgeCheck:
        options = EngineOptions(
            device=device,
            dtype=dtype,
            engine_options=tuple(engine_option),
            template_options=tuple(template_option),
            say=watch.say,
        )
        if judge:
            return await check_alone(spec, options, constitution)
        return await check(spec, options, *example_verdict())

    return run_watched(job, progress=progress)


def convert_model(file: str | Path, out: str | Path) -> Path:
    """Write the model of a GGUF `file` into `out`, new or an empty directory, in the usual form; return its whole path.

    Weights are written in float32, which holds each quantized value exactly. Raises ModelError.
    """
    checked(convert_model, locals())
    return convert_gguf(str(file), out)
