"""Judgement: which of two answers keeps a principle better, as a probability or an abstention, never a guess.

The feedback step of Constitutional AI (arXiv 2212.08073, section 4.1): the label is the normalised probability of the
two letters under one sampled principle. As in RLAIF (2309.00267, section 2.1.1) both orders are asked and averaged,
because small judges lean on the position. With reasoning first, written or thought, probabilities are over-confident
and are clamped to 40-60 % (2212.08073, 4.1), unless a calibration of the judge's labels says better.

Only this module turns what was shown back into a's frame. A verdict abstains, with one of the
reasons in `verdicts.py`, rather than say something the judge did not.
"""

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from cai.constitution import Constitution, Principle
from cai.core.errors import RowError
from cai.core.identity import derive_seed, draw, steady
from cai.core.records import REASONING, VERDICT, Comparison, Message, Verdict
from cai.method.choosing import MINIMUM_MASS, choose_word
from cai.method.jury import jury_verdict
from cai.method.label_calibration import JudgeCalibration, JudgeCalibrations, load_calibrations, log_odds
from cai.method.parts import together
from cai.method.settings import JudgeSettings
from cai.method.templates import Templates
from cai.method.verdicts import CONTRADICTION, FAILED, IDENTICAL, LOW_MASS, TIE, UNREADABLE, is_tie
from cai.models.asking import NO_TEXT, Asker
from cai.models.base import NOT_THINKING, Engine, Request, Sampling, Thinking, jurors_of

CLAMP = (0.4, 0.6)

LETTER_TOKENS = 8
"""How long an answer that is to be a letter may be, by text."""

CALIBRATED = "judge-calibration"
"""What an identity calls the calibration of the judge's labels; it is not there where there is none."""

CONTRADICTION_MARGIN = 0.25
"""How far apart, in probability, two orders may be that prefer different answers."""


@dataclass(frozen=True, slots=True)
class JudgeConfiguration:
    """All that decides how a pair is judged, apart from the model and the pair.

    `sampling` is how what the judge writes or thinks before it decides is drawn; `calibrations` are those of the file
    in the settings, if there is one.
    """

    constitution: Constitution
    templates: Templates
    settings: JudgeSettings
    sampling: Sampling
    seed: int
    thinking: Thinking = NOT_THINKING
    calibrations: JudgeCalibrations | None = None

    @classmethod
    def load(
        cls,
        constitution: Constitution,
        templates: Templates,
        settings: JudgeSettings,
        sampling: Sampling,
        seed: int,
        thinking: Thinking,
    ) -> Self:
        """Return a configuration with the calibrations that the settings name; raises UsageError."""
        path = settings.judge_calibration
        known = None if path is None else load_calibrations(path)
        return cls(constitution, templates, settings, sampling, seed, thinking, known)

    @property
    def asked(self) -> dict[str, str]:
        """How a judge is asked, in an identity's words: what a calibration holds for."""
        return {"templates": f"{self.templates.language} {self.templates.fingerprint}", **self.settings.identity()}

    def identity(self) -> dict[str, str]:
        """Return how pairs are judged as an identity names it; see `JudgeSettings`."""
        calibrated = {} if self.calibrations is None else {CALIBRATED: self.calibrations.fingerprint}
        return self.settings.identity() | calibrated

    def calibration(self, engine: Engine) -> JudgeCalibration | None:
        """Return what the judge's labels are calibrated by; None: not. Raises UsageError for another's."""
        return None if self.calibrations is None else self.calibrations.of(judges_of(engine), self.asked)


@dataclass(frozen=True, slots=True)
class _Showing:
    """What one order gave: the probability that the first shown is better, the letters' mass, what was said before.

    Without a probability, `unreadable` is what the judge said instead.
    """

    probability: float | None
    mass: float | None
    rationales: tuple[str, ...]
    unreadable: str | None = None


