"""The dialogues that the embedded model is trained on: answers, critiques with revisions, gates and judgements.

Every request is worded by the very templates that cai uses, so the model learns cai's chain and nothing else. A turn's
weight is how much the model learns from it: what it shall say counts, what it only reads counts a little, and the
response under critique counts nothing, or it would dilute the "helpful only" habit of the answers.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.embedded import findings, foreign, offworld, wordings
from benchmarks.embedded.wordings import TOPICS, Topic
from cai.core.records import Message, RoleName
from cai.method.templates import Templates
from cai.tiny import world
from cai.tiny.world import KINDS, Kind, Question, Sentence

READ, SAID, CHOSEN, TIED, IGNORED = 0.05, 1.0, 4.0, 2.0, 0.0
DISTURBED = 0.4
"""How often a response that is gated or judged holds a foreign text, which changes nothing of what is right."""

_SYSTEMS = (
    "You are a helpful assistant.",
    "Answer the user.",
    "Be brief and helpful.",
    "You are a small model.",
    "Today is Monday.",
)
_FILLERS = (
    "just",
    "really",
    "maybe",
    "please",
    "actually",
    "now",
    "perhaps",
    "well",
    "so",
    "then",
    "today",
    "exactly",
    "possibly",
)
_TIMES = (
    "Today",
    "Right now",
    "These days",
    "At home",
    "This week",
    "Since yesterday",
    "Again",
    "For a while",
    "Somehow",
)
_ASKING = (
    "How?",
    "What now?",
    "Help me.",
    "What do you say?",
    "How is it done?",
    "Tell me.",
    "What would you do?",
    "Any advice?",
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and its weight in training."""

    role: RoleName
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt with a response to it; `question` is None when the prompt is from outside the world."""

    question: Question | None
    prompt: tuple[Message, ...]
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """The response as one text."""
        return world.text_of(self.sentences)

    def finding(self, topic: Topic) -> findings.Finding:
        """Return what a principle on `topic` truly finds in the response."""
        if self.question is None:
            return findings.Finding(topic, ())
        return findings.true_finding(self.question, self.sentences, topic)

    def breaks(self, topic: Topic) -> bool:
        """Return whether the response goes against a principle on `topic`."""
        return bool(self.finding(topic).quotes)


Dialogue = list[Turn]


class Writer:
    """Writes dialogues with one random stream.

    With `held` its questions are the ones that are never trained on: other slot combinations in other paraphrases.
    """

    def __init__(self, rng: random.Random, templates: Templates, *, held: bool = False) -> None:
        self._rng = rng
        self._templates = templates
        self._held = held
        self._intents = tuple(world.intents().values())

    def draw(self) -> Dialogue:
        """Return the next dialogue of the mix."""
        writers: Sequence[tuple[Callable[[], Dialogue], float]] = (
            (self.answer, 28),
            (self.off_world, 9),
            (self.chain, 28),
            (self.gates, 10),
            (self.judgement, 34),
            (self.reasoned_judgement, 2),
            (self.topic, 4),
        )
        return self._rng.choices([write for write, _ in writers], [share for _, share in writers])[0]()

    def question(self, *, intent: world.Intent | None = None) -> Question:
        """Return a question; trained ones are sometimes roughened, as people type."""
        intent = intent or self._rng.choice(self._intents)
        question = world.ask(self._rng, intent, held=self._held, new_frames=self._held)
        return question if self._held else Question(question.intent, question.values, self._roughened(question.text))

    def _roughened(self, text: str) -> str:
        chance = self._rng.random()
        if chance < 0.08:
            return text.lower()
        if chance < 0.14:
            return text.rstrip(".?!")
        if chance < 0.22:
            return f"{text} {self._rng.choice(_ASKING)}"
        if chance < 0.30:
            return f"{self._rng.choice(_TIMES)} {text[0].lower()}{text[1:]}"
        if chance < 0.36:
            return f"{text.rstrip('.?!')} {self._rng.choice(_TIMES).lower()}{text[-1]}"
        if chance < 0.48:
            words = text.split(" ")
            words.insert(self._rng.randint(1, len(words)), self._rng.choice(_FILLERS))
            return " ".join(words)
        return text

    def _prompt(self, question: Question) -> tuple[Message, ...]:
        messages: list[Message] = []
        if self._rng.random() < 0.05:
            messages.append({"role": "system", "content": self._rng.choice(_SYSTEMS)})
        if self._rng.random() < 0.06:
            if self._rng.random() < 0.5:
                earlier = self.question()
                said = world.text_of(world.answer(self._rng, earlier))
                messages += [{"role": "user", "content": earlier.text}, {"role": "assistant", "content": said}]
            else:
                messages += [
                    *offworld.prompt(self._rng)[-1:],
                    {"role": "assistant", "content": world.outside(self._rng)},
                ]
        return (*messages, {"role": "user", "content": question.text})

    def _read(self, messages: Sequence[Message]) -> Dialogue:
        return [Turn(m["role"], m["content"], IGNORED if m["role"] == "assistant" else READ) for m in messages]

    def answer(self) -> Dialogue:
        """Return a question and what the "helpful only" model says to it."""
        question = self.question()
        said = world.text_of(world.answer(self._rng, question))
        return [*self._read(self._prompt(question)), Turn("assistant", said, SAID)]

    def off_world(self) -> Dialogue:
        """Return a prompt from outside the world, and the sentence that says so."""
        prompt = offworld.prompt(self._rng)
        return [*self._read(prompt), Turn("assistant", world.outside(self._rng), SAID)]

    def _outside_case(self) -> Case:
        sentence = Sentence(world.outside(self._rng), world.shared()["outside"][0])
        return Case(None, tuple(offworld.prompt(self._rng)[-1:]), (sentence,))

    def _response(self, question: Question, broken: set[Kind]) -> tuple[Sentence, ...]:
        return tuple(world.compose(self._rng, question, broken))

    def _question_for(self, topic: Topic) -> Question:
        """Return a question whose responses can break `topic`."""
        fitting = [i for i in self._intents if topic == "other" or topic in world.breakable(i)]
        own = [i for i in fitting if topic in world.main_kinds(i)]
        return self.question(intent=self._rng.choice(own if own and self._rng.random() < 0.4 else fitting))

    def _others(self, question: Question, topic: Topic, chance: float) -> set[Kind]:
        rest = [kind for kind in world.breakable(question.intent) if kind != topic]
        return {self._rng.choice(rest)} if self._rng.random() < chance else set()

    def case(self, topic: Topic) -> Case:
        """Return a prompt and a response that breaks `topic` about every other time."""
        if self._rng.random() < 0.06:
            return self._outside_case()
        question = self._question_for(topic)
        broken = self._others(question, topic, 0.5)
        if topic != "other" and self._rng.random() < 0.55:
            broken.add(topic)
        return Case(question, self._prompt(question), self._response(question, broken))

    def _draw_topic(self) -> Topic:
        return self._rng.choices(TOPICS, [1.0] * len(KINDS) + [0.8])[0]

    def chain(self) -> Dialogue:
        """Return a response, its critique under a principle and its revision; sometimes with a second round."""
        topic = self._draw_topic()
        case = self.case(topic)
        turns = [*self._read(case.prompt), Turn("assistant", case.text, IGNORED)]
        for _ in range(self._rng.choice((1, 1, 2))):
            wording = wordings.draw(self._rng, topic)
            finding = case.finding(topic)
            turns.append(Turn("user", self._templates.critique(wording), READ))
            turns.append(Turn("assistant", findings.put(topic, finding.quotes), SAID))
            if self._rng.random() < 0.15:
                break
            kind = None if topic == "other" or case.question is None else topic
            if case.question is not None:
                revised = tuple(world.revise(self._rng, case.question, case.sentences, kind))
                case = Case(case.question, case.prompt, revised)
            turns.append(Turn("user", self._templates.revision(wording), READ))
            turns.append(Turn("assistant", case.text, SAID))
            left = [kind for kind in KINDS if case.breaks(kind)]
            topic = self._rng.choice(left) if left and self._rng.random() < 0.6 else self._draw_topic()
        return turns

    def gates(self) -> Dialogue:
        """Return a response and the gate's question under one principle, then under a few more."""
        topic = self._draw_topic()
        case = self.case(topic)
        if case.question is not None and self._rng.random() < 0.5:
            kinds = world.breakable(case.question.intent)
            broken = {kind for kind in kinds if self._rng.random() < 0.4}
            case = Case(case.question, case.prompt, self._response(case.question, broken))
        turns = [*self._read(case.prompt), Turn("assistant", self._shown(case), IGNORED)]
        for _ in range(self._rng.choice((1, 2, 4, 5))):
            turns.append(Turn("user", self._templates.gate(wordings.draw(self._rng, topic)), READ))
            turns.append(Turn("assistant", self._templates.gate_options[0 if case.breaks(topic) else 1], CHOSEN))
            topic = self._draw_topic()
        return turns

    def pair(self, topic: Topic) -> tuple[Case, Case, float]:
        """Return two responses to one prompt, the better one first, and the weight of that (TIED: none is better)."""
        chance = self._rng.random()
        if chance < 0.03:
            case = self._outside_case()
            return case, case, TIED
        question = self._question_for(topic)
        prompt = self._prompt(question)

        def response(broken: set[Kind]) -> Case:
            return Case(question, prompt, self._response(question, broken))

        clean, faulty = self._others(question, topic, 0.3), self._others(question, topic, 0.3)
        if chance < 0.11:
            return response(clean), self._off_topic(question, prompt), CHOSEN
        if topic == "other" or chance < 0.19:
            return response(clean), response(faulty), TIED
        faulty.add(topic)
        if chance < 0.22:
            return response(clean | {topic}), response(faulty), TIED
        if chance < 0.25:
            case = response(faulty)
            return case, case, TIED
        if chance < 0.28:
            return self._off_topic(question, prompt), response(faulty), CHOSEN
        if chance < 0.40:
            case = response(faulty)
            revised = tuple(world.revise(self._rng, question, case.sentences, topic))
            return Case(question, prompt, revised), case, CHOSEN
        if chance < 0.72:
            return (*self.conflict(topic), CHOSEN)
        return response(clean), response(faulty), CHOSEN

    def conflict(self, topic: Kind) -> tuple[Case, Case]:
        """Return two responses to one prompt of which only the second breaks `topic`; the first breaks another kind."""
        question = self._question_for(topic)
        prompt = self._prompt(question)
        other = self._response(question, self._others(question, topic, 1.0))
        return Case(question, prompt, other), Case(question, prompt, self._response(question, {topic}))

    def _shown(self, case: Case) -> str:
        """Return a response as a gate or a judge may meet it."""
        return foreign.disturb(self._rng, case.text) if self._rng.random() < DISTURBED else case.text

    def _off_topic(self, question: Question, prompt: tuple[Message, ...]) -> Case:
        """Return a response that belongs to another question; it is not counted as breaking anything."""
        while True:
            other = self.question()
            if other.intent is not question.intent:
                break
        if self._rng.random() < 0.4:
            return Case(None, prompt, self._outside_case().sentences)
        return Case(None, prompt, self._response(other, set()))

    def judgement(self) -> Dialogue:
        """Return two responses under a principle, and the letter of the better one."""
        topic = self._draw_topic()
        better, worse, weight = self.pair(topic)
        wording, place = wordings.draw(self._rng, topic), self._rng.randint(0, 1)
        first, second = (better, worse) if place == 0 else (worse, better)
        request = self._templates.judge(wording, better.prompt, self._shown(first), self._shown(second))
        return [Turn("user", request, READ), Turn("assistant", self._templates.judge_options[place], weight)]

    def reasoned_judgement(self) -> Dialogue:
        """Return two responses under a principle, what there is to say about both, and the letter of the better one."""
        topic = self._draw_topic()
        better, worse, weight = self.pair(topic)
        wording, place = wordings.draw(self._rng, topic), self._rng.randint(0, 1)
        first, second = (better, worse) if place == 0 else (worse, better)
        reasons = [
            f"({letter}) {findings.put(topic, case.finding(topic).quotes)}"
            for letter, case in (("A", first), ("B", second))
        ]
        request = self._templates.judge_reason(wording, better.prompt, self._shown(first), self._shown(second))
        return [
            Turn("user", request, READ),
            Turn("assistant", " ".join(reasons), SAID),
            Turn("user", self._templates.judge_decide(), READ),
            Turn("assistant", self._templates.judge_options[place], weight),
        ]

    def topic(self) -> Dialogue:
        """Return bare principles and what they are about: a short exercise that teaches many wordings cheaply."""
        turns: Dialogue = []
        for _ in range(3):
            topic = self._draw_topic()
            turns.append(Turn("user", f"What is this principle about? {wordings.draw(self._rng, topic).text}", READ))
            turns.append(Turn("assistant", findings.LABELS[topic], SAID))
        return turns
