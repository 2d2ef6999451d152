"""What the stand-in server answers: words without meaning, and probabilities drawn from a number.

The number stands for the request, so the same request always gets the same answer.
"""

import math
import re
from typing import Any

LONGEST = 64
"""Tokens that an answer has when nothing cuts it short."""

_YES_OR_NO = re.compile(r"\byes\b.*\bno\b", re.IGNORECASE | re.DOTALL)
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
_REST = 0.03  # the probability that a choice leaves to tokens beside its two


def _spelled(number: int) -> str:
    """Return a number in letters: few words of people have digits, and filters look closely at those."""
    return f"{number:x}".translate(_LETTERS)


_TAPE = tuple(f"w{_spelled((number * 7919) % 997)}" for number in range(2**13))
"""Answers are stretches of these words."""


def text_answer(drawn: int, tokens: int) -> dict[str, Any]:
    """Return a completion's choice of `tokens` words.

    Every fourth tells it from every other, so that no answer passes for a copy of another one.
    """
    start = drawn % (len(_TAPE) - LONGEST)
    words = list(_TAPE[start : start + tokens])
    words[::4] = [f"v{_spelled(drawn)}"] * len(words[::4])
    content = " ".join(words)
    reason = "stop" if tokens == LONGEST else "length"
    return {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": content}}


def letter_answer(drawn: int, question: str) -> dict[str, Any]:
    """Return a completion's choice of one token beside others: Yes and No if the question names them, or A and B."""
    first = (1 - _REST) * (1 + drawn % 98) / 100
    names = ("Yes", "No") if _YES_OR_NO.search(question) else ("A", "B")
    weights = sorted(((first, names[0]), (1 - _REST - first, names[1]), (_REST, "The")), reverse=True)
    top = [{"token": token, "logprob": math.log(weight), "bytes": list(token.encode())} for weight, token in weights]
    return {
        "index": 0,
        "finish_reason": "length",
        "message": {"role": "assistant", "content": top[0]["token"]},
        "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
    }
