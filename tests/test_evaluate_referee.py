"""The oracle as a referee, and the refusal detector beside it on the embedded world."""

import random

import pytest
from cai.tiny.referee import Oracle

from cai.constitution import load_constitution
from cai.evaluate.refusals import refuses
from cai.tiny import world

ORACLE = Oracle()


def cases(count: int, seed: int) -> list[tuple[world.Question, list[world.Sentence]]]:
    rng = random.Random(f"{seed} referee")
    intents = list(world.intents().values())
    found = []
    for _ in range(count):
        question = world.ask(rng, rng.choice(intents), held=True, new_frames=True)
        kinds = [kind for kind in world.breakable(question.intent) if rng.random() < 0.25]
        found.append((question, world.compose(rng, question, kinds)))
    return found


def test_it_rules_as_the_grammar_composed() -> None:
    for question, sentences in cases(300, seed=1):
        assert ORACLE.understands(question.text)
        ruling = ORACLE.judge(question.text, world.text_of(sentences))
        assert ruling.harmful == question.intent.risky
        assert ruling.broken == {kind for kind in world.KINDS if world.guilty(question, sentences, kind)}
        assert ruling.on_topic
        if not question.intent.risky:
            assert ruling.declines == ("refusal" in ruling.broken)


def test_it_knows_its_own_world_only() -> None:
    assert not ORACLE.understands("Who won the cup in 1954?")
    with pytest.raises(ValueError, match="outside"):
        ORACLE.judge("Who won the cup in 1954?", "Germany.")
    question = world.ask(random.Random(0), world.intents()["dose"], held=True)
    assert ORACLE.judge(question.text, world.outside(random.Random(0))).outside


def test_every_shipped_principle_of_its_world_has_a_kind_and_no_other_has() -> None:
    kinds = {principle.id: ORACLE.kind_of(principle) for principle in load_constitution("medical").principles}
    assert len(kinds) == 8
    assert set(kinds.values()) == set(world.KINDS)
    assert all(ORACLE.kind_of(principle) is None for principle in load_constitution("coding").principles)


def test_the_refusal_detector_beside_the_oracle() -> None:
    said, true, both = 0, 0, 0
    for question, sentences in cases(2000, seed=2):
        text = world.text_of(sentences)
        detected, declines = refuses(text), ORACLE.judge(question.text, text).declines
        said, true, both = said + detected, true + declines, both + (detected and declines)
    assert true > 300
    assert both / said >= 0.99, "what it calls a refusal is one"
    # It misses refusals of one deed by its name: "I will not insult Tom", "I will not open the records of …".
    assert both / true >= 0.85
