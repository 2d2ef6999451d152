"""Tasks of lm-eval as an examination of an evaluation: each task a model at a time, once all models are closed.

A task that is done is kept with what lm-eval measured of every sample (`examinations/harness/<label>.jsonl`) and with
its own logs (`examinations/harness/<label>/<task>/`), so that a killed evaluation runs none again. What a task fails of
is told with its cause, harms no other, and is owed. The section is of samples: intervals resample them, and models are
compared on the documents that both have.
"""

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cai.core.errors import RowError
from cai.core.records import PartFailure, Prompt, Row, Usage
from cai.core.threads import in_thread
from cai.evaluate.examining import Examination, Opened
from cai.evaluate.harness.figures import MeasuredFigure, figures_of, measure_figure
from cai.evaluate.harness.plan import HarnessPlan, HarnessTask, model_for_child
from cai.evaluate.harness.records import HarnessEntry, read_harness_entry, read_logs
from cai.evaluate.harness.running import ChildError, run_child
from cai.evaluate.measures import Term
from cai.evaluate.measuring import ModelEntries, failed_prompts, measure_entries
from cai.evaluate.plan import EvaluatePlan
from cai.evaluate.results import EvaluationSection, SectionTable

NAME = "harness"
_RUNNING = "lm-eval"


@dataclass(frozen=True, slots=True)
class HarnessExaminer:
    """Runs tasks on one model, one at a time: each takes the memory of a whole model."""

    opened: Opened
    plan: EvaluatePlan
    tasks: Mapping[str, HarnessTask]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _found: dict[str, HarnessEntry] = field(default_factory=dict)

    async def row(self, prompt: Prompt) -> Row:
        """Return an empty row, once the task is done; raises RowError where it cannot be."""
        async with self.lock:
            folder = await in_thread(self.opened.temporary)
            try:
                self._found[prompt.id] = await self._run(prompt, folder)
            except ChildError as error:
                raise RowError(str(error), stage=_RUNNING, retryable=True, raw=error.printed) from error
            finally:
                await in_thread(partial(shutil.rmtree, folder, ignore_errors=True))
        return Row(prompt, (), (), Usage(), self.opened.provenance)

    def entry(self, row: Row) -> HarnessEntry:
        """Return what a task found."""
        return self._found.pop(row.prompt.id)

    async def _run(self, prompt: Prompt, folder: Path) -> HarnessEntry:
        task, plan = self.tasks[prompt.id], self.plan
        spec = next(model.spec for model in plan.models if model.label == self.opened.label)
        asked = {"do": "run", "task": task.name, "limit": plan.settings.limit, "out": str(folder)}
        there = model_for_child(spec, plan.settings.engine, plan.settings.thinking.thinking)
        said = await run_child(asked | {"model": there})
        try:
            entry = await in_thread(
                lambda: read_logs(folder, prompt.id, prompt.ordinal, chat_template=said["chat_template"])
            )
        except (OSError, ValueError, KeyError) as error:
            raise ChildError(f"what lm-eval wrote cannot be read: {type(error).__name__}: {error}") from error
        await in_thread(partial(self.opened.keep, task.title, folder))
        return entry


