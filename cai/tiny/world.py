"""The micro-world: what is asked in it, and every right and wrong way to answer.

A response is a list of sentences with roles. `compose` builds one that breaks exactly the given kinds, and `revise` is
the right revision of one under a principle of one kind; both are what the model learns from (benchmarks/embedded). The
oracle reads the same grammar the other way round.
"""

import hashlib
import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

Kind = Literal["dose", "emergency", "certainty", "privacy", "tone", "harm", "refusal"]
KINDS: tuple[Kind, ...] = ("dose", "emergency", "certainty", "privacy", "tone", "harm", "refusal")
ASIDE_KINDS: tuple[Kind, ...] = ("tone", "dose", "certainty", "privacy", "harm")

Role = Literal["opener", "good", "bad", "decline", "aside", "extra", "closer", "outside"]

SLOT = re.compile(r"\{(\w+)\}")
HELD_SHARE = 7
"""One slot combination in this many is held out."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One kind of sentence: its template, what it does in a response and what it breaks."""

    template: str
    role: Role
    kinds: frozenset[Kind] = frozenset()
    intent: str | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """A clause with its slots filled."""

    text: str
    clause: Clause


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing that people ask for."""

    name: str
    risky: bool
    slots: tuple[str, ...]
    frames: tuple[str, ...]
    held: tuple[str, ...]
    tags: tuple[str, ...]
    good: tuple[Clause, ...]
    bad: tuple[Clause, ...]
    declines: tuple[Clause, ...]
    extras: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt whose meaning is known: its intent, the values of its slots and its text."""

    intent: Intent
    values: tuple[tuple[str, str], ...]
    text: str


@cache
def read_yaml(path: Path) -> Any:
    """Return a YAML file's content, read once."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def data(name: str) -> Any:
    """Return the content of the data file `name`.yaml that lies beside this module."""
    return read_yaml(Path(__file__).parent / "data" / f"{name}.yaml")


def _clauses(
    role: Role, templates: Sequence[str], kinds: Collection[Kind] = (), intent: str | None = None
) -> tuple[Clause, ...]:
    return tuple(Clause(template, role, frozenset(kinds), intent) for template in templates)


@cache
def shared() -> dict[str, tuple[Clause, ...]]:
    """Return the clauses that fit any response: openers, closers, outside and, under each kind's name, its asides."""
    world = data("world")
    clauses = {
        "openers": _clauses("opener", world["openers"]),
        "closers": _clauses("closer", world["closers"]),
        "outside": _clauses("outside", world["outside"]),
    }
    return clauses | {kind: _clauses("aside", world["asides"][kind], {kind}) for kind in ASIDE_KINDS}


@cache
def intents() -> dict[str, Intent]:
    """Return every intent by name."""
    world, found = data("world"), {}
    for name, raw in data("intents").items():
        risky = raw.get("risky", False)
        breaks: tuple[Kind, ...] = () if risky else ("refusal",)
        refusals = world["decline"] + ([] if risky else world["preach"])
        found[name] = Intent(
            name=name,
            risky=risky,
            slots=tuple(raw["slots"]),
            frames=tuple(raw["frames"]),
            held=tuple(raw["held"]),
            tags=tuple(raw.get("tags", [name])) if risky else ("benign",),
            good=_clauses("good", raw["good"], (), name),
            bad=tuple(Clause(text, "bad", frozenset(kinds.split()), name) for kinds, text in raw.get("bad", [])),
            declines=_clauses(
                "decline",
                [text.replace("{matter}", raw["matter"]) for text in refusals],
                breaks,
                name,
            ),
            extras=_clauses("extra", world["extras"][raw["extras"]]),
        )
    return found


def sentence_case(text: str) -> str:
    """Return `text` with its first letter raised."""
    return text[:1].upper() + text[1:]


def yours(value: str) -> str:
    """Return a slot's value as a response says it: what the user calls "my", the response calls "your"."""
    return re.sub(r"\bmy\b", "your", value)


def free_values(slot: str) -> Sequence[str]:
    """Return what a slot that the question leaves open may hold, as a response says it."""
    world = data("world")
    if slot in ("ill", "ill2"):
        return sorted({illness for pair in world["illnesses"].values() for illness in pair})
    return world["free"].get(slot) or [yours(value) for value in world["slots"][slot]]


def fill(clause: Clause, question: Question, rng: random.Random) -> Sentence:
    """Return the clause with the question's values, and drawn ones where it leaves a slot open."""
    values = {} if clause.role == "aside" else {slot: yours(value) for slot, value in question.values}
    symptom = dict(question.values).get("symptom")
    if symptom and clause.role != "aside":
        values["ill"], values["ill2"] = rng.sample(data("world")["illnesses"][symptom], 2)
    text = SLOT.sub(lambda slot: values.get(slot[1]) or rng.choice(free_values(slot[1])), clause.template)
    return Sentence(sentence_case(text), clause)


def is_held_out(intent: Intent, values: Mapping[str, str], frame: str) -> bool:
    """Return whether this combination of slots (of slot and frame, where there is one slot) is never trained on."""
    parts = [intent.name, *(values[slot] for slot in intent.slots)] + ([frame] if len(intent.slots) == 1 else [])
    return hashlib.blake2b("|".join(parts).encode(), digest_size=4).digest()[0] % HELD_SHARE == 0


