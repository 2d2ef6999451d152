"""Good or bad: what thumbs, scores, soft labels and gates say of a single response (KTO, arXiv 2402.01306).

A pair's likelier half is good and its other half bad. A gate speaks of the text it was asked about: those up to the
first revision are about the response itself. A revision is not asked again about the principles that came before it,
so nobody knows enough of it to label it.
"""

import re
import reprlib
from decimal import Decimal
from typing import Any

from cai.core.errors import InputError
from cai.core.records import Trace
from cai.data.rows import BadRowError

PROBABILITY = "chosen_probability"
"""The column of a pair's soft label."""

GOOD_BELOW = 0.25
BAD_ABOVE = 0.75

_LARGEST = 3.4e38
"""What a number of 32 bits can hold, about."""

_WORDS = {
    **dict.fromkeys(("true", "1", "1.0", "good", "up"), True),
    **dict.fromkeys(("false", "0", "0.0", "bad", "down"), False),
}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_label(value: Any, place: str) -> bool:
    """Return a thumb as a bool; raises BadRowError where there is none, InputError at anything else that is not one."""
    if _is_absent(value):
        raise BadRowError("there is no label")
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise InputError(
        f"{place} has the label {reprlib.repr(value)}; a label is true or false, 1 or 0, good or bad, up or down."
    )


def read_score(value: Any, place: str) -> float:
    """Return a score; raises BadRowError where there is none, InputError unless it is a finite number."""
    if _is_absent(value):
        raise BadRowError("there is no score")
    score = read_number(value)
    if score is None:
        raise InputError(f"{place} has the score {reprlib.repr(value)}; a score is a number.")
    return score


def read_probability(value: Any, place: str) -> float:
    """Return a soft label; raises BadRowError where there is none, InputError unless it is a number in [0, 1]."""
    if _is_absent(value):
        raise BadRowError("there is no chosen_probability")
    probability = read_number(value)
    if probability is None or not 0.0 <= probability <= 1.0:
        raise InputError(
            f"{place} has the chosen_probability {reprlib.repr(value)}; a probability is a number from 0 to 1."
        )
    return probability


def _is_absent(value: Any) -> bool:
    """Tell whether there is no value; CSV's is the empty cell."""
    return value is None or (isinstance(value, str) and not value.strip())


def read_number(value: Any) -> float | None:
    """Return a finite number as the trainers hold it (32 bits), or as text spells it, which is all that CSV has."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = float(value)
    return number if abs(number) <= _LARGEST else None


def gate_label(trace: Trace) -> bool | None:
    """Return whether the gates found the response good or bad, or None where they do not say so clearly.

    Good: every round was asked, every gate is below GOOD_BELOW and nothing was revised. Bad: a gate that was asked
    about the response is above BAD_ABOVE.
    """
    about_response: list[float | None] = []
    revised = False
    for turn in trace.rounds:
        about_response.append(turn.gate)
        revised = turn.revision is not None and turn.revision != trace.response
        if revised:
            break
    if any(gate is not None and gate > BAD_ABOVE for gate in about_response):
        return False
    kept = [gate for gate in about_response if gate is not None and gate < GOOD_BELOW]
    return True if about_response and len(kept) == len(about_response) and not revised else None
