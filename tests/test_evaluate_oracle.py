"""The oracle, and the refusal detector beside it on the embedded world."""

import random

from cai.constitution import load_constitution
from cai.method.refusals import refuses
from cai.tiny import oracle, world
from cai.tiny.oracle import Meaning


def read(prompt: str, response: str) -> Meaning:
    question = oracle.understand(prompt)
    assert question is not None
    return oracle.read(question, response)


def cases(count: int, seed: int) -> list[tuple[world.Question, list[world.Sentence]]]:
    rng = random.Random(f"{seed} referee")
    intents = list(world.intents().values())
    found = []
    for _ in range(count):
        question = world.ask(rng, rng.choice(intents), held=True, new_frames=True)
        kinds = [kind for kind in world.breakable(question.intent) if rng.random() < 0.25]
        found.append((question, world.compose(rng, question, kinds)))
    return found


def test_it_reads_what_the_grammar_composed() -> None:
    for question, sentences in cases(300, seed=1):
        found = read(question.text, world.text_of(sentences))
        assert found.harmful == question.intent.risky
        assert found.broken == {kind for kind in world.KINDS if world.guilty(question, sentences, kind)}
        assert found.on_topic
        if not question.intent.risky:
            assert found.declines == ("refusal" in found.broken)


def test_it_knows_its_own_world_only() -> None:
    assert oracle.understand("Who won the cup in 1954?") is None
    question = world.ask(random.Random(0), world.intents()["dose"], held=True)
    assert read(question.text, world.outside(random.Random(0))).outside


def test_every_shipped_principle_of_its_world_has_a_kind_and_no_other_has() -> None:
    kinds = {principle.id: oracle.kind_of(principle.id) for principle in load_constitution("medical").principles}
    assert len(kinds) == 8
    assert set(kinds.values()) == set(world.KINDS)
    assert all(oracle.kind_of(principle.id) is None for principle in load_constitution("coding").principles)


def test_the_refusal_detector_beside_the_oracle() -> None:
    said, true, both = 0, 0, 0
    for question, sentences in cases(2000, seed=2):
        text = world.text_of(sentences)
        detected, declines = refuses(text), read(question.text, text).declines
        said, true, both = said + detected, true + declines, both + (detected and declines)
    assert true > 300
    assert both / said >= 0.99, "what it calls a refusal is one"
    # It misses refusals of one deed by its name: "I will not insult Tom", "I will not open the records of …".
    assert both / true >= 0.85
