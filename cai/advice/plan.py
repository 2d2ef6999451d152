"""`advise` before anything is recommended: the data counted, the model measured on paper, the machine found."""

from dataclasses import dataclass

from cai.advice.facts import Facts, ModelFacts, count
from cai.advice.settings import AdviseSettings
from cai.data.examples.opening import open_examples
from cai.rundir.checkout import is_run
from cai.train.machine import find_machine
from cai.train.model import ModelShape, find_source, load_tokenizer, measure
from cai.train.quiet import silent_libraries
from cai.train.settings import AdapterSettings

_SAMPLE = "A constitution is a text that says how a model ought to answer, and why. "
ADAPTER = AdapterSettings(adapter="lora")


@dataclass(frozen=True, slots=True)
class AdvisePlan:
    """The facts, and the model's shape when all of it is trained and when an adapter is."""

    settings: AdviseSettings
    facts: Facts
    whole: ModelShape
    adapted: ModelShape
    remarks: tuple[str, ...]


def plan_advise(settings: AdviseSettings) -> AdvisePlan:
    """Read the data and the model's configuration; raises InputError, RunError or ModelError."""
    with silent_libraries():
        machine = find_machine(settings.device)
        source = find_source(settings.model, AdapterSettings())
        tokenizer = load_tokenizer(source)
        opened = open_examples(settings.data, split=settings.split, shape=settings.shape)
        counted = count(opened.examples(), opened.kind, str(settings.data))
        whole, adapted = (measure(source, adapter) for adapter in (AdapterSettings(), ADAPTER))
    rate = len(tokenizer.encode(_SAMPLE, add_special_tokens=False)) / len(_SAMPLE)
    shape = ModelFacts(source.name, whole.parameters, tokenizer.chat_template is not None, rate)
    facts = Facts(str(settings.data), str(settings.model), is_run(settings.data), counted, shape, machine)
    return AdvisePlan(settings, facts, whole, adapted, tuple(opened.remarks))
