"""What is kept of one task of lm-eval on one model: its own figures, and what it measured of every sample."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.core.records import PartFailure

_KEPT = (
    *("results", "groups", "group_subtasks", "versions", "n-shot", "higher_is_better", "n-samples", "task_hashes"),
    *("lm_eval_version", "transformers_version", "chat_template_sha", "system_instruction", "fewshot_as_multiturn"),
)
"""Of lm-eval's results; the whole is in its own file."""


@dataclass(frozen=True, slots=True)
class HarnessSample:
    """What one of lm-eval's tasks measured of one of its documents under one of its filters.

    `hash` is the document's, so that two models are compared on the same one. A value is a number, or what the metric
    makes one of only for all samples: several numbers or texts.
    """

    task: str
    document: int
    hash: str
    filter: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HarnessEntry:
    """A task on a model; `results` is what lm-eval says, `chat_template` whether the model's was used."""

    id: str
    ordinal: int
    chat_template: bool
    results: Mapping[str, Any]
    samples: tuple[HarnessSample, ...]
    failed: tuple[PartFailure, ...] = ()


def read_harness_entry(value: dict[str, Any]) -> HarnessEntry:
    """Return an entry from what JSON says; raises KeyError or TypeError when it is none."""
    samples = tuple(HarnessSample(**one) for one in value["samples"])
    return HarnessEntry(**{**value, "samples": samples, "failed": ()})


def read_logs(folder: Path, id: str, ordinal: int, *, chat_template: bool) -> HarnessEntry:  # noqa: A002
    """Return what lm-eval wrote into a folder; raises OSError, ValueError or KeyError when it is not what it writes."""
    (file,) = folder.rglob("results_*.json")
    results = json.loads(file.read_text())
    written = file.stem.removeprefix("results_")
    samples = [
        sample
        for task in results["configs"]
        for sample in _samples(file.with_name(f"samples_{task}_{written}.jsonl"), task)
    ]
    kept = {name: results[name] for name in _KEPT if name in results}
    return HarnessEntry(id, ordinal, chat_template, kept, tuple(samples))


def _samples(file: Path, task: str) -> Iterator[HarnessSample]:
    with file.open() as lines:
        for line in lines:
            sample = json.loads(line)
            values = {metric: sample[metric] for metric in sample["metrics"]}
            yield HarnessSample(task, sample["doc_id"], sample["doc_hash"][:16], sample["filter"], values)