def draw_principles(
    configuration: JudgeConfiguration, prompt_id: str, tags: tuple[str, ...], pair: tuple[str, str]
) -> tuple[Principle, ...]:
    """Return the principles to judge a pair under, drawn by weight without repetition; empty when none applies.

    The draw depends on the pair's sources, not on their order, so a swapped comparison is judged under the same ones.
    """
    left = list(configuration.constitution.applicable(tags))
    drawn: list[Principle] = []
    while left and len(drawn) < configuration.settings.judge_principles:
        whole = sum([item.weight for item in left])
        place = draw(configuration.seed, prompt_id, *sorted(pair), "judge", len(drawn)) * whole
        for index, item in enumerate(left):
            place -= item.weight
            if place < 0 or index == len(left) - 1:
                drawn.append(left.pop(index))
                break
    return tuple(drawn)


async def judge(
    engine: Engine,
    configuration: JudgeConfiguration,
    comparison: Comparison,
    principle: Principle,
    prompt_id: str,
) -> Verdict:
    """Return the verdict on a comparison under a principle.

    Judging `comparison.swap()` gives 1 - p, or the same abstention. Raises RowError, with the stage, when a
    request fails, and EngineGoneError as the engine does; see `failed_verdict`.
    """
    if comparison.a.strip() == comparison.b.strip():
        return _verdict(comparison, principle, None, None, None, IDENTICAL)
    calibration = configuration.calibration(engine)
    if jurors := jurors_of(engine):
        # One's own labels are combined as they are: the calibration is of the jury.
        alone = replace(configuration, calibrations=None)
        verdicts = await together(judge(juror, alone, comparison, principle, prompt_id) for juror in jurors)
        return jury_verdict(judges_of(engine), verdicts, calibration)
    asker = Asker(engine)
    a_first = b_first = None
    if configuration.settings.judge_orders == "both" or _shows_a_first(configuration, comparison, prompt_id):
        a_first = await _show(asker, configuration, comparison, principle, prompt_id)
    if configuration.settings.judge_orders == "both" or a_first is None:
        b_first = await _show(asker, configuration, comparison.swap(), principle, prompt_id)
    probability, abstained = _weigh(a_first, b_first, calibration)
    return _verdict(comparison, principle, a_first, b_first, probability, abstained)


def judges_of(engine: Engine) -> tuple[str, ...]:
    """Return the names of the jurors, or of the one judge."""
    return tuple(juror.name for juror in jurors_of(engine)) or (engine.name,)


async def first_of_identical(
    engine: Engine, configuration: JudgeConfiguration, comparison: Comparison, principle: Principle, prompt_id: str
) -> float | None:
    """Return how likely the judge finds the first better where both answers are a; None for words it cannot read.

    Raises as `judge` does.
    """
    same = replace(comparison, b=comparison.a)
    return (await _show(Asker(engine), configuration, same, principle, prompt_id)).probability


def failed_verdict(comparison: Comparison, principle: Principle) -> Verdict:
    """Return the verdict that stands for one which could not be had: an abstention like others, with its own reason."""
    return _verdict(comparison, principle, None, None, None, FAILED)


def _shows_a_first(configuration: JudgeConfiguration, comparison: Comparison, prompt_id: str) -> bool:
    sources = sorted((comparison.a_source, comparison.b_source))
    shown_first = sources[0] if draw(configuration.seed, prompt_id, *sources, "order") < 0.5 else sources[1]
    return shown_first == comparison.a_source


async def _show(
    asker: Asker, configuration: JudgeConfiguration, shown: Comparison, principle: Principle, prompt_id: str
) -> _Showing:
    """Ask once, with a shown as the first answer."""
    templates, settings = configuration.templates, configuration.settings
    seed = derive_seed(configuration.seed, prompt_id, "show", principle.id, shown.a_source, shown.b_source)
    rationales: list[str] = []
    if settings.judge_reasoning:
        question = _user(templates.judge_reason(principle, shown.messages, shown.a, shown.b, shown.reference))
        request = Request((question,), configuration.sampling, seed, configuration.thinking)
        reasons = await asker.write(REASONING, request)
        rationales += (reasons.reasoning, reasons.text)
        answered = Message(role="assistant", content=reasons.text)
        messages: tuple[Message, ...] = (question, answered, _user(templates.judge_decide()))
    else:
        messages = (_user(templates.judge(principle, shown.messages, shown.a, shown.b, shown.reference)),)
    if settings.judge_by == "text":
        said, thought = await _say(asker, configuration, messages, seed)
        probability = _read_letter(said, templates.judge_options)
        return _Showing(probability, None, _kept(*rationales, thought), said if probability is None else None)
    request = Request(messages, configuration.sampling, seed, configuration.thinking)
    ask = partial(asker.choose, VERDICT)
    choice = await choose_word(ask, request, templates.judge_options, templates.judge_prefill)
    return _Showing(steady(choice.probabilities[0]), steady(choice.mass), _kept(*rationales, choice.reasoning))


