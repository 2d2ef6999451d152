"""How a judge is shown what others wrote, so that it cannot pass for a part of the judge's own request.

An option's name in brackets, `(A)`, is what a judge takes for the beginning of an answer: in a text it is escaped. So
is the bracket with a bar that most models' control tokens begin with (`<|im_end|>`): a server that looks for them in
what it is sent would take an answer's for the end of the request.
"""

import re
from collections.abc import Callable, Sequence

_OPENING, _CLOSING = r"[(\[{<\uff08\uff3b\u3010]", r"[)\]}>\uff09\uff3d\u3011]"
_CONTROL = re.compile(r"<(?=[|\uff5c])")


def escaper(options: Sequence[str]) -> Callable[[str], str]:
    r"""Return a function that puts a backslash before an option in brackets, `\(A)`, and into `<\|`."""
    names = "|".join(map(re.escape, options))
    label = re.compile(rf"{_OPENING}\s*(?:{names})\s*{_CLOSING}")
    return lambda text: _CONTROL.sub(r"\g<0>\\", label.sub(r"\\\g<0>", text))
