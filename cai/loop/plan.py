"""A loop before anything runs: its stages, what they read, and everything checked that does not wait for a stage.

`--dry-run` and the real run both go through here, so that one refuses what the other refuses, and names the loop's own
options. No model is loaded; the first model's tokenizer and files are looked at. Takes torch, for the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

from cai import __version__
from cai.constitution import load_constitution
from cai.core.counts import counted
from cai.core.errors import UsageError
from cai.core.paths import expand
from cai.core.settings import plain
from cai.data.prompt_sets import prompt_source
from cai.data.quality import load_quality
from cai.evaluate.plan import plan_evaluate
from cai.evaluate.settings import EvaluateSettings
from cai.generate.plan import GeneratePlan, plan_generate
from cai.generate.settings import GenerateSettings
from cai.loop.settings import LoopSettings
from cai.loop.stages import Stage, stages_of
from cai.models import check_engine_options
from cai.models.checkpoint.fingerprint import weights_hash
from cai.models.checkpoint.resolve import Checkpoint
from cai.models.jury import members_of
from cai.train.adapters.building import settle_adapter
from cai.train.launching import gpus_to_share
from cai.train.machine import find_machine
from cai.train.methods import REWARDED, find_method, loop_methods
from cai.train.model import find_source, load_tokenizer
from cai.train.quiet import silent_libraries
from cai.train.settings import TrainSettings
from cai.train.template.preparing import prepare_template


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """A loop with its files read and its defaults filled in; `content` are fingerprints of what it reads.

    `prompts` and `evaluation_prompts` are how many there are at most, None where that is not known.
    """

    settings: LoopSettings
    out: Path
    stages: tuple[Stage, ...]
    content: Mapping[str, str]
    prompts: int | None
    evaluation_prompts: int | None
    remarks: tuple[str, ...]
    """What a person must know of the files that were read, a line each."""

    def lines(self) -> tuple[tuple[str, str, str, str], ...]:
        """Return the plan for a person: each stage's name, what it does, how large it is, and where it writes."""
        return tuple((stage.name, *self._told(stage), str(stage.out)) for stage in self.stages)

    def as_json(self) -> list[dict[str, Any]]:
        """Return every stage with its settings as what JSON can say."""
        return [
            {"name": stage.name, "needs": stage.needs, "what": what, "size": size, **plain(stage.settings)}
            for stage in self.stages
            for what, size in [self._told(stage)]
        ]

    def _told(self, stage: Stage) -> tuple[str, str]:
        settings, prompts = stage.settings, _count(self.prompts, "prompt")
        if isinstance(settings, GenerateSettings):
            model = self._name(str(settings.model))
            what = f"{model} answers, {settings.judge} judges the pairs"
            if settings.rounds != 0:
                what = f"{model} answers, critiques and revises"
            return what, f"{prompts}, {counted(settings.samples, 'sample')} each"
        if isinstance(settings, EvaluateSettings):
            models = [self.settings.model, *(model.spec for model in settings.models)]
            names = ", ".join(self._name(str(model)) for model in models)
            return (
                f"{names}, judged by {settings.judge}",
                f"{_count(self.evaluation_prompts, 'prompt')}, {len(models)} models",
            )
        return f"{settings.method} of {self._name(str(settings.model))}", self._size_of_training(settings)

    def _size_of_training(self, settings: TrainSettings) -> str:
        method = find_method(settings.method)
        samples, pairs = self.settings.samples, comb(self.settings.pair_samples, 2)
        if method.draws_responses:
            size = f"{_count(self.prompts, 'prompt')}, {settings.own.group} responses each"
        elif method.data == "supervised":
            size = f"up to {_count(self.prompts, 'example', samples)}"
        else:
            size = f"up to {_count(self.prompts, 'pair', pairs)}"
        size = size if settings.fit.max_steps is None else f"{size}, {counted(settings.fit.max_steps, 'step')}"
        return size if method.draws_responses else f"{size}; filters: {settings.data.quality}"

    def _name(self, model: str) -> str:
        """Return a model as the stage that makes it, or as it was typed."""
        return model.removeprefix(f"transformers:{self.out}/")


