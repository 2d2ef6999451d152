"""What a perfect prefix cache would leave to read: the yardstick for the prompt tokens that a real one reads.

A perfect cache forgets nothing and knows a text from the moment it was read or written. Like vLLM's, it holds whole
blocks of tokens, each of which counts with everything before it, and the last token of a prompt is always read again,
because its state is what the first new token is drawn from. With blocks of one token nothing at all is read twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as token ids: what the model read, and what it wrote behind that."""

    prompt: Sequence[int]
    written: Sequence[int]


def least_computed(requests: Iterable[Asked], block: int) -> int:
    """Return the prompt tokens that have to be read, in blocks of so many, when requests come in this order."""
    known: set[int] = set()
    computed = 0
    for request in requests:
        whole = _chain(request.prompt[:-1], block)
        shared = next((place for place, link in enumerate(whole) if link not in known), len(whole))
        computed += len(request.prompt) - shared * block
        # The last written token is drawn and never read.
        known.update(_chain([*request.prompt, *request.written[:-1]], block))
    return computed


def _chain(tokens: Sequence[int], block: int) -> list[int]:
    """Return a key for each whole block, which says all that stands before it as well."""
    links, last = [], 0
    for end in range(block, len(tokens) + 1, block):
        last = hash((last, *tokens[end - block : end]))
        links.append(last)
    return links
