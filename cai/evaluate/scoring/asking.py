"""One answer to the judge, question by question; and one question with options to the model itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cai.core.errors import RowError
from cai.core.evidence import part_failure
from cai.core.identity import derive_seed, steady
from cai.core.records import SCORE, Finding, Message, PartFailure, Prompt, Row, Score, Trace
from cai.evaluate.examining import Opened
from cai.evaluate.scoring.questions import ScoringQuestion
from cai.evaluate.scoring.records import ScoredAnswer, make_scored, unasked
from cai.method.choosing import MINIMUM_MASS, choose_word
from cai.models.asking import Asker
from cai.models.base import Choice, Request, Sampling
from cai.models.meter import Meter, UsageCounter

NO_ANSWER = "the model gave no answer to score"


@dataclass(frozen=True, slots=True)
class AnswerScoring:
    """Asks the judge about a model's answers; where `ends` is the first option of a question, nothing more is asked."""

    opened: Opened
    questions: Callable[[Prompt], Sequence[ScoringQuestion]]
    ends: str | None = None

    async def row(self, prompt: Prompt) -> Row:
        """Return the row of an answer, with a score a question.

        Raises RowError where there is no answer, or a question failed that may be answered later.
        """
        opened, tally = self.opened, UsageCounter()
        answer = opened.answers.get(prompt.id)
        if answer is None:
            raise RowError(NO_ANSWER, stage=SCORE, retryable=True)  # it may have one when it is asked again
        judge = Meter(opened.judge, tally, opened.tally)
        dialogue: tuple[Message, ...] = (*prompt.messages, {"role": "assistant", "content": answer.response})
        scores: list[Score] = []
        failed: list[PartFailure] = []
        for question in self.questions(prompt):
            seed = derive_seed(opened.method.seed, prompt.id, SCORE, question.name)
            try:
                choice = await self._ask(judge, dialogue, question, seed)
            except RowError as error:
                if error.retryable:
                    raise
                failed.append(part_failure(f"score:{question.name}", error))
                scores.append(unasked(question.name, judge.name))
                continue
            scores.append(scored(question.name, judge.name, question.options, choice))
            if question.name == self.ends and _first(choice):
                break
        trace = Trace(0, opened.method.seed, answer.response, (), answer.response, answer.truncated)
        return Row(prompt, (trace,), (), tally.usage, opened.provenance, tuple(failed), tuple(scores))

    def entry(self, row: Row) -> ScoredAnswer:
        """Return what is kept of a row."""
        return make_scored(row)

    async def _ask(self, judge: Meter, dialogue: tuple[Message, ...], question: ScoringQuestion, seed: int) -> Choice:
        method = self.opened.method
        drawn = Sampling(method.sampling.temperature, method.sampling.top_p, method.sampling.max_tokens)
        asked: Message = {"role": "user", "content": question.text}
        request = Request((*dialogue, asked), drawn, seed, method.thinking.judging)
        return await choose_word(partial(Asker(judge).choose, SCORE), request, question.options, question.begin)


@dataclass(frozen=True, slots=True)
class OptionScoring:
    """Asks a model which of the options of a prompt is the answer; nothing is written."""

    opened: Opened
    name: str
    options: tuple[str, ...]
    begin: str

    async def row(self, prompt: Prompt) -> Row:
        """Return the row of a prompt, with one score; raises RowError as the engine's failures are told."""
        opened, tally = self.opened, UsageCounter()
        engine = Meter(opened.engine, tally, opened.tally)
        seed = derive_seed(opened.method.seed, prompt.id, SCORE, self.name)
        ask = partial(Asker(engine).choose, SCORE)
        choice = await choose_word(ask, Request(prompt.messages, Sampling(), seed), self.options, self.begin)
        scores = (scored(self.name, engine.name, self.options, choice),)
        return Row(prompt, (), (), tally.usage, opened.provenance, (), scores)

    def entry(self, row: Row) -> ScoredAnswer:
        """Return what is kept of a row."""
        return make_scored(row)


def scored(question: str, model: str, options: Sequence[str], choice: Choice) -> Score:
    """Return what was said to a question; the order of the options is kept."""
    mass = steady(choice.mass)
    said = zip(options, map(steady, choice.probabilities), strict=True)
    return Score("response:0", question, model, None, tuple(Finding(option, found, mass) for option, found in said))


def _first(choice: Choice) -> bool:
    """Tell whether the first option was chosen, with enough weight to count."""
    return steady(choice.mass) >= MINIMUM_MASS and max(choice.probabilities) == choice.probabilities[0]
