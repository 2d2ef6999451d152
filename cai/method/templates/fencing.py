"""How a judge is shown what others wrote: marked as theirs, so that it cannot pass for the judge's own instructions.

Two things, for any language and template (delimiting, as in spotlighting, arXiv 2403.14720):

- A marker stands where each answer begins and behind the last. It is drawn from the request, so that the same request
  has the same bytes, and drawn again until it occurs in none of the texts: not even somebody who computes it can write
  it. The first draw looks at what the answers have in common only, so that requests about one conversation begin alike
  and its prefix is read once.
- An option's name in brackets, `(A)`, is what a judge takes for the beginning of an answer; in a text it is escaped. So
  is the bracket with a bar that most models' control tokens begin with (`<|im_end|>`): a server that looks for them in
  what it is sent would take an answer's for the end of the request.
"""

import itertools
import re
from collections.abc import Callable, Sequence

from cai.core.identity import fingerprint

_OPENING, _CLOSING = r"[(\[{<\uff08\uff3b\u3010]", r"[)\]}>\uff09\uff3d\u3011]"
_CONTROL = re.compile(r"<(?=[|\uff5c])")
DIGITS = 4
"""Of a marker at its first draw; each further draw has one more, so that no text is long enough to hold them all."""


def draw_marker(common: Sequence[str], answers: Sequence[str]) -> str:
    """Return hexadecimal digits that occur in none of the texts, the same in whatever order the answers come."""
    texts = "\n".join((*common, *answers)).lower()  # digits alone are in no two of them
    known = [*common]
    for digits in itertools.count(DIGITS):
        marker = fingerprint(known)[:digits]
        if marker not in texts:
            break
        known = [marker, *common, *sorted(answers)]
    return marker


def escaper(options: Sequence[str]) -> Callable[[str], str]:
    r"""Return a function that puts a backslash before an option in brackets, as `\(A 7f3a)`, and into `<\|`."""
    names = "|".join(map(re.escape, options))
    label = re.compile(rf"{_OPENING}\s*(?:{names})(?:\W*[0-9a-f]{{{DIGITS},}})?\s*{_CLOSING}")
    return lambda text: without_control(label.sub(_behind_backslash, text))


def _behind_backslash(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


def without_control(text: str) -> str:
    r"""Return the text with a backslash in what most models' control tokens begin with, as `<\|`."""
    return _CONTROL.sub(r"\g<0>\\", text) if "<" in text else text
