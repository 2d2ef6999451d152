"""A training run before any weights are loaded: data read, open numbers settled, mistakes told."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers import PreTrainedTokenizerBase

from cai import __version__
from cai.core.errors import UsageError
from cai.core.settings import json_value
from cai.data.examples.shaping import ExampleKind
from cai.models.checkpoint.pretrained import require_rows
from cai.train.adapters import ADAPTERS
from cai.train.adapters.building import settle_adapter
from cai.train.arguments import check_trackers, evaluates
from cai.train.data.collecting import DIFFICULTY, PRINCIPLES
from cai.train.data.examples import Examples, load_examples
from cai.train.data.fitting import fit_examples
from cai.train.data.hard_labels import without_ties
from cai.train.data.pretraining import load_pretraining, told_together
from cai.train.data.reasoning import place_reasoning
from cai.train.example_tokens import Cut, ExampleTokens, count_cut, count_tokens
from cai.train.hardware import Choices, Hardware, Workload, settle
from cai.train.machine import Machine, find_machine
from cai.train.methods import find_method
from cai.train.methods.descriptor import TrainingMethod
from cai.train.methods.online import OnlineSettings, name_reward
from cai.train.model import ModelShape, ModelSource, find_source, load_tokenizer, measure
from cai.train.quiet import silent_libraries
from cai.train.settings import AdapterSettings, TrainSettings
from cai.train.tasks.planning import TaskPlan, difficulty_source, is_ordered, plan_tasks, settle_tasks, shared_batch
from cai.train.template.preparing import Prepared, prepare_template
from cai.train.workload import sequences_of, workload_of


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """What a run will do; `settings` have their open numbers filled in, `steps` are the optimiser's, about.

    `template` says in a phrase which chat template is trained with, `ends` are the tokens that close an answer in it.
    `tasks` are those that are told apart, or one in an order of its own; None where there is neither. `pretraining` is
    what a policy's likelihood is held up on meanwhile; what is to be said of it, `examples` say. `reward` names who
    rewards responses, by content.
    """

    settings: TrainSettings
    source: ModelSource
    shape: ModelShape
    tokenizer: PreTrainedTokenizerBase
    template: str
    ends: tuple[int, ...]
    examples: Examples
    hardware: Hardware
    cut: Cut
    tasks: TaskPlan | None
    steps: int
    pretraining: Examples | None = None
    reward: Mapping[str, str] = field(default_factory=dict)

    @property
    def method(self) -> TrainingMethod:
        """How it is trained."""
        return find_method(self.settings.method)

    def identity(self) -> dict[str, str]:
        """Return what must stay the same while one OUT is filled, in words a person can compare.

        How a step's examples are shared out between devices and passes is not among it.
        """
        settings = self.settings
        fit, adapter = settings.fit, settings.adapter
        values: dict[str, Any] = {
            "cai": __version__,
            "method": settings.method,
            "model": self.source.name,
            "data": self.examples.fingerprint,
            "template": self.template,
            "adapter": adapter.adapter,
            **({} if adapter.adapter == "none" else _identity(adapter)),
            "merge": adapter.merge,
            "epochs": fit.epochs,
            "max-steps": fit.max_steps,
            "learning-rate": fit.learning_rate,
            "batch-size": fit.batch_size,
            "max-length": fit.max_length,
            "packing": fit.packing,
            "precision": f"{self.hardware.weights}{', bfloat16 arithmetic' if self.hardware.bfloat16 else ''}",
            "evaluations": fit.evaluations,
            "patience": fit.patience,
            "seed": settings.seed,
            **({} if self.tasks is None else asdict(settings.tasks)),
            **{name.replace("_", "-"): value for name, value in asdict(settings.own).items()},
            **self.reward,
            **({} if self.pretraining is None else {"pretraining-data": self.pretraining.fingerprint}),
        }
        return {name: str(value) for name, value in values.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the plan as what JSON can say."""
        examples = self.examples
        return {
            "settings": settings_as_json(self.settings),
            "model": asdict(self.shape) | {"name": self.source.name},
            "template": self.template,
            "data": {
                "kind": examples.kind,
                "train": len(examples.train),
                "test": 0 if examples.test is None else len(examples.test),
                "parts": [asdict(part) for part in examples.parts],
                "left_out": dict(examples.left_out),
                "cut": asdict(self.cut),
                "remarks": list(examples.remarks),
                "fingerprint": examples.fingerprint,
            },
            "tasks": None if self.tasks is None else asdict(self.tasks),
            "hardware": self.hardware.as_json(),
            "steps": self.steps,
        }


