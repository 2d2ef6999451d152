"""A check before the data is read: sources opened, evaluation prompts and filters read, mistakes told."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cai.check.settings import DataCheckSettings
from cai.core.addresses import DataSource
from cai.core.errors import InputError, UsageError
from cai.core.paths import expand
from cai.core.records import Prompt
from cai.core.resources import shipped
from cai.data import InputOptions, open_prompts
from cai.data.examples.opening import open_examples
from cai.data.examples.runs import RunChoices, RunExamples
from cai.data.examples.tables import Example, TableExamples
from cai.data.quality import Quality, load_quality
from cai.data.quality.settings import NAMED, NONE
from cai.data.validation.contamination import EvaluationPrompt
from cai.data.validation.fluency import RUN
from cai.models.backends import installed
from cai.models.checkpoint.resolve import Checkpoint
from cai.models.spec import ModelSpec
from cai.rundir import Run, RunReader, checkout
from cai.rundir.checkout import is_run

if TYPE_CHECKING:
    from cai.models.fluency import FluencyModel


@dataclass(frozen=True, slots=True)
class DataCheckPlan:
    """A check with everything opened that it reads; `run` is the run that the data is, None where it is none.

    `tokenizer` is what examples are cut with, transformers' own; None where they are not.
    """

    settings: DataCheckSettings
    examples: TableExamples | RunExamples
    run: RunReader | None
    quality: Quality
    evaluation_prompts: tuple[EvaluationPrompt, ...]
    tokenizer: Any
    remarks: tuple[str, ...]

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets that prompts are compared with."""
        return tuple(dict.fromkeys(prompt.set for prompt in self.evaluation_prompts))


def plan_check(settings: DataCheckSettings) -> DataCheckPlan:
    """Open all that a check reads; raises UsageError, RunError or ModelError in one sentence."""
    quality = load_quality(settings.quality)
    tokenizer = _tokenizer(settings)
    if settings.fluency is not None:
        Checkpoint.resolve(settings.fluency.weights).check_files()
    prompts = tuple(prompt for source in _sets(settings.against) for prompt in _read(source))
    if not is_run(settings.data):
        examples = open_examples(settings.data, settings.kind, split=settings.split, shape=settings.shape)
        told = (f"{examples.name} is read as {examples.kind}", *examples.remarks)
        return DataCheckPlan(settings, examples, None, quality, prompts, tokenizer, told)
    for name, given in (("--split", settings.split), ("--shape", settings.shape)):
        if given is not None:
            raise UsageError(f"{name} is for files and datasets, and {settings.data} is a run.")
    place = settings.data
    reader = Run.read(checkout(str(place)) if place.is_url else expand(place.reveal()))
    run = _of_run(settings)
    told = (f"{run.name} is read as {run.kind}, before filters",)
    return DataCheckPlan(settings, run, reader, quality, prompts, tokenizer, told)


def _tokenizer(settings: DataCheckSettings) -> Any:
    """Return the tokenizer that examples are cut with, None where none is named; raises UsageError, ModelError."""
    spec = settings.tokenizer
    if (spec is None) != (settings.max_length is None):
        raise UsageError("--tokenizer and --max-length belong together: give both, or neither")
    if spec is None:
        return None
    with installed(spec):
        from cai.models.checkpoint.pretrained import open_tokenizer  # noqa: PLC0415  (optional, and seconds to import)

        return open_tokenizer(Checkpoint.resolve(spec.weights).tokenizer)


def open_fluency(spec: ModelSpec) -> "FluencyModel":
    """Return the model that reads how fluent answers are; raises ModelError."""
    with installed(spec):
        from cai.models.fluency import FluencyModel  # noqa: PLC0415  (torch)
        from cai.models.local.loading import torch_device  # noqa: PLC0415

        return FluencyModel(spec.weights, torch_device("auto"), RUN)


def _of_run(settings: DataCheckSettings) -> TableExamples | RunExamples:
    """Return a run's examples as they are without filters: its pairs, and where none was decided its answers."""
    choices = RunChoices(quality=NAMED[NONE])
    if settings.kind is not None:
        return open_examples(settings.data, settings.kind, choices=choices)
    pairs = open_examples(settings.data, "pairs", choices=choices)
    if any(isinstance(example, Example) for example in pairs.examples()):
        return pairs
    return open_examples(settings.data, "supervised", choices=choices)


def _sets(against: tuple[DataSource, ...]) -> list[tuple[str, DataSource]]:
    """Return the sets' names and places; raises UsageError for a name that is neither a set's nor a file's."""
    folder = shipped("prompts", "evaluation")
    known = {path.stem: DataSource.parse(str(path)) for path in sorted(folder.glob("*.jsonl"))}
    if not against:
        return list(known.items())
    found = []
    for source in against:
        name = str(source)
        if name in known and not expand(source.reveal()).exists():
            found.append((name, known[name]))
        elif name.isidentifier() and not expand(source.reveal()).exists():
            raise UsageError(
                f"there are no evaluation prompts {name}; give --against a file or one of {', '.join(known)}"
            )
        else:
            found.append((name, source))
    return found


def _read(named: tuple[str, DataSource]) -> Iterator[EvaluationPrompt]:
    name, source = named
    prompts = [item for item in open_prompts(source, InputOptions()) if isinstance(item, Prompt)]
    if not prompts:
        raise InputError(f"--against {name} holds no prompt.")
    for prompt in prompts:
        yield EvaluationPrompt("\n".join(turn["content"] for turn in prompt.messages), name, prompt.id)
