"""Two evaluations side by side: what was asked otherwise, and on the prompts that both have, what came out otherwise.

Models are matched by their labels; where each evaluation has one that the other has not, these two. A prompt is shared
where both have it under the same id with the same words. Measures are computed again on the shared prompts alone, as
`cai.evaluate.measuring` does: differences are paired, with bootstrap intervals over prompts, and of single principles
McNemar's p-value counts for all of them at once (Holm).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cai.core.records import Message, Prompt
from cai.core.shares import holm, sign_test
from cai.data.quality.personal import mask_text
from cai.evaluate.measuring import ModelAnswers, measure_models
from cai.evaluate.records import CLEARLY_BROKEN, Answer
from cai.evaluate.results import ModelResult
from cai.report.drawn_rows import MASKED
from cai.report.evaluation_facts import EvaluationFacts, counts_as
from cai.report.tallies import Tallies

BEFORE, AFTER = "before", "after"
NEWLY, NO_LONGER = "newly", "no longer"
"""Which way a prompt flipped, as its tally is called."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Something that an answer does or does not: on how many shared prompts the model does so newly, and no longer.

    `name` is what it does (`breaks any principle`, `breaks PRINCIPLE`, `refuses`); `p` is McNemar's two-sided p-value,
    of single principles for all of them at once.
    """

    name: str
    newly: int
    no_longer: int
    prompts: int
    p: float


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One model then and now: what was measured on the shared prompts; `after` has the differences to `before`."""

    labels: tuple[str, str]
    before: ModelResult
    after: ModelResult
    flips: tuple[Flip, ...]
    examples: tuple[tuple[Answer, Answer], ...]
    """Answers before and after to the first prompts that are newly broken; personal data in them is masked."""

    @property
    def title(self) -> str:
        """How it is called: its label, or both."""
        return self.labels[1] if self.labels[0] == self.labels[1] else f"{self.labels[0]} → {self.labels[1]}"


@dataclass(frozen=True, slots=True)
class Reworded:
    """A principle that was added (no text before), taken out (none after) or reworded."""

    principle_id: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class SideBySide:
    """What differs between two evaluations; `settings` by name, before and after, None where one has none.

    `shared` counts the prompts that both have, `reused` the ids under which they have different words. `alone` are
    labels that only one of both has and that nothing is compared with.
    """

    settings: Mapping[str, tuple[str | None, str | None]]
    principles: tuple[Reworded, ...]
    shared: int
    reused: int
    models: tuple[ComparedModel, ...]
    alone: tuple[str, ...]
    tallies: Tallies


EXAMPLES = 3


def compare_evaluations(before: EvaluationFacts, after: EvaluationFacts, whole: str | None = None) -> SideBySide:
    """Return what differs from `before` to `after`; all rows of the tally of the name `whole` are kept."""
    matched = _matched(list(before.answers), list(after.answers))
    tallies = Tallies(whole)
    words = [_words(facts) for facts in (before, after)]
    ids = [name for name in words[1] if words[0].get(name) == words[1][name]]
    prompts = [Prompt(name, place, *words[1][name]) for place, name in enumerate(ids)]
    models = tuple(_compare(pair, (before, after), prompts, tallies) for pair in matched)
    taken = {label for pair in matched for label in pair}
    return SideBySide(
        settings=_settings(before, after),
        principles=_principles(before, after),
        shared=len(prompts),
        reused=sum(name in words[0] and words[0][name] != said for name, said in words[1].items()),
        models=models,
        alone=tuple(label for facts in (before, after) for label in facts.answers if label not in taken),
        tallies=tallies,
    )


def _matched(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, str]]:
    same = [(label, label) for label in after if label in before]
    rest = [label for label in before if label not in after], [label for label in after if label not in before]
    return same + ([(rest[0][0], rest[1][0])] if len(rest[0]) == len(rest[1]) == 1 else [])


def _words(facts: EvaluationFacts) -> dict[str, tuple[tuple[Message, ...], tuple[str, ...]]]:
    """Return the words and the tags of every prompt that any model answered, by id."""
    return {answer.id: (answer.messages, answer.tags) for answers in facts.answers.values() for answer in answers}


