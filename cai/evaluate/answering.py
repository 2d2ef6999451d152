"""One prompt to one model under evaluation: the response, then the judge's gate under every principle that applies.

Every model draws with the same seed for the same prompt, so that differences between models are paired.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from cai.constitution import Principle
from cai.core.errors import RowError
from cai.core.evidence import part_failure
from cai.core.identity import derive_seed
from cai.core.records import (
    GATE,
    RESPONSE,
    SCORE,
    Finding,
    Message,
    PartFailure,
    Prompt,
    Provenance,
    Round,
    Row,
    Score,
    Trace,
)
from cai.evaluate.attacking import NO_ATTACKS, Attacks
from cai.evaluate.records import Answer, Gate, Truth
from cai.method.critique import Method, make_round, respond_and_revise
from cai.method.gate import GateAnswer, ask_gate
from cai.method.jury import jury_gate
from cai.method.parts import together
from cai.method.questions import Asking, CriterionQuestions
from cai.method.refusals import refuses
from cai.models.asking import NO_TEXT, Asker
from cai.models.base import Completion, Engine, Request, jurors_of
from cai.models.meter import Meter, UsageCounter
from cai.tiny import oracle

GATES, RUBRIC = "gates", "rubric"
"""What a row's scores are by: what each of several judges said of the gates, and the criteria of a rubric."""


@dataclass(frozen=True, slots=True)
class Answering:
    """A model that answers and a judge that looks; `method` has no rounds of revision. `tally` counts all tokens."""

    model: Engine
    judge: Engine
    method: Method
    provenance: Provenance
    tally: UsageCounter
    attacks: Attacks = NO_ATTACKS

    async def row(self, prompt: Prompt, known: Trace | None = None) -> Row:
        """Return the prompt's row: one trace, with a round for each gate, and its score where there are criteria.

        Of a `known` response only the gates are asked. A question that failed has no answer.

        Raises RowError when there is no response, or when a gate may be answered later, and what else an engine raises.
        """
        tally = UsageCounter()
        trace = known or await self._trace(prompt, tally)
        dialogue: tuple[Message, ...] = (*prompt.messages, {"role": "assistant", "content": trace.response})
        judge = Meter(self.judge, tally, self.tally)
        applicable = self.method.constitution.applicable(prompt.tags)
        rounds, failed, jurors = await ask_gates(judge, self.method, dialogue, applicable, prompt.id, "gate")
        scores = (*await self._rubric(prompt, dialogue, judge, failed), *jurors)
        traces = (replace(trace, rounds=tuple(rounds)),)
        return Row(prompt, traces, (), tally.usage, self.provenance, tuple(failed), scores)

    async def _rubric(
        self, prompt: Prompt, dialogue: tuple[Message, ...], judge: Engine, failed: list[PartFailure]
    ) -> tuple[Score, ...]:
        """Return the score of the response under the criteria, none where there are none; raises as `row` does."""
        criteria = self.method.constitution.criteria(prompt.rubric)
        if not criteria:
            return ()
        asking = Asking(self.method.templates, self.method.thinking.judging, self.method.sampling)
        questions = CriterionQuestions(asking, criteria)
        ask, findings = partial(Asker(judge).choose, SCORE), []
        for place, name in enumerate(questions.names):
            try:
                seed = derive_seed(self.method.seed, prompt.id, SCORE, name)
                findings.append(await questions.ask(ask, dialogue, place, seed))
            except RowError as error:
                if error.retryable:
                    raise
                failed.append(part_failure(f"score:{name}", error))
                findings.append(Finding(name, None, None))
        value = questions.value([finding.probability for finding in findings])
        return (Score("response:0", RUBRIC, judge.name, value, tuple(findings)),)

    async def _trace(self, prompt: Prompt, tally: UsageCounter) -> Trace:
        try:
            engine, sent = self.attacks.send(Meter(self.model, tally, self.tally), prompt)
            return await respond_and_revise(engine, self.method, sent, 0)
        except RowError as error:
            if error.kind == NO_TEXT:
                error.kind = ""  # a model that says nothing is a finding, not a broken engine
            raise