def plan_loop(settings: LoopSettings) -> LoopPlan:
    """Read the constitution and the prompts, look at the model, and settle the stages; raises UsageError."""
    for option, source in (("prompts", settings.prompts), ("evaluation-prompts", settings.evaluation_prompts)):
        if source is not None and str(source) == "-":
            raise UsageError(f"--{option} is standard input, which is read once; a loop needs a file to come back to")
    if settings.judge_calibration is not None and settings.judge_principles > 1:
        raise UsageError(
            "--judge-calibration is for all stages of a loop, which judge under one principle and under "
            f"--judge-principles {settings.judge_principles}: leave one of the two out"
        )
    check_engine_options(
        (settings.model, settings.judge or settings.model),
        settings.engine.engine_option,
        settings.engine.template_option,
    )
    _check_rewarding(settings)
    load_quality(settings.quality)
    constitution = load_constitution(settings.constitution)
    prompt_source(settings.prompts, constitution, "sets")
    prompt_source(settings.evaluation_prompts, constitution, "evaluation", option="--evaluation-prompts")
    out = settings.out or Path("loops") / constitution.name
    stages = stages_of(settings, out)
    generations: list[GeneratePlan] = []
    for stage in stages:
        if isinstance(stage.settings, TrainSettings):
            _check_training(stage.settings, settings)
        elif isinstance(stage.settings, GenerateSettings):
            generations.append(plan_generate(stage.settings))
        else:
            evaluation = plan_evaluate(stage.settings)
    first = generations[0]
    return LoopPlan(
        settings=settings,
        out=out,
        stages=stages,
        content={
            "cai": __version__,
            "constitution-content": constitution.fingerprint,
            "prompts-content": first.prompts.fingerprint,
            "evaluation-prompts-content": evaluation.prompts.fingerprint,
            **_judging_content(first),
            **_weights_content(settings),
        },
        prompts=first.prompts.size,
        evaluation_prompts=evaluation.prompts.size,
        remarks=(*first.remarks, *(() if settings.evaluation_prompts is None else evaluation.prompts.remarks)),
    )


def _check_rewarding(settings: LoopSettings) -> None:
    """Raise UsageError where options say how a judge is asked, and it is to reward, which it does without them."""
    method = settings.method
    if method not in loop_methods() or method.startswith(REWARDED) or not find_method(method).draws_responses:
        return
    for option, given in (
        ("prompts-dir", settings.prompts_dir is not None),
        ("judge-thinking", settings.judge_thinking != "off"),
        ("engine-option", bool(settings.engine.engine_option)),
        ("template-option", bool(settings.engine.template_option)),
    ):
        if given:
            raise UsageError(
                f"--{option} does not reach the judge that rewards in --method {method}: leave it out, or take "
                f"--method {REWARDED}{method}, whose judge is asked before training"
            )


def _check_training(stage: TrainSettings, settings: LoopSettings) -> None:
    """Check what a stage that trains needs and is there already; the model stands for those that are made of it."""
    method = find_method(stage.method)
    batch, group = settings.second.batch_size, settings.group
    if method.draws_responses and batch is not None and batch % group:
        raise UsageError(f"--second-batch-size {batch} is not a multiple of --group {group}, and groups stay together")
    with silent_libraries():
        settle_adapter(stage.adapter, method.head)
        if gpus_to_share(stage.fit.device) == 1:
            find_machine(stage.fit.device)
        if stage.model == settings.model:
            tokenizer = load_tokenizer(find_source(settings.model, stage.adapter))
            prepare_template(tokenizer, stage.template, need_markers=True, need_ends=True)


def _judging_content(plan: GeneratePlan) -> dict[str, str]:
    """Return what names the templates that models are asked with, and the calibration of the judge's labels."""
    templates, calibrations = plan.method.templates, plan.judge_configuration.calibrations
    found = {"templates-content": f"{templates.language} {templates.fingerprint}"}
    return found if calibrations is None else {**found, "judge-calibration-content": calibrations.fingerprint}


def _weights_content(settings: LoopSettings) -> dict[str, str]:
    """Return what names the weights of the model, and of a judge, that lie here."""
    judges = () if settings.judge is None else members_of(settings.judge)
    content: dict[str, str] = {}
    for name, specs in (("model-content", (settings.model,)), ("judge-content", judges)):
        checkpoints = [Checkpoint.resolve(spec.files) for spec in specs if spec.files is not None]
        places = [expand(str(place)) for one in checkpoints for place in (one.base, one.adapter) if place is not None]
        hashes = [weights_hash(place) for place in places if place.exists()]
        if hashes:
            content[name] = " ".join(hashes)
    return content


def _count(prompts: int | None, thing: str, times: int = 1) -> str:
    return f"all {thing}s" if prompts is None else counted(times * prompts, thing)