def _settings(before: EvaluationFacts, after: EvaluationFacts) -> dict[str, tuple[str | None, str | None]]:
    names = dict.fromkeys((*before.identity, *after.identity))
    both = {name: (before.identity.get(name), after.identity.get(name)) for name in names}
    models = [{model.label: model.engine for model in facts.result.models} for facts in (before, after)]
    both |= {f"model {label}": (models[0].get(label), models[1].get(label)) for label in {**models[0], **models[1]}}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def _principles(before: EvaluationFacts, after: EvaluationFacts) -> tuple[Reworded, ...]:
    texts = [{one.id: one.text for one in facts.constitution.principles} for facts in (before, after)]
    both = (Reworded(name, texts[0].get(name), texts[1].get(name)) for name in {**texts[0], **texts[1]})
    return tuple(one for one in both if one.before != one.after)


def _compare(
    labels: tuple[str, str], facts: tuple[EvaluationFacts, EvaluationFacts], prompts: Sequence[Prompt], tallies: Tallies
) -> ComparedModel:
    """Return a model before and after on the shared prompts; what its answers count as is added to the tallies."""
    found = [{answer.id: answer for answer in one.answers[label]} for label, one in zip(labels, facts, strict=True)]
    names = {measure.name for measure in facts[0].result.measures}
    measures = [measure for measure in facts[1].result.measures if measure.name in names]
    engines = [one.result.model(label).engine for label, one in zip(labels, facts, strict=True)]
    answers = [
        ModelAnswers(side, engine, own, {}) for side, engine, own in zip((BEFORE, AFTER), engines, found, strict=True)
    ]
    before, after = measure_models(prompts, answers, BEFORE, measures, facts[1].result.seed)
    pairs = [(found[0][one.id], found[1][one.id]) for one in prompts if one.id in found[0] and one.id in found[1]]
    title = labels[1]
    for pair in pairs:
        tallies.begin_row()
        for side, answer in zip((BEFORE, AFTER), pair, strict=True):
            for name in counts_as(answer):
                tallies.add(f"{title}: {side}: {name}", answer.id)
    principles = [one.id for one in facts[1].constitution.principles]
    broken = [(one, two) for one, two in pairs if (one.breaks, two.breaks) == (False, True)]
    examples = tuple((_masked(one, tallies), _masked(two, tallies)) for one, two in broken[:EXAMPLES])
    return ComparedModel(labels, before, after, tuple(_flips(title, pairs, principles, tallies)), examples)


def _masked(answer: Answer, tallies: Tallies) -> Answer:
    """Return what is shown of an answer, and count what is not."""
    asked = [(turn, *mask_text(turn["content"])) for turn in answer.messages]
    response, count = mask_text(answer.response)
    tallies.begin_row()
    tallies.add(MASKED, answer.id, count + sum(found for *_, found in asked))
    messages = tuple(Message(role=turn["role"], content=shown) for turn, shown, _ in asked)
    return replace(answer, messages=messages, response=response)


def _flips(
    title: str, pairs: Sequence[tuple[Answer, Answer]], principles: Sequence[str], tallies: Tallies
) -> Iterator[Flip]:
    """Yield what flipped; single principles come last, their p-values for all of them at once."""
    said = [(_deeds(one), _deeds(two)) for one, two in pairs]
    every = ["breaks any principle", "refuses", *(f"breaks {name}" for name in principles)]
    counts = []
    for name in every:
        known = [
            (pair[0].id, one[name], two[name])
            for pair, (one, two) in zip(pairs, said, strict=True)
            if one.get(name) is not None and two.get(name) is not None
        ]
        for prompt_id, one, two in known:
            if one != two:
                tallies.begin_row()
                tallies.add(f"{title}: {name}: {NEWLY if two else NO_LONGER}", prompt_id)
        newly = sum(bool(two) and not one for _, one, two in known)
        counts.append((name, newly, sum(bool(one) and not two for _, one, two in known), len(known)))
    p_values = [sign_test(newly, no_longer) for _, newly, no_longer, _ in counts]
    adjusted = [*p_values[:2], *holm(p_values[2:])]
    yield from (Flip(*count, p) for count, p in zip(counts, adjusted, strict=True) if count[3])


def _deeds(answer: Answer) -> dict[str, bool | None]:
    """Return what an answer does and does not, by name; None where the judge gave no answer."""
    gates = {
        f"breaks {gate.principle_id}": None if gate.probability is None else gate.probability > CLEARLY_BROKEN
        for gate in answer.gates
    }
    return {"breaks any principle": answer.breaks, "refuses": answer.refuses, **gates}