@dataclass(frozen=True, slots=True)
class SampleEntry:
    """One document of lm-eval's tasks; `terms` are its parts in the figures, by their titles."""

    id: str
    terms: Mapping[str, Term]
    failed: tuple[PartFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class HarnessExamination(Examination[HarnessEntry]):
    """An examination whose section is of the samples of its items, which are tasks."""

    harness: HarnessPlan = field(kw_only=True)

    def section(self, models: list[ModelEntries[HarnessEntry]], baseline: str | None, seed: int) -> EvaluationSection:
        """Return what was found of all models."""
        measured = list(self._measured(models))
        samples = {
            model.label: _samples(model, [one for one in measured if model.label in one.terms]) for model in models
        }
        keys = dict.fromkeys(key for found in samples.values() for key in found)
        items = [Prompt(key, place, ()) for place, key in enumerate(keys)]
        entries = [ModelEntries(one.label, one.engine, samples[one.label], {}) for one in models]
        measures = tuple(one.measure for one in measured)
        results = measure_entries(items, entries, baseline, measures, seed)
        return EvaluationSection(
            name=self.name,
            title=self.title,
            about=self.about,
            items=len(items),
            measures=measures,
            models=tuple(
                replace(
                    result,
                    measurements=(*result.measurements, *_own(measured, result.label)),
                    failures=failed_prompts(self.items, model.failures),
                )
                for result, model in zip(results, models, strict=True)
            ),
            tables=(self._table(models),),
            remarks=tuple(self._remarks(models, measured)),
            details={"lm-eval": self.harness.version, "models": {one.label: self._details(one) for one in models}},
        )

    def _asked(self, model: ModelEntries[HarnessEntry]) -> list[HarnessEntry]:
        """Return a model's tasks, in their order; a directory may hold more, of an earlier question."""
        return [model.entries[item.id] for item in self.items if item.id in model.entries]

    def _measured(self, models: Sequence[ModelEntries[HarnessEntry]]) -> Iterator[MeasuredFigure]:
        """Yield every figure of the tasks, in their order, with the models that have it."""
        seen: set[str] = set()
        for item in self.items:
            having = {model.label: model.entries[item.id] for model in models if item.id in model.entries}
            for figure in next((list(figures_of(entry)) for entry in having.values()), []):
                if figure.title not in seen:
                    seen.add(figure.title)
                    yield measure_figure(figure, having)

    def _table(self, models: Sequence[ModelEntries[HarnessEntry]]) -> SectionTable:
        """Return how each task was run: its version, few-shot examples, samples, and whose chat template was used."""
        rows = []
        for item, task in zip(self.items, self.harness.tasks, strict=True):
            having = [(model.label, model.entries[item.id]) for model in models if item.id in model.entries]
            if not having:
                continue
            results = having[0][1].results
            rows.append(
                (
                    task.title,
                    _several(results["versions"]),
                    _several(results["n-shot"]),
                    f"{sum(one['effective'] for one in results['n-samples'].values()):,}",
                    ", ".join(label for label, entry in having if entry.chat_template) or "none",
                )
            )
        return SectionTable(
            "as lm-eval ran them", ("task", "version", "few-shot examples", "samples", "chat template of"), tuple(rows)
        )

    def _remarks(
        self, models: Sequence[ModelEntries[HarnessEntry]], measured: Sequence[MeasuredFigure]
    ) -> Iterator[str]:
        yield from self.harness.remarks
        chat = {model.label: entry.chat_template for model in models for entry in self._asked(model)}
        plain = [label for label, used in chat.items() if not used]
        if plain and len(plain) < len(chat):
            yield (
                f"{', '.join(plain)} has no chat template and is asked in plain text, the others in theirs: a part of "
                "what differs may be the form"
            )
        own = [one.figure.title for one in measured if one.own]
        if own:
            yield f"no mean of samples, so with lm-eval's standard error and without a difference: {', '.join(own)}"

    def _details(self, model: ModelEntries[HarnessEntry]) -> list[dict[str, Any]]:
        return [
            {"task": entry.id, "chat_template": entry.chat_template, **entry.results} for entry in self._asked(model)
        ]


def _samples(model: ModelEntries[HarnessEntry], measured: Sequence[MeasuredFigure]) -> dict[str, SampleEntry]:
    """Return a model's documents by their keys, with their parts in the figures."""
    terms: dict[str, dict[str, Term]] = {}
    for one in measured:
        for key, term in one.terms[model.label].items():
            terms.setdefault(key, {})[one.figure.title] = term
    return {key: SampleEntry(key, found) for key, found in terms.items()}


def _own(measured: Sequence[MeasuredFigure], label: str) -> list[Any]:
    return [one.own[label] for one in measured if label in one.own]


def _several(values: Mapping[str, Any]) -> str:
    """Return what a task's parts have in common, or from where to where it goes."""
    found = sorted({str(value) for value in values.values()})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}" if found else ""


def examine_harness(plan: EvaluatePlan) -> tuple[HarnessExamination, ...]:
    """Return the examination of lm-eval's tasks, where some are asked for."""
    harness = plan.harness
    if harness is None:
        return ()
    tasks = {task.id: task for task in harness.tasks}
    limited = "" if harness.limit is None else f", the first {harness.limit:,} samples of each task (--limit)"
    return (
        HarnessExamination(
            name=NAME,
            title="lm-eval",
            about=f"version {harness.version}{limited}",
            items=tuple(Prompt(name, place, ()) for place, name in enumerate(tasks)),
            measures=(),
            ask=lambda opened: HarnessExaminer(opened, plan, tasks),
            read=read_harness_entry,
            apart=True,
            harness=harness,
        ),
    )
