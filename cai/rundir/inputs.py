"""What a changed input does to the rows of a run: prompts may be added to it and removed from it without starting over.

A prompt is the same one when its id, its messages and its tags are. Rows of prompts that are asked still are kept; rows
of prompts that are gone, or were changed under their id, are left out (`left_out.py`) until the input has these again;
new prompts are owed. `--limit` changes nothing here: a row beyond it is asked as long as the input has its prompt.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cai.core.keyset import KeySet
from cai.core.records import Failure, Prompt
from cai.rundir.left_out import Change, LeftOut, add_entry, prompt_key
from cai.rundir.manifest import now
from cai.rundir.owned import Owned


@dataclass(frozen=True, slots=True)
class Inputs:
    """The prompts that a run is asked for now: the fingerprint of all of them, and how to read them from the beginning.

    They are read only when the fingerprint is another than the last time.
    """

    fingerprint: str
    prompts: Callable[[], Iterable[Prompt | Failure]]


def take_inputs(
    owned: Owned, run: str, series: int, inputs: Inputs, before: LeftOut, stored: Callable[[], Iterable[Prompt]]
) -> list[str]:
    """Leave out the rows whose prompts are not asked any more, take back those that are again, and say so.

    `stored` reads the prompts of all rows that there are. Raises InputError when the input cannot be read, StoreError
    when the disk refuses; the same inputs again go on from there.
    """
    changes = _find_changes(stored, inputs.prompts, before.not_asked)
    said = {"inputs": inputs.fingerprint, "when": now()}
    # Entries name the input they are about, so that none is taken for one of another input, wherever a process ends.
    always = before.inputs is not None
    return _tell(add_entry(owned, run, series, before.number + 1, "not asked", changes, said, always=always))


def _find_changes(
    stored: Callable[[], Iterable[Prompt]], asked: Callable[[], Iterable[Prompt | Failure]], not_asked: KeySet
) -> Iterator[Change]:
    """Yield which rows' prompts are not asked any more, and which are again.

    `stored` reads the prompts of all rows, `asked` those of the input, no further than to the last one that has a row.
    Memory is about 17 bytes a row.
    """
    import numpy as np  # noqa: PLC0415  (those without rows do not wait for it)

    keys = np.unique(np.fromiter(map(prompt_key, stored()), dtype=np.uint64))
    found, view, left = np.zeros(len(keys), dtype=bool), keys.data, len(keys)
    for item in asked() if left else ():
        if isinstance(item, Failure):
            continue
        name = prompt_key(item)
        place = bisect_left(view, name)
        if place < len(view) and view[place] == name and not found[place]:
            found[place] = True
            left -= 1
            if not left:
                break
    told = KeySet()
    for prompt in stored() if left or len(not_asked) else ():
        name = prompt_key(prompt)
        is_asked = bool(found[bisect_left(view, name)])
        if is_asked == (name in not_asked) and told.add(name):
            yield Change(prompt, out=not is_asked)


def _tell(counts: Counter[bool]) -> list[str]:
    told = []
    if gone := counts[True]:
        rows = "1 row whose prompt is" if gone == 1 else f"{gone:,} rows whose prompts are"
        told.append(f"{rows} no longer in the input, or changed, left out; the same prompts bring them back")
    if back := counts[False]:
        told.append(f"{back:,} {'row is' if back == 1 else 'rows are'} back: the input has their prompts again")
    return told
