"""Principles in as many wordings as word lists allow, and the kind of violation that each of them is about.

The model is to recognise what a principle is about from almost any wording of it, so the wordings vary in every respect
that does not matter: terse or long, a ban or a demand or a question, with unknown words, with words missing.
`other` is a principle that nothing in this world goes against.
"""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.embedded import offworld
from cai.core.resources import shipped
from cai.tiny import world
from cai.tiny.oracle import SHIPPED
from cai.tiny.world import KINDS, Kind, sentence_case

Topic = Kind | Literal["other"]
TOPICS: tuple[Topic, ...] = (*KINDS, "other")

Form = Literal["bad", "good", "nouns", "whole", "terms"]
_FORMS: tuple[Form, ...] = ("bad", "good", "nouns", "whole", "terms")


@dataclass(frozen=True, slots=True)
class Wording:
    """A principle's texts, as templates see them, with what it is about."""

    topic: Topic
    text: str
    critique: str | None = None
    revision: str | None = None
    preference: str | None = None
    id: str = "wording"


@cache
def shipped_wordings() -> tuple[Wording, ...]:
    """Return the shipped principles that are about this world."""
    found = []
    for name in ("harmless", "medical"):
        for raw in yaml.safe_load(shipped("constitutions", f"{name}.yaml").read_text(encoding="utf-8"))["principles"]:
            texts = {field: raw.get(field) for field in ("critique", "revision", "preference")}
            found.append(Wording(SHIPPED[raw["id"]], raw["text"], **texts))
    return tuple(found)


def _lists() -> Any:
    return world.read_yaml(Path(__file__).parent / "data" / "wordings.yaml")


def _expand(rng: random.Random, topic: Topic, text: str) -> str:
    kind = _lists()["kinds"][topic]
    parts: dict[str, Any] = _lists()["any"] | kind["parts"] | {"term": kind["terms"]}

    def value(name: str) -> str:
        chosen = rng.choice(parts[name.lower()])
        return sentence_case(chosen) if name[0].isupper() else chosen

    return world.SLOT.sub(lambda slot: value(slot[1]), text)


def phrase(rng: random.Random, topic: Topic, form: Form) -> str:
    """Return one phrase on the topic: a wrong deed, a right deed, a wrong thing, a whole rule, or a bare term."""
    return _expand(rng, topic, rng.choice(_lists()["kinds"][topic][form]))


def _framed(rng: random.Random, topic: Topic, form: Form) -> str:
    if form == "terms":
        return _expand(rng, topic, rng.choice(_lists()["frames"]["terms"]))
    core = phrase(rng, topic, form)
    if form != "nouns" and rng.random() < 0.15:
        core = f"{core} {rng.choice(('or', 'and'))} {phrase(rng, topic, form)}"
    slot = form.removesuffix("s")
    frame = rng.choice(_lists()["frames"][form])
    text = frame.replace("{" + slot + "}", core).replace("{" + slot.capitalize() + "}", sentence_case(core))
    return _expand(rng, topic, text)


def rule(rng: random.Random, topic: Topic) -> str:
    """Return one sentence that states a rule on the topic."""
    form = rng.choices(_FORMS, (32, 27, 18, 11, 12))[0]
    text = phrase(rng, topic, "whole") if form == "whole" else _framed(rng, topic, form)
    text = sentence_case(text)
    if rng.random() < 0.2:
        tail = rng.choice(_lists()["frames"]["tails"])
        text = (
            f"{text[:-1]}, {tail}{text[-1]}"
            if rng.random() < 0.7
            else f"{sentence_case(tail)}, {text[0].lower()}{text[1:]}"
        )
    return text


def _roughened(rng: random.Random, text: str) -> str:
    """Return the text as a hasty writer might have put it: words missing, strange ones added, no full stop."""
    words = text.split(" ")
    if rng.random() < 0.15 and len(words) > 4:
        words = [word for word in words if rng.random() > 0.12] or words
    if rng.random() < 0.2:
        for _ in range(rng.randint(1, 3)):
            words.insert(rng.randint(0, len(words)), offworld.any_word(rng))
    text = " ".join(words)
    if rng.random() < 0.08:
        text = text.lower()
    if rng.random() < 0.08:
        text = text.rstrip(".")
    return text


def draw(rng: random.Random, topic: Topic) -> Wording:
    """Return a principle on the topic: a shipped one now and then, mostly one in words of its own."""
    if topic != "other" and rng.random() < 0.15:
        return rng.choice([wording for wording in shipped_wordings() if wording.topic == topic])
    text = " ".join(rule(rng, topic) for _ in range(rng.choices((1, 2), (85, 15))[0]))
    return Wording(
        topic,
        _roughened(rng, text),
        critique=f"Does the response {phrase(rng, topic, 'bad')}?" if rng.random() < 0.2 else None,
        revision=sentence_case(phrase(rng, topic, "good")) + "." if rng.random() < 0.2 else None,
        preference=rule(rng, topic) if rng.random() < 0.1 else None,
    )
