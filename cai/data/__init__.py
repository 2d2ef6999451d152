"""Prompts from files, directories, standard input, saved `datasets` and the hub, one at a time.

`open_prompts` looks at the source once (its content's fingerprint, its size, its columns), so that what cannot be read
at all is said before any model is loaded. Iterating over the `Prompts` it returns streams: a million prompts do not
enter memory. A row that is no prompt comes out as a `Failure` with the reason, and reading goes on.
"""

from cai.data.opening import open_prompts, open_several
from cai.data.prompts import InputOptions, Prompts

__all__ = ["InputOptions", "Prompts", "open_prompts", "open_several"]
