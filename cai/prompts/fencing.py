"""How a judge is shown what others wrote, so that it cannot pass for a part of the judge's own request.

An option's name in brackets, `(A)`, is what a judge takes for the beginning of an answer: in a text it is escaped.
"""

import re
from collections.abc import Callable, Sequence

_OPENING, _CLOSING = r"[(\[{<\uff08\uff3b\u3010]", r"[)\]}>\uff09\uff3d\u3011]"


def escaper(options: Sequence[str]) -> Callable[[str], str]:
    r"""Return a function that puts a backslash before an option in brackets: `\(A)`."""
    names = "|".join(map(re.escape, options))
    label = re.compile(rf"{_OPENING}\s*(?:{names})\s*{_CLOSING}")
    return lambda text: label.sub(r"\\\g<0>", text)
