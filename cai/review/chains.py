"""Chains: what is to be read of one prompt, as the page gets it, and the facts that it is found by.

A chain is the same whatever it is read from: a prompt, answers with what became of them, verdicts. Runs have all of it,
an evaluation has an answer a model, a file of pairs two answers and a label.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cai.core.difference import are_alike, word_changes
from cai.core.records import Finding, Message, Round, Row, Trace, Verdict
from cai.data.drafts import readable_tags
from cai.data.examples.conversations import last_answer
from cai.evaluate.records import CLEARLY_BROKEN, Answer, Decision

TITLE = 140
"""Characters of the last turn of the user's that a list shows."""

KEPT, BROKEN, NOT_ANSWERED = "kept", "broken", "not answered"
DECIDED = "decided"

Fact = tuple[str, str]
"""What a chain can be found by: the name of a filter, and a value of it."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One prompt with all that was made of it; `document` is what JSON can say, `length` the longest answer's."""

    id: str
    title: str
    length: int
    facts: frozenset[Fact]
    document: Mapping[str, Any]


def chain_of_row(row: Row, filters: Iterable[str] = ()) -> Chain:
    """Return the chain of a run's row; `filters` are the quality filters that found something in it."""
    facts = {("quality", name) for name in filters}
    for trace in row.traces:
        facts |= set(_facts_of_trace(trace))
    facts |= {("answer", "failed in part")} if row.failed else set()
    document = {
        "answers": [_trace(trace) for trace in row.traces],
        "verdicts": [_verdict(verdict) for verdict in row.verdicts],
        "failed": [{"part": part.part, "cause": part.cause} for part in row.failed],
        "scores": [asdict(score) for score in row.scores],
        "filters": sorted(filters),
    }
    texts = [text for trace in row.traces for text in (trace.response, trace.final)]
    return _chain(row.prompt.id, row.prompt.messages, row.prompt.tags, texts, facts, row.verdicts, document)


def chain_of_answers(answers: Mapping[str, Answer], decisions: Mapping[tuple[str, str], Decision]) -> Chain:
    """Return the chain of a prompt in an evaluation, from answers by model and decisions by pair; one at least."""
    first = next(iter(answers.values()))
    facts: set[Fact] = set()
    for label, answer in answers.items():
        facts |= {("model", label)} | {("gate", _gate(gate.probability)) for gate in answer.gates}
        facts |= {("principle", gate.principle_id) for gate in answer.gates}
        facts |= {("answer", "refuses")} if answer.refuses else set()
        facts |= {("answer", "cut")} if answer.truncated else set()
    verdicts = [(pair, verdict) for pair, decision in decisions.items() for verdict in decision.verdicts]
    document = {
        "answers": [_evaluated(label, answer) for label, answer in answers.items()],
        # An evaluation names the two answers of a comparison by their places; here they have their models' names.
        "verdicts": [{**_verdict(verdict), "a": a, "b": b} for (a, b), verdict in verdicts],
        "failed": [{"part": part.part, "cause": part.cause} for answer in answers.values() for part in answer.failed],
    }
    texts = [answer.response for answer in answers.values()]
    return _chain(first.id, first.messages, first.tags, texts, facts, [one for _, one in verdicts], document)


def chain_of_example(place: str, values: Mapping[str, Any], about: Mapping[str, Any]) -> Chain:
    """Return the chain of an example from data, in the columns of its layout (`cai.data.examples.shaping`)."""
    if "text" in values:
        messages: Sequence[Message] = ()
        named = {"text": values["text"]}
    elif "messages" in values:
        messages, answer = last_answer(values["messages"])
        named = {"answer": answer["content"]}
    else:
        messages = values["prompt"]
        names = [name for name in ("chosen", "rejected", "completion") if name in values]
        named = {name: _said(values[name]) for name in names}
        ranked = enumerate(values.get("answers", ()), start=1)
        named |= {f"answer {number}, rank {one['rank']}": _said(one["completion"]) for number, one in ranked}
    models = {name: str(about[key]) for name in named if (key := f"{name}_model") in about and about[key] is not None}
    label = next((values[name] for name in ("chosen_probability", "label", "score") if name in values), None)
    facts = {("model", model) for model in models.values()}
    document = {
        "answers": [{"name": name, "text": text, "model": models.get(name)} for name, text in named.items()],
        "verdicts": [],
        "label": None if label is None else float(label),
    }
    tags = readable_tags(about.get("tags"))
    return _chain(place, messages, tags, list(named.values()), facts, (), document)


