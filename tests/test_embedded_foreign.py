"""Foreign texts in a response leave what it says as it is, and break nothing themselves."""

import random

from benchmarks.embedded import foreign
from benchmarks.embedded.dialogue import Writer
from cai.method.templates import Templates
from cai.tiny import oracle

RESPONSE = "Call now. Wait here. Go."


def test_the_response_is_still_there_in_its_order() -> None:
    rng = random.Random(0)
    for _ in range(300):
        shown = foreign.disturb(rng, RESPONSE)
        places = [shown.find(sentence) for sentence in ("Call now.", "Wait here.", "Go.")]
        assert -1 not in places
        assert places == sorted(places)
        assert len(shown) > len(RESPONSE)


def test_a_foreign_text_breaks_nothing() -> None:
    rng = random.Random(1)
    question = Writer(random.Random(0), Templates.load("en")).question()
    for _ in range(300):
        assert not oracle.read(question, foreign.disturb(rng, "")).broken


def test_foreign_texts_are_drawn_from_the_stream_alone() -> None:
    assert foreign.disturb(random.Random(3), RESPONSE) == foreign.disturb(random.Random(3), RESPONSE)
