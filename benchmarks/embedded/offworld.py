"""Prompts from outside the micro-world, as varied as word lists allow, so that the model says so instead of guessing.

They range from single words over questions of every field, other scripts and pure noise to long conversations.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai.core.records import Message
from cai.tiny import world

_SCRIPTS = (
    (0xAC00, 0xD7A3),
    (0x3041, 0x3093),
    (0x4E00, 0x9FA5),
    (0x0410, 0x044F),
    (0x0391, 0x03C9),
    (0x0621, 0x064A),
    (0x0905, 0x0939),
)
_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxz", "aeiouy"


def _lists() -> Any:
    return world.read_yaml(Path(__file__).parent / "data" / "offworld.yaml")


def made_up_word(rng: random.Random) -> str:
    """Return a pronounceable word that most likely means nothing."""
    return "".join(
        rng.choice(_CONSONANTS) + rng.choice(_VOWELS) + rng.choice(("", "", *_CONSONANTS))
        for _ in range(rng.randint(1, 4))
    )


def any_word(rng: random.Random) -> str:
    """Return a word from the off-world lists, or a made-up one."""
    words = _lists()["words"]
    return made_up_word(rng) if rng.random() < 0.3 else rng.choice(words[rng.choice(sorted(words))])


def _from_frame(rng: random.Random) -> str:
    lists = _lists()["words"] | world.data("world")["slots"]

    def value(name: str) -> str:
        if name == "year":
            return str(rng.randint(3, 2100))
        if name == "digit":
            return str(rng.randint(2, 12))
        return (
            made_up_word(rng)
            if name in ("thing", "name", "subject") and rng.random() < 0.25
            else rng.choice(lists[name])
        )

    return world.sentence_case(world.SLOT.sub(lambda slot: value(slot[1]), rng.choice(_lists()["frames"])))


def _noise(rng: random.Random) -> str:
    if rng.random() < 0.4:
        low, high = rng.choice(_SCRIPTS)
        return " ".join(
            "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))) for _ in range(rng.randint(1, 7))
        )
    if rng.random() < 0.3:
        return "".join(chr(rng.randint(33, 126)) for _ in range(rng.randint(1, 40)))
    return " ".join(made_up_word(rng) for _ in range(rng.randint(1, 10)))


def _soup(rng: random.Random) -> str:
    """Return words of English questions around off-world ones, in a shape that no frame has."""
    starts = (
        "How can I",
        "What is",
        "Why do",
        "When will",
        "Tell me about",
        "I want",
        "Is there",
        "Please",
        "Can you",
        "Where is",
        "My",
        "The",
        "Do you know",
        "Write",
        "Explain",
        "What are",
        "How do you",
    )
    glue = (
        "the",
        "a",
        "of",
        "with",
        "for",
        "and",
        "in",
        "to",
        "from",
        "my",
        "your",
        "on",
        "about",
        "without",
        "into",
        "or",
    )
    words = [rng.choice(starts)]
    for _ in range(rng.randint(2, 7)):
        words += [rng.choice(glue), any_word(rng)] if rng.random() < 0.7 else [any_word(rng)]
    return " ".join(words) + rng.choice("?.?!")


def line(rng: random.Random) -> str:
    """Return one thing that somebody might say."""
    chance = rng.random()
    if chance < 0.45:
        text = _from_frame(rng)
    elif chance < 0.65:
        text = rng.choice(_lists()["lines"])
    elif chance < 0.88:
        text = _soup(rng)
    else:
        text = _noise(rng)
    if rng.random() < 0.1:
        text = f"{rng.choice(world.data('world')['prefixes'])} {text}"
    if rng.random() < 0.08:
        text = f"{text} {rng.choice(world.data('world')['suffixes'])}"
    if rng.random() < 0.15:
        text = text.lower()
    return text


def prompt(rng: random.Random) -> list[Message]:
    """Return a conversation that ends with an off-world line of the user; a few of them are long."""
    messages: list[Message] = []
    if rng.random() < 0.15:
        for _ in range(rng.choice((1, 1, 2, 2, 3, 5))):
            messages += [
                {"role": "user", "content": _paragraph(rng)},
                {"role": "assistant", "content": _said(rng)},
            ]
    messages.append({"role": "user", "content": _paragraph(rng)})
    return messages


def _paragraph(rng: random.Random) -> str:
    lines = rng.choice((1, 1, 1, 1, 1, 1, 2, 2, 3, 6))
    return rng.choice((" ", " ", "\n")).join(line(rng) for _ in range(lines))


def _said(rng: random.Random) -> str:
    turns: Sequence[str] = _lists()["turns"]
    return " ".join(rng.choice(turns) if rng.random() < 0.6 else _soup(rng) for _ in range(rng.choice((1, 1, 2, 3))))