def chain_of_failure(place: str, cause: str, raw: str) -> Chain:
    """Return the chain of a row that gives no example, so that it is seen that it is there."""
    document = {"prompt": [], "answers": [], "verdicts": [], "cause": cause, "raw": raw, "tags": [], "id": place}
    return Chain(place, cause, 0, frozenset({("answer", "cannot be read")}), document)


def with_differences(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chain's document with a word diff at each revision that can be read as one."""
    return {**document, "answers": [{**one, "rounds": list(_rounds(one))} for one in document["answers"]]}


def texts_of(document: Mapping[str, Any]) -> str:
    """Return all texts of a chain, to be searched in."""
    found = [turn["content"] for turn in document["prompt"]]
    for answer in document["answers"]:
        found.append(answer["text"])
        found += [turn[name] for turn in answer.get("rounds", ()) for name in ("critique", "revision") if turn[name]]
    return "\n".join(found)


def _chain(
    name: str,
    messages: Sequence[Mapping[str, Any]],
    tags: Sequence[str],
    texts: Sequence[str],
    facts: set[Fact],
    verdicts: Sequence[Verdict],
    document: Mapping[str, Any],
) -> Chain:
    facts |= {("tag", tag) for tag in tags} | {("principle", verdict.principle_id) for verdict in verdicts}
    facts |= {("verdict", verdict.abstained or DECIDED) for verdict in verdicts}
    said = next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), next(iter(texts), ""))
    prompt = [{"role": turn["role"], "content": turn["content"]} for turn in messages]
    whole = {"id": name, "prompt": prompt, "tags": list(tags), **document}
    length = max(map(len, texts), default=0)
    return Chain(name, " ".join(said.split())[:TITLE], length, frozenset(facts), whole)


def _facts_of_trace(trace: Trace) -> Iterator[Fact]:
    if trace.model is not None:
        yield "model", trace.model
    yield "answer", "revised" if trace.final != trace.response else "as it was"
    if trace.truncated:
        yield "answer", "cut"
    for turn in trace.rounds:
        yield "principle", turn.principle_id
        if turn.gate is not None or turn.gate_mass is not None:
            yield "gate", _gate(turn.gate)


def _gate(probability: float | None) -> str:
    if probability is None:
        return NOT_ANSWERED
    return BROKEN if probability > CLEARLY_BROKEN else KEPT


def _trace(trace: Trace) -> dict[str, Any]:
    return {
        "name": f"response {trace.sample}",
        "text": trace.response,
        "model": trace.model,
        "cut": trace.truncated,
        "reasoning": trace.reasoning,
        "rounds": [_round(turn) for turn in trace.rounds],
    }


def _round(turn: Round) -> dict[str, Any]:
    return {
        "principle": turn.principle_id,
        "gate": turn.gate,
        "asked": turn.gate is not None or turn.gate_mass is not None,
        "critique": turn.critique,
        "revision": turn.revision,
        "cut": turn.truncated,
    }


def _evaluated(label: str, answer: Answer) -> dict[str, Any]:
    return {
        "name": label,
        "text": answer.response,
        "model": label,
        "cut": answer.truncated,
        "gates": [asdict(gate) for gate in answer.gates],
        "criteria": [_finding(one) for one in answer.criteria],
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {"about": one.about, "probability": one.probability}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "a": verdict.a_source,
        "b": verdict.b_source,
        "principle": verdict.principle_id,
        "first": verdict.first,
        "second": verdict.second,
        "probability": verdict.probability,
        "abstained": verdict.abstained,
        "reasons": list(verdict.rationales),
    }


def _rounds(answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    current = answer["text"]
    for turn in answer.get("rounds", ()):
        revision = turn["revision"]
        if revision is None:
            yield {**turn, "changes": None}
            continue
        yield {**turn, "changes": word_changes(current, revision) if are_alike(current, revision) else None}
        current = revision


def _said(turns: Sequence[Mapping[str, Any]]) -> str:
    return "\n\n".join(str(turn["content"]) for turn in turns)