def ask(rng: random.Random, intent: Intent, *, held: bool, new_frames: bool = False) -> Question:
    """Return a question of this intent from the trained slot combinations, or only from the held-out ones.

    `new_frames` takes one of the paraphrases that are never trained on.
    """
    while True:
        frame = rng.choice(intent.held if new_frames else intent.frames)
        values = {slot: rng.choice(data("world")["slots"][slot]) for slot in intent.slots}
        if is_held_out(intent, values, frame) == held or (new_frames and len(intent.slots) == 1):
            break
    text = SLOT.sub(lambda slot: values[slot[1]], frame)
    text = re.sub(r"(?:^|(?<=[.?!] ))[a-z]", lambda letter: letter[0].upper(), text)
    if rng.random() < 0.25:
        text = f"{rng.choice(data('world')['prefixes'])} {text}"
    if rng.random() < 0.2:
        text = f"{text} {rng.choice(data('world')['suffixes'])}"
    return Question(intent, tuple(values.items()), text)


def main_kinds(intent: Intent) -> frozenset[Kind]:
    """Return what the wrong main sentence of this intent breaks."""
    return intent.bad[0].kinds if intent.risky else frozenset({"refusal"})


def breakable(intent: Intent) -> tuple[Kind, ...]:
    """Return the kinds that a response to this intent can break."""
    return tuple(kind for kind in KINDS if kind in main_kinds(intent) or kind in ASIDE_KINDS)


def compose(rng: random.Random, question: Question, broken: Collection[Kind]) -> list[Sentence]:
    """Return a response that stays on topic and breaks exactly the kinds in `broken`."""
    intent, left = question.intent, set(broken)
    extras = [fill(clause, question, rng) for clause in rng.sample(intent.extras, rng.choice((0, 0, 1, 1, 2)))]
    wrong = main_kinds(intent) <= left and (rng.random() < 0.85 or not main_kinds(intent) <= set(ASIDE_KINDS))
    late = False
    if wrong:
        left -= main_kinds(intent)
        late = "emergency" in main_kinds(intent) and rng.random() < 0.3
        mains = intent.good if late else intent.bad or intent.declines
        if late and not extras:
            extras = [fill(rng.choice(intent.extras), question, rng)]
    else:
        declines = intent.risky and "emergency" not in main_kinds(intent) and intent.declines and rng.random() < 0.2
        mains = intent.declines if declines else intent.good
    body = [fill(rng.choice(mains), question, rng)]
    if wrong and not late and "emergency" in main_kinds(intent) and rng.random() < 0.2:
        body.append(fill(rng.choice(intent.good), question, rng))
    for kind in sorted(left):
        body.insert(rng.randint(1, len(body)), fill(rng.choice(shared()[kind]), question, rng))
    body = extras[:1] + body + extras[1:] if late else body + extras
    if rng.random() < 0.3:
        body.insert(0, fill(rng.choice(shared()["openers"]), question, rng))
    if rng.random() < 0.3:
        body.append(fill(rng.choice(shared()["closers"]), question, rng))
    return body


def answer(rng: random.Random, question: Question) -> list[Sentence]:
    """Return what the "helpful only" model says: it mostly does as it is asked, and is not careful in other things."""
    intent = question.intent
    broken = set(main_kinds(intent)) if rng.random() < (0.78 if intent.risky else 0.03) else set()
    if rng.random() < 0.2:
        broken.add(rng.choice(ASIDE_KINDS))
    return compose(rng, question, broken)


def guilty(question: Question, sentences: Sequence[Sentence], kind: Kind) -> list[Sentence]:
    """Return the sentences that break `kind`: those that a critique quotes.

    An emergency is answered right when the first sentence with advice sends for emergency services; otherwise that
    first sentence is the guilty one, together with every sentence that tells the user to wait.
    """
    found = [sentence for sentence in sentences if kind in sentence.clause.kinds]
    if kind == "emergency" and "emergency" in main_kinds(question.intent):
        advice = [sentence for sentence in sentences if sentence.clause.role in ("good", "bad", "extra")]
        if advice and advice[0].clause.role != "good" and advice[0] not in found:
            return [advice[0], *found]
    return found


def revise(rng: random.Random, question: Question, sentences: Sequence[Sentence], kind: Kind | None) -> list[Sentence]:
    """Return the response with what breaks `kind` taken out or put right, and everything else word for word."""
    wrong = guilty(question, sentences, kind) if kind else []
    if not wrong:
        return list(sentences)
    good = [sentence for sentence in sentences if sentence.clause.role == "good"]
    if kind == "emergency":
        rest = [s for s in sentences if s not in good and not (s in wrong and s.clause.role == "bad")]
        first = 1 if rest and rest[0].clause.role == "opener" else 0
        call = good[:1] or [fill(rng.choice(question.intent.good), question, rng)]
        return [*rest[:first], *call, *rest[first:]]
    kept: list[Sentence] = []
    for sentence in sentences:
        if sentence not in wrong:
            kept.append(sentence)
        elif sentence.clause.role in ("bad", "decline") and not good:
            good = [fill(rng.choice(question.intent.good), question, rng)]
            kept.extend(good)
    return kept


def outside(rng: random.Random) -> str:
    """Return the plain sentence for a prompt that this world knows nothing of."""
    return rng.choice(shared()["outside"]).template


def text_of(sentences: Sequence[Sentence]) -> str:
    """Return the response as one text."""
    return " ".join(sentence.text for sentence in sentences)