def plan_train(settings: TrainSettings) -> TrainPlan:
    """Read the data and settle what was left open; raises UsageError.

    In a launch of several processes the main one reads first, so that they do not write one cache together.
    """
    with silent_libraries():
        return _plan(settings)


def _plan(settings: TrainSettings) -> TrainPlan:
    method = find_method(settings.method)
    if settings.own is None:
        settings = replace(settings, own=method.own())
    if not isinstance(settings.own, method.own):
        raise UsageError(
            f"{method.name} has settings of its own, {method.own.__name__}, and was given {type(settings.own).__name__}"
        )
    if settings.data.reasoning and not method.learns_answers:
        raise UsageError(f"{method.name} learns no answers of the data, so none of their reasoning; leave it out")
    settings = replace(settings, adapter=settle_adapter(settings.adapter, method.head))
    check_trackers(settings.fit.report_to)
    _check_length(method, settings)
    machine = find_machine(settings.fit.device)
    settings = replace(settings, tasks=settle_tasks(method, settings, machine.processes))
    source = find_source(settings.model, settings.adapter)
    tokenizer = load_tokenizer(source)
    kind = method.data
    if method.settle is not None:
        own, kind = method.settle(settings.own, settings.data)
        settings = replace(settings, own=own)
    with PartialState(cpu=machine.kind == "cpu").main_process_first() if machine.processes > 1 else nullcontext():
        examples = _examples(method, kind, settings)
        texts = getattr(settings.own, "pretraining_data", None)
        pretraining = None if texts is None else load_pretraining(texts, settings.seed, examples.held_out)
    if kind == "pairs" and (not method.soft_labels or getattr(settings.own, "labels", "soft") == "hard"):
        examples = without_ties(examples)
    if settings.fit.patience is not None and not evaluates(examples):
        raise UsageError("--patience counts evaluations, and there is no test split; give --test-share more than 0")
    prepared, examples, pretraining = _prepared(method, settings, tokenizer, examples, pretraining)
    shape = measure(source, settings.adapter, method.head)
    require_rows(tokenizer, shape.vocabulary, source.name)
    tokens = count_tokens(tokenizer, examples)
    workload = workload_of(method, settings, shape, tokenizer, tokens.longest, sequences_of(method, examples))
    resolved, hardware = _resolve(method, settings, machine, shape, workload)
    whole = settings.adapter.adapter == "none"  # adapters are trained in float32
    gradient = shape.trained * (2 if hardware.weights == "bfloat16" and whole else 4)
    tasks = plan_tasks(resolved, examples.parts, hardware.micro_batch, gradient) if method.by_task else None
    return TrainPlan(
        resolved,
        source,
        shape,
        tokenizer,
        prepared.done,
        prepared.ends,
        examples,
        hardware,
        _cut(method, tokenizer, examples, tokens, hardware.max_length),
        tasks,
        tasks.total if tasks is not None and tasks.ordered else _steps(resolved, len(examples.train)),
        pretraining,
        name_reward(settings.own, settings.model) if isinstance(settings.own, OnlineSettings) else {},
    )


def _check_length(method: TrainingMethod, settings: TrainSettings) -> None:
    """Raise UsageError where a length is given that nothing has: responses that are drawn have their own."""
    texts = getattr(settings.own, "pretraining_data", None)
    if method.draws_responses and texts is None and settings.fit.max_length is not None:
        raise UsageError(
            f"--max-length does not bound the responses that {method.name} learns from: leave it out, and say with "
            "--max-tokens how long they may be"
        )


def _examples(method: TrainingMethod, kind: ExampleKind, settings: TrainSettings) -> Examples:
    several = len(settings.data.data) > 1 or is_ordered(settings.tasks)
    source = difficulty_source(settings.tasks)
    examples = load_examples(
        kind,
        settings.data,
        settings.seed,
        (PRINCIPLES,) if method.head == "score" else (),
        by_task=method.by_task and several,
        difficulty=source,
    )
    if source is not None and not np.ptp(examples.train[DIFFICULTY][:]):
        raise UsageError(f"--curriculum {source}: all examples are equally hard, so there is no order; leave it out")
    return examples