async def _say(
    asker: Asker, configuration: JudgeConfiguration, messages: tuple[Message, ...], seed: int
) -> tuple[str, str]:
    """Return what the judge says, which may be nothing (that is no letter either), and what it thought before."""
    thinking = configuration.thinking
    shared = thinking.mode != "off" and thinking.budget is None  # the thought takes its tokens from the text's
    limit = configuration.sampling.max_tokens if shared else LETTER_TOKENS
    try:
        completion = await asker.write(VERDICT, Request(messages, Sampling(0.0, max_tokens=limit), seed, thinking))
    except RowError as error:
        if error.kind != NO_TEXT:
            raise
        return error.raw, ""
    return completion.text, completion.reasoning


def _kept(*said: str) -> tuple[str, ...]:
    """Return what is not empty of what a judge wrote or thought."""
    return tuple([text for text in said if text])


def _read_letter(text: str, options: tuple[str, str]) -> float | None:
    """Return 1 or 0 for a text that is one of the letters, brackets and stops aside; otherwise None."""
    letter = re.sub(r"[\s().:*\"']", "", text)
    return {options[0]: 1.0, options[1]: 0.0}.get(letter)


def _in_frame_of_a(a_first: _Showing | None, b_first: _Showing | None) -> tuple[float | None, float | None]:
    """Return the probabilities that a is better, where it was shown first and where it was shown second."""
    first = a_first.probability if a_first else None
    second = 1.0 - b_first.probability if b_first and b_first.probability is not None else None
    return first, second


def _weigh(
    a_first: _Showing | None, b_first: _Showing | None, calibration: JudgeCalibration | None
) -> tuple[float | None, str | None]:
    """Return the probability that a is better, or None and the reason for abstaining.

    A calibration knows how over-confident reasons make the judge, so that nothing is clamped with it.
    """
    showings = [showing for showing in (a_first, b_first) if showing is not None]
    for showing in showings:
        if showing.probability is None:
            return None, UNREADABLE
    for showing in showings:
        if showing.mass is not None and showing.mass < MINIMUM_MASS:
            return None, LOW_MASS
    known = [value for value in _in_frame_of_a(a_first, b_first) if value is not None]
    disagree = min(known) < 0.5 < max(known)
    if disagree and max(known) - min(known) > CONTRADICTION_MARGIN:
        return None, CONTRADICTION
    if calibration is None and any(showing.rationales for showing in showings):
        known = [min(max(value, CLAMP[0]), CLAMP[1]) for value in known]
    probability = sum(known) / len(known)
    if calibration is not None:
        probability = calibration.label([log_odds(probability)])
    if is_tie(probability):
        return None, TIE
    return probability, None


def _verdict(
    comparison: Comparison,
    principle: Principle,
    a_first: _Showing | None,
    b_first: _Showing | None,
    probability: float | None,
    abstained: str | None,
) -> Verdict:
    first, second = _in_frame_of_a(a_first, b_first)
    showings = [showing for showing in (a_first, b_first) if showing is not None]
    return Verdict(
        a_source=comparison.a_source,
        b_source=comparison.b_source,
        principle_id=principle.id,
        first=first,
        second=second,
        first_mass=a_first.mass if a_first else None,
        second_mass=b_first.mass if b_first else None,
        probability=probability,
        abstained=abstained,
        rationales=tuple([text for showing in showings for text in showing.rationales]),
        unreadable=tuple([showing.unreadable for showing in showings if showing.unreadable is not None]),
    )


def _user(content: str) -> Message:
    return {"role": "user", "content": content}
