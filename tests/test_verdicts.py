"""What several verdicts on one pair come to, wherever one answer is needed of them."""

from dataclasses import replace

import pytest

from cai.core.records import Verdict
from cai.method.verdicts import FAILED, LOW_MASS, NO_PRINCIPLE, TIE, UNREADABLE, combine

ABSTAINED = Verdict("a", "b", "kind", None, None, None, None, None, UNREADABLE, ())


def decided(probability: float) -> Verdict:
    return replace(ABSTAINED, probability=probability, abstained=None)


def test_the_mean_of_what_was_decided_is_the_label_and_the_others_do_not_count() -> None:
    verdicts = [decided(0.9), ABSTAINED, decided(0.6), replace(ABSTAINED, abstained=FAILED)]
    combined = combine(verdicts)
    assert combined.probability == pytest.approx(0.75)
    assert combined.abstained is None
    assert combined.decided == (verdicts[0], verdicts[2])


def test_a_mean_that_prefers_nobody_is_a_tie_though_each_was_decided() -> None:
    combined = combine([decided(0.8), decided(0.2)])
    assert (combined.probability, combined.abstained, len(combined.decided)) == (None, TIE, 2)
    assert combine([decided(0.8), decided(0.23)]).probability == pytest.approx(0.515)


def test_without_a_decision_the_first_reason_that_is_no_failure_is_told() -> None:
    failed, low = replace(ABSTAINED, abstained=FAILED), replace(ABSTAINED, abstained=LOW_MASS)
    assert combine([failed, low, ABSTAINED]).abstained == LOW_MASS
    assert combine([failed]).abstained == FAILED
    assert combine([low]).decided == ()
    assert combine([]).abstained == NO_PRINCIPLE