async def answer_turn(engine: Engine, method: Method, messages: tuple[Message, ...], *steps: str | int) -> Completion:
    """Return a model's next turn in a conversation; `steps` name it within the seed.

    Raises RowError where there is none, and what else an engine raises.
    """
    request = Request(messages, method.sampling, derive_seed(method.seed, *steps), method.thinking.response)
    try:
        return await Asker(engine).write(RESPONSE, request)
    except RowError as error:
        if error.kind == NO_TEXT:
            error.kind = ""  # a model that says nothing is a finding, not a broken engine
        raise


class AskedGates(NamedTuple):
    """The gates on one answer, a round each, those that failed, and of several judges what each says of all of them."""

    rounds: list[Round]
    failed: list[PartFailure]
    jurors: tuple[Score, ...]


async def ask_gates(
    judge: Engine, method: Method, dialogue: tuple[Message, ...], principles: Iterable[Principle], *steps: str | int
) -> AskedGates:
    """Return what the judge's gate says, for each principle, of the dialogue's last turn.

    A gate that failed for good has no answer in its round. `steps` name the question within the seed. Raises RowError
    where a gate may be answered later, and what else an engine raises.
    """
    jurors = jurors_of(judge)
    said: dict[str, list[Finding]] = {juror.name: [] for juror in jurors}
    rounds: list[Round] = []
    failed: list[PartFailure] = []

    async def ask(one: Engine, principle: Principle) -> GateAnswer:
        return await ask_gate(
            partial(Asker(one).choose, GATE),
            method.templates,
            dialogue,
            principle,
            thinking=method.thinking.judging,
            sampling=method.sampling,
            seed=derive_seed(method.seed, *steps, principle.id),
        )

    for principle in principles:
        gate = None
        try:
            found = await together(ask(one, principle) for one in jurors or (judge,))
        except RowError as error:
            if error.retryable:
                raise
            failed.append(part_failure(f"gate:{principle.id}", error))
        else:
            gate = jury_gate(found)
            for juror, answer in zip(jurors, found, strict=False):
                said[juror.name].append(Finding(principle.id, answer.probability, answer.mass))
        rounds.append(make_round(principle, gate))
    votes = tuple(Score("response:0", GATES, name, None, tuple(one)) for name, one in said.items())
    return AskedGates(rounds, failed, votes)


def make_answer(row: Row) -> Answer:
    """Return what is kept of a row, with what the refusal detector and the oracle say of it."""
    (trace,) = row.traces
    rubric = next((score for score in row.scores if score.by == RUBRIC), None)
    jurors = [{one.about: one.probability for one in score.findings} for score in row.scores if score.by == GATES]
    return Answer(
        id=row.prompt.id,
        ordinal=row.prompt.ordinal,
        messages=row.prompt.messages,
        tags=row.prompt.tags,
        response=trace.response,
        truncated=trace.truncated,
        refuses=refuses(trace.response),
        gates=tuple(
            Gate(turn.principle_id, turn.gate, tuple(said.get(turn.principle_id) for said in jurors))
            for turn in trace.rounds
        ),
        truth=truth_of(row.prompt, trace.response),
        usage=row.usage,
        failed=row.failed,
        criteria=() if rubric is None else rubric.findings,
        rubric=None if rubric is None else rubric.value,
    )


def truth_of(prompt: Prompt, response: str) -> Truth | None:
    """Return what the oracle says of a response to a first turn that it understands; None of all others."""
    question = oracle.understand(prompt.messages[0]["content"]) if len(prompt.messages) == 1 else None
    if question is None:
        return None
    meaning = oracle.read(question, response)
    return Truth(
        harmful=meaning.harmful,
        broken=tuple(sorted(meaning.broken)),
        on_topic=meaning.on_topic,
        declines=meaning.declines,
        outside=meaning.outside,
        good=meaning.good,
    )
