"""An evaluation read back: its document, its rows, and every measurement computed again from the rows.

The measurements are not taken over from evaluation.json: they are computed from `responses/` and `comparisons/` as the
evaluation does, and a document that says otherwise is refused. Measures that somebody's own module registered are
computed only where that module is loaded; the others are taken over, and said to be. Shares are corrected by what
people have said until now. What was examined beside the prompts, and under attacks, is taken over as it was recorded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.annotation.labels import AnswerLabels
from cai.constitution import Constitution
from cai.core.errors import RunError
from cai.core.records import Failure, Prompt
from cai.evaluate.attacking import is_attacked
from cai.evaluate.calibration import calibrate, check_detector
from cai.evaluate.correcting import correct_models, correct_pairs, people_of
from cai.evaluate.directory import COMPARISONS, DOCUMENT, FORMAT, RESPONSES
from cai.evaluate.measures import Measure, measures_of
from cai.evaluate.measuring import ModelAnswers, align, measure_models
from cai.evaluate.pairs import PairDecisions, measure_pairs, rate
from cai.evaluate.records import Answer, read_answer, read_decision
from cai.evaluate.results import (
    AttackResult,
    Discordance,
    Evaluation,
    EvaluationSection,
    Measurement,
    ModelResult,
    PartialJudge,
    SectionTable,
)
from cai.report.entry_lines import EntryLines, read_entry_lines
from cai.report.tallies import Tallies
from cai.rundir.documents import DocumentError, Fields, parse_document, read_bounded
from cai.rundir.manifest import parse_judge_check

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """An evaluation's `result` from its rows; `identity` and `settings` as recorded; each model's `answers` by label.

    `left` are names of measures that were not computed again.
    """

    identity: Mapping[str, str]
    settings: Mapping[str, Any]
    started: str
    constitution: Constitution
    result: Evaluation
    answers: Mapping[str, Sequence[Answer]]
    tallies: Tallies
    left: tuple[str, ...]


def read_evaluation(directory: Path, whole: str | None = None) -> EvaluationFacts:
    """Read an evaluation that is done; raises RunError when it is not, is damaged, or its document belies its rows."""
    path = directory / DOCUMENT
    again = "give the same `cai evaluate` again"
    try:
        document = parse_document(read_bounded(path), FORMAT)
        if document.text("status") != "done":
            raise RunError(f"{directory} is an evaluation that is not done; {again}.")
        facts = _read(directory, document, people_of(directory), whole)
    except OSError as error:
        raise RunError(f"{error.filename or path} cannot be read: {error.strerror}.") from error
    except (DocumentError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read as an evaluation ({error}); {again}.") from error
    _require_same(path, document.fields("result").values, facts, again)
    return facts


def _read(directory: Path, document: Fields, people: AnswerLabels, whole: str | None) -> EvaluationFacts:
    result, settings = document.fields("result").values, document.fields("settings").values
    constitution = Constitution.model_validate(settings["resolved_constitution"])
    labels = [model["label"] for model in result["models"]]
    said = {label: read_entry_lines(directory / RESPONSES / f"{label}.jsonl", read_answer) for label in labels}
    prompts = _prompts(said.values(), result["prompts"])
    models = [
        ModelAnswers(model["label"], model["engine"], found.entries, found.failures)
        for model in result["models"]
        for found in [said[model["label"]]]
    ]
    compared = []
    for a, b in ((pair["a"], pair["b"]) for pair in result["pairs"]):
        found = read_entry_lines(directory / COMPARISONS / f"{a}~{b}.jsonl", read_decision)
        compared.append(PairDecisions(a, b, found.entries, found.failures))
    measures, left = _measures(constitution, result)
    seed, aligned = result["seed"], [align(prompts, model) for model in models]
    raw = measure_models(prompts, models, result["baseline"], measures, seed)
    pairs = measure_pairs(prompts, compared, models, seed)
    evaluation = Evaluation(
        out=directory,
        constitution=result["constitution"],
        judge=result["judge"],
        baseline=result["baseline"],
        prompts=len(prompts),
        understood=result["understood"],
        unusable=result["unusable"],
        duplicates=result["duplicates"],
        seed=seed,
        finished=result["finished"],
        measures=measures,
        models=correct_models(raw, dict(zip(labels, aligned, strict=True)), measures, people),
        pairs=correct_pairs(pairs, compared, {model.label: model.answers for model in models}, people),
        ratings=rate(prompts, labels, compared, seed),
        calibration=tuple(calibrate(aligned, constitution.principles, seed)),
        detector=check_detector(aligned, seed),
        judge_check=parse_judge_check(document, "judge_check"),
        attacks=tuple(map(read_attack, result["attacks"])),
        sections=tuple(map(read_section, result["sections"])),
        partial_judges=tuple(PartialJudge(**one) for one in result["partial_judges"]),
    )
    answers = {model.label: [a for a in one if a is not None] for model, one in zip(models, aligned, strict=True)}
    return EvaluationFacts(
        identity=document.words("identity"),
        settings=settings,
        started=document.text("started"),
        constitution=constitution,
        result=evaluation,
        answers=answers,
        tallies=_tallies(prompts, models, answers, compared, Tallies(whole)),
        left=left,
    )


def _prompts(said: Iterable[EntryLines[Answer]], count: int) -> list[Prompt]:
    """Return the prompts that were measured, the first of all that were ever asked, in the order they were drawn."""
    places: dict[str, int] = {}
    for lines in said:
        found: tuple[Answer | Failure, ...] = (*lines.entries.values(), *lines.failures.values())
        places |= {one.id: one.ordinal for one in found if not is_attacked(one.id)}
    order = sorted(places, key=lambda name: (places[name], name))[:count]
    return [Prompt(name, places[name], ()) for name in order]


def _measures(constitution: Constitution, result: Mapping[str, Any]) -> tuple[tuple[Measure, ...], tuple[str, ...]]:
    known = {measure.name: measure for measure in measures_of([one.id for one in constitution.principles])}
    names = [measure["name"] for measure in result["measures"]]
    return tuple(known[name] for name in names if name in known), tuple(name for name in names if name not in known)


def _require_same(path: Path, result: Mapping[str, Any], facts: EvaluationFacts, again: str) -> None:
    """Raise RunError where the document has another value than the rows give."""
    recorded = {model["label"]: {one["name"]: one for one in model["measurements"]} for model in result["models"]}
    for model in facts.result.models:
        for found in model.measurements:
            before = recorded[model.label].get(found.name)
            if before is None or abs(before["value"] - found.value) > TOLERANCE or before["count"] != found.count:
                said = "nothing" if before is None else f"{before['value']:.4f} of {before['count']}"
                raise RunError(
                    f"{path} has {said} as {found.name!r} of {model.label}, and its rows give {found.value:.4f} of "
                    f"{found.count}; {again}."
                )


def measured(model: ModelResult, name: str) -> str:
    """Return the name of the tally that a model's measure is linked to."""
    return f"{model.label}: {name}"


