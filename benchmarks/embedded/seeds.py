"""Writes the prompts that are made by the grammar: `python -m benchmarks.embedded.seeds`.

Three kinds of sets, which share no prompt; the first two were never trained on:

- prompts/sets: the seed prompts that the shipped constitutions name, trained paraphrases with held-out slot
  combinations; about 65 % are risky.
- prompts/evaluation/tiny.jsonl: what the embedded model is evaluated with, held-out slot combinations in paraphrases
  that were not trained on either. An intent that has too few of these is filled up with slot combinations that a seed
  prompt asks about in other words, and last with held-out ones in trained paraphrases.
- prompts/sets/tiny.jsonl: what `make loop` trains with, every intent, in trained paraphrases and slot combinations, so
  that the loop is measured with combinations that neither it nor the embedded model was trained on.
"""

import itertools
import random
from collections.abc import Sequence

import orjson

from cai.core.resources import shipped
from cai.tiny import world

SETS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "medical": (("dose", "emergency", "diagnosis", "records"), ("sleep", "exercise", "appointment", "ownrecords")),
    "harmless": (
        ("breakin", "scam", "password", "insult", "theft", "forgery", "records"),
        ("lockout", "spotscam", "ownpassword", "compliment", "protect", "ownrecords"),
    ),
}
"""The risky and the benign intents of each set."""

COUNT, RISKY = 200, 130
EVALUATED = 400
"""Evaluation prompts a side."""

LOOP, LOOP_RISKY = 600, 390
"""Prompts of the loop, and how many of them are risky."""

_DRAWS = 2000
"""Questions drawn of an intent and kind of paraphrase to choose from; most intents have fewer than fifty."""


def seed_questions(name: str) -> list[world.Question]:
    """Return the questions of one set, risky and benign mixed."""
    rng = random.Random(f"seed prompts {name}")
    risky, benign = SETS[name]
    seen: set[str] = set()
    questions: list[world.Question] = []
    while len(questions) < COUNT:
        place = len(questions)
        intent = risky[place % len(risky)] if place < RISKY else benign[place % len(benign)]
        question = world.ask(rng, world.intents()[intent], held=True)
        meaning = str(question.values) if len(question.values) > 1 else question.text
        if meaning not in seen:
            seen.add(meaning)
            questions.append(question)
    rng.shuffle(questions)
    return questions


def seed_prompts(name: str) -> list[dict[str, object]]:
    """Return the prompts of one set: `id`, `prompt` and `tags`."""
    return [
        {"id": f"{name}-{place:03d}", "prompt": question.text, "tags": list(question.intent.tags)}
        for place, question in enumerate(seed_questions(name), 1)
    ]


def bare(text: str) -> str:
    """Return a question's text without the greeting before it and the remark after it."""
    for prefix in world.data("world")["prefixes"]:
        text = text.removeprefix(f"{prefix} ")
    for suffix in world.data("world")["suffixes"]:
        text = text.removesuffix(f" {suffix}")
    return text


def _evaluation_pool(rng: random.Random, intent: world.Intent, seeds: Sequence[world.Question]) -> list[world.Question]:
    """Return held-out questions that are not among `seeds`, each once: the least familiar first, else as drawn."""
    texts = {bare(question.text) for question in seeds}
    combinations = {question.values for question in seeds if question.intent is intent and len(question.values) > 1}
    pool: list[world.Question] = []
    for new_frames in (True, False):
        drawn: list[world.Question] = []
        for _ in range(_DRAWS):
            question = world.ask(rng, intent, held=True, new_frames=new_frames)
            text = bare(question.text)
            if text not in texts:
                texts.add(text)
                drawn.append(question)
        pool += sorted(drawn, key=lambda question: question.values in combinations)
    return pool


def evaluation_prompts() -> list[dict[str, object]]:
    """Return the evaluation prompts, `id`, `prompt` and `tags`: both sides mixed, their intents as even as can be."""
    rng = random.Random("evaluation prompts")
    seeds = [question for name in SETS for question in seed_questions(name)]
    chosen: list[tuple[str, world.Question]] = []
    for side, risky in (("harmful", True), ("benign", False)):
        pools = [_evaluation_pool(rng, intent, seeds) for intent in world.intents().values() if intent.risky == risky]
        turns = (question for turn in itertools.zip_longest(*pools) for question in turn if question is not None)
        chosen += [(side, question) for question in itertools.islice(turns, EVALUATED)]
    rng.shuffle(chosen)
    return [
        {
            "id": f"tiny-e{place:04d}",
            "prompt": question.text,
            "tags": list(dict.fromkeys([side, *question.intent.tags])),
        }
        for place, (side, question) in enumerate(chosen, 1)
    ]


def loop_prompts() -> list[dict[str, object]]:
    """Return the prompts that the loop trains with, `id`, `prompt` and `tags`: risky and benign mixed."""
    rng = random.Random("loop prompts")
    intents = world.intents().values()
    sides = {risky: [intent for intent in intents if intent.risky == risky] for risky in (True, False)}
    chosen: dict[str, world.Question] = {}
    while len(chosen) < LOOP:
        side = sides[len(chosen) < LOOP_RISKY]
        question = world.ask(rng, side[len(chosen) % len(side)], held=False)
        chosen.setdefault(bare(question.text), question)
    questions = list(chosen.values())
    rng.shuffle(questions)
    return [
        {"id": f"tiny-{place:03d}", "prompt": question.text, "tags": list(question.intent.tags)}
        for place, question in enumerate(questions, 1)
    ]


def _write(rows: Sequence[dict[str, object]], *parts: str) -> None:
    shipped("prompts", *parts).write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def main() -> None:
    """Write every set to its file in prompts/sets, and the evaluation prompts to prompts/evaluation."""
    for name in SETS:
        _write(seed_prompts(name), "sets", f"{name}.jsonl")
    _write(loop_prompts(), "sets", "tiny.jsonl")
    _write(evaluation_prompts(), "evaluation", "tiny.jsonl")


if __name__ == "__main__":
    main()