def _prepared(
    method: TrainingMethod,
    settings: TrainSettings,
    tokenizer: PreTrainedTokenizerBase,
    examples: Examples,
    pretraining: Examples | None,
) -> tuple[Prepared, Examples, Examples | None]:
    """Settle the chat template; return it, and the examples and the pre-training data as it takes them."""
    columns = examples.train.column_names
    if "text" in columns:
        if settings.template is not None:
            raise UsageError(
                f"--template {settings.template} is for conversations, and these are plain texts: leave it out"
            )
        return Prepared("none", ()), examples, pretraining
    prepared = prepare_template(
        tokenizer,
        settings.template,
        need_markers="messages" in (columns if pretraining is None else pretraining.train.column_names),
        need_ends=method.head == "language" and not method.draws_responses,
        reasoning=settings.data.reasoning,
    )
    examples = fit_examples(examples, tokenizer)
    if pretraining is not None:
        pretraining = fit_examples(pretraining, tokenizer)
        examples = told_together(examples, pretraining)
    if prepared.key is not None:
        examples = place_reasoning(examples, tokenizer, prepared.key, always=prepared.always)
    return prepared, examples, pretraining


def _identity(adapter: AdapterSettings) -> dict[str, Any]:
    own = ADAPTERS[adapter.adapter].own(adapter)
    return {name.replace("_", "-"): value for name, value in own.items()} | {"quantize": adapter.quantize}


def _cut(
    method: TrainingMethod, tokenizer: PreTrainedTokenizerBase, examples: Examples, tokens: ExampleTokens, length: int
) -> Cut:
    """Return what does not fit; a reward model leaves it out whole, and what a policy draws is not in the data."""
    if method.head == "score" or method.draws_responses:
        return Cut(length, 0, 0)
    return count_cut(tokenizer, examples, tokens, length)


def _resolve(
    method: TrainingMethod, settings: TrainSettings, machine: Machine, shape: ModelShape, workload: Workload
) -> tuple[TrainSettings, Hardware]:
    fit, adapter = settings.fit, settings.adapter
    online = settings.own if isinstance(settings.own, OnlineSettings) else None
    group = 1 if online is None else online.group
    batch = fit.batch_size or shared_batch(
        method.batch_size(shape.parameters, group, machine.processes), settings.tasks, len(settings.data.data)
    )
    if online is not None and group < 2 and not method.value_model:
        raise UsageError(f"--group {group}: a response is compared with others, so a group has two at least")
    if batch % group:
        raise UsageError(f"--batch-size {batch} is not a multiple of --group {group}, and groups stay together")
    packing = fit.packing and method.packs and not is_ordered(settings.tasks)
    choices = Choices(batch, fit.max_length, packing, fit.dtype)
    hardware = settle(machine, workload, choices)
    resolved = replace(
        fit,
        epochs=fit.epochs or method.epochs,
        learning_rate=fit.learning_rate or method.learning_rate(shape.parameters, adapter.adapter),
        batch_size=batch,
        max_length=fit.max_length or hardware.max_length,
    )
    return replace(settings, fit=resolved), hardware


def _steps(settings: TrainSettings, examples: int) -> int:
    """Return the optimiser's steps for so many examples, each of them answered as often as a group is large."""
    fit = settings.fit
    examples *= getattr(settings.own, "group", 1)
    if fit.max_steps is not None:
        return fit.max_steps
    assert fit.epochs is not None and fit.batch_size is not None  # noqa: S101, PT018  (they were just filled in)
    return math.ceil(fit.epochs * math.ceil(examples / fit.batch_size))


def settings_as_json(settings: TrainSettings) -> dict[str, Any]:
    """Return the settings that the method uses, flat, as what JSON can say; paths are absolute."""
    flat: dict[str, Any] = {
        "method": settings.method,
        "model": settings.model,
        "out": settings.out,
        "template": settings.template,
        "seed": settings.seed,
        **asdict(settings.data),
        **asdict(settings.adapter),
        **asdict(settings.fit),
        **(asdict(settings.tasks) if find_method(settings.method).by_task else {}),
        **asdict(settings.own),
    }
    return {name: json_value(value) for name, value in flat.items()}
