"""`train`: one method on one model and one body of data, from a plan to a directory that loads.

Started by `accelerate launch` or `torchrun`, every process runs the same `train`; only the main one locks, writes and
reports.
"""

import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jinja2
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import set_seed

from cai.core.errors import CaiError, UsageError
from cai.models.local.memory import ran_out
from cai.rundir.documents import make_document
from cai.train.adapters.building import adapter_config
from cai.train.arguments import place_precision, place_trackers, shared_arguments
from cai.train.card import model_card
from cai.train.context import Context
from cai.train.example_tokens import refused
from cai.train.fit import Fitted, fit, stage_model
from cai.train.folder import CARD, FIGURE, MANIFEST, TASKS_FIGURE, TrainingFolder, enter
from cai.train.model import load_model
from cai.train.outcome import TrainSummary, manifest, recall, summarize
from cai.train.padding_free.batches import compute_without_padding
from cai.train.plan import TrainPlan
from cai.train.quiet import silent_libraries
from cai.train.settings import AdapterSettings
from cai.train.template.preparing import add_ends

Say = Callable[[str], None]


def train(plan: TrainPlan, say: Say, *, quiet: bool = False) -> TrainSummary:
    """Train, or go on where a killed run stopped; a finished OUT is left as it is.

    `say` is called with what was settled before work begins, and where no terminal shows it, once a minute with how far
    it is; `quiet` leaves that out. Raises RunError when OUT is not this run's, StoreError when the disk refuses,
    CaiError when the memory is not enough. The memory of model and optimiser is free again afterwards.
    """
    with silent_libraries():
        folder, finished = _enter(plan)
        try:
            if finished is not None:
                return recall(plan.settings.out, finished)
            tasks = [] if plan.tasks is None else plan.tasks.sentences()
            for line in (*plan.examples.remarks, plan.hardware.sentence(), *plan.cut.sentences(), *tasks):
                say(line)
            return _work(plan, folder, say, quiet=quiet)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            length = "--max-tokens" if plan.method.draws_responses else "--max-length"
            raise CaiError(
                f"the device's memory is not enough: lower {length} or --batch-size, or train with --adapter lora"
            ) from error
        finally:
            folder.release()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _enter(plan: TrainPlan) -> tuple[TrainingFolder, dict[str, Any] | None]:
    """Claim OUT in the main process, and tell the others whether it is finished and where the model is staged."""
    out = plan.settings.out
    if plan.hardware.processes == 1:
        folder = enter(out, plan.identity(), fresh=plan.settings.fresh)
        return folder, _finished(folder)
    told: list[Any] = [None, None]
    if PartialState().is_main_process:
        folder = enter(out, plan.identity(), fresh=plan.settings.fresh)
        told = [_finished(folder), folder.staging]
    broadcast_object_list(told)
    if not PartialState().is_main_process:
        folder = TrainingFolder(out, told[1])
    return folder, told[0]


def _finished(folder: TrainingFolder) -> dict[str, Any] | None:
    """Return what a finished run says of itself; one that was killed as it ended has its checkpoints still."""
    finished = folder.finished()
    if finished is not None:
        folder.forget_checkpoints()
    return finished


def _work(plan: TrainPlan, folder: TrainingFolder, say: Say, *, quiet: bool) -> TrainSummary:
    settings, hardware = plan.settings, plan.hardware
    set_seed(settings.seed % 2**32)  # a reward model's head is drawn when it is loaded
    model = load_model(
        plan.source,
        settings.adapter,
        weights=hardware.weights,
        head=plan.method.head,
    )
    unpadded = compute_without_padding(model, hardware.max_length)
    if hardware.packing and not unpadded:
        raise UsageError(
            f"--packing: the layers of {plan.source.name} would let packed examples read one another; leave it out"
        )
    if plan.method.head == "language":
        add_ends(model, plan.ends)
    context = Context(
        settings=settings,
        model=model,
        tokenizer=plan.tokenizer,
        adapter=adapter_config(settings.adapter, plan.method.head, model),
        examples=plan.examples,
        arguments=shared_arguments(settings, hardware, plan.examples),
        hardware=hardware,
        pretraining=plan.pretraining,
    )
    place_precision(hardware)
    if place_trackers(settings) and PartialState().is_main_process:
        folder.expect_tracking()
    try:
        trainer: Any = plan.method.build(context)
    except jinja2.TemplateError as error:  # over a prompt by itself: the plan looked at whole conversations
        raise refused(error) from error
    if plan.tasks is not None:
        trainer.take_tasks(plan.tasks, settings.fit, hardware.micro_batch, settings.seed)
    for line in trainer.remarks:
        say(line)
    left_out = +(Counter(plan.examples.left_out) + trainer.left_out)
    fitted = fit(trainer, folder, settings.fit, f"{settings.method} {settings.out.name}", say, quiet=quiet)
    measured = {} if fitted.interrupted else trainer.measured()
    summary = summarize(plan, fitted, left_out, measured)
    if not fitted.interrupted:
        trainer.require_finite_weights()
        stage_model(trainer, folder)
        if trainer.is_world_process_zero():
            if context.adapter is not None and plan.ends and plan.method.head == "language":
                model.generation_config.save_pretrained(folder.staging)  # peft leaves it out
            _finish(plan, folder, fitted, summary)
        trainer.accelerator.wait_for_everyone()
    trainer.accelerator.free_memory()
    return summary


def _finish(plan: TrainPlan, folder: TrainingFolder, fitted: Fitted, summary: TrainSummary) -> None:
    """Put model, figure, card and at last train.json in place; the checkpoints have served then."""
    from cai.train.figures import draw_tasks, draw_training  # noqa: PLC0415  (matplotlib, which nobody waits for)

    if plan.settings.adapter.merge:
        _merge(plan, folder)
    files = folder.publish()
    recorded = manifest(plan, summary, files, fitted.history)
    title = f"{plan.settings.method}: {recorded['name']}"
    folder.write(FIGURE, draw_training(fitted.history, title))
    if plan.tasks is not None and recorded["tasks"] is not None:
        folder.write(TASKS_FIGURE, draw_tasks(plan.tasks.names, fitted.history, title))
    folder.write(CARD, model_card(recorded, FIGURE, TASKS_FIGURE).encode())
    folder.write(MANIFEST, make_document(recorded))
    folder.forget_checkpoints()


def _merge(plan: TrainPlan, folder: TrainingFolder) -> None:
    """Replace the staged adapter by its base with the adapter folded in, in the precision that was trained in."""
    staged = replace(plan.source, adapter=folder.staging)
    whole = AdapterSettings()  # a 4-bit base is read again in full
    merged = load_model(staged, whole, weights=plan.hardware.weights, head=plan.method.head)
    if plan.method.head == "language":
        add_ends(merged, plan.ends)
    folder.discard_staged_model()
    merged.save_pretrained(folder.staging)