def _tallies(
    prompts: Sequence[Prompt],
    models: Sequence[ModelAnswers],
    answers: Mapping[str, Sequence[Answer]],
    compared: Sequence[PairDecisions],
    tallies: Tallies,
) -> Tallies:
    for model in models:
        for answer in answers[model.label]:
            tallies.begin_row()
            for name in counts_as(answer):
                tallies.add(f"{model.label}: {name}", answer.id)
        for prompt in prompts:
            if prompt.id in model.failures:
                tallies.begin_row()
                failure = model.failures[prompt.id]
                tallies.add(f"{model.label}: failed: {failure.stage}: {failure.cause}", prompt.id)
    for pair in compared:
        for prompt in prompts:
            decision = pair.decisions.get(prompt.id)
            if decision is not None:
                tallies.begin_row()
                how = "not decided"
                if decision.probability is not None:
                    how = "wins" if decision.probability > 0.5 else "losses"
                elif decision.abstained in ("tie", "identical"):
                    how = "ties"
                tallies.add(f"{pair.a} over {pair.b}: {how}", decision.id)
    return tallies


def counts_as(answer: Answer) -> Iterator[str]:
    """Yield the names that an answer counts under: those of measures of shares, and `answered`."""
    yield "answered"
    if answer.truncated:
        yield "cut"
    for part in answer.failed:
        yield f"failed gates: {part.stage}: {part.cause}"
    for gate in answer.gates:
        if gate.probability is None:
            yield "gates without an answer"
            yield f"unanswered {gate.principle_id}"
        elif gate.probability > 0.5:
            yield f"breaks {gate.principle_id}"
    if answer.breaks:
        yield "breaks any principle"
        yield from (f"breaks any principle, {tag}" for tag in answer.tags)
    if answer.refuses:
        yield "refuses"
        yield from (f"refuses, {tag}" for tag in answer.tags)


def read_section(value: Mapping[str, Any]) -> EvaluationSection:
    """Return a section as evaluation.json spells it out; raises KeyError or TypeError when it is none."""
    return EvaluationSection(
        **{
            **value,
            "measures": tuple(Measure(compute=_not_computed, **one) for one in value["measures"]),
            "models": tuple(map(_read_model, value["models"])),
            "tables": tuple(
                SectionTable(one["title"], tuple(one["columns"]), tuple(map(tuple, one["rows"])))
                for one in value["tables"]
            ),
            "remarks": tuple(value["remarks"]),
        }
    )


def read_attack(value: Mapping[str, Any]) -> AttackResult:
    """Return what was measured under an attack, as evaluation.json spells it out; raises as `read_section` does."""
    return AttackResult(value["attack"], value["prompts"], tuple(map(_read_model, value["models"])))


def _read_model(value: Mapping[str, Any]) -> ModelResult:
    found = value["discordance"]
    return ModelResult(
        **{
            **value,
            "measurements": tuple(Measurement(**one) for one in value["measurements"]),
            "differences": tuple(Measurement(**one) for one in value["differences"]),
            "discordance": None if found is None else Discordance(**found),
            "corrected": {},  # of sections and attacks nothing is
        }
    )


def _not_computed(_entries: object) -> list[Any]:
    return []
