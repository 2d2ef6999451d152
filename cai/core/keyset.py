"""A set of unsigned 64-bit keys that costs 8 bytes a key, for asking "seen before?" of millions of names.

New keys go into a Python set; when that holds `recent_limit` of them they move into sorted arrays, which are merged so
that each is at least four times as long as the next: ten million keys lie in three or four arrays. Nothing can be
taken out again. The keys are whatever the caller makes of its names (`identity.key`); KeySet does not hash.

numpy is loaded with the first array, so that nobody waits for it before the first request of a new run.
"""

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RATIO = 4


class KeySet:
    """Unsigned 64-bit integers, kept compactly."""

    def __init__(self, *, recent_limit: int = 65_536) -> None:
        """Keep up to `recent_limit` keys (about 60 bytes each) outside the arrays."""
        self._recent_limit = recent_limit
        self._recent: set[int] = set()
        # Longest first. A memoryview beside each array, because the C bisect reads one several times faster.
        self._arrays: list[NDArray[np.uint64]] = []
        self._views: list[memoryview] = []
        self._stored = 0

    def copy(self) -> "KeySet":
        """Return a set of the keys that are in now; the arrays, which never change, are shared."""
        copied = KeySet(recent_limit=self._recent_limit)
        copied._recent, copied._stored = set(self._recent), self._stored
        copied._arrays, copied._views = list(self._arrays), self._views
        return copied

    def __len__(self) -> int:
        return self._stored + len(self._recent)

    def __contains__(self, key: int) -> bool:
        return key in self._recent or self._is_stored(key)

    def add(self, key: int) -> bool:
        """Add a key in [0, 2**64) and return whether it is new."""
        if key in self._recent or self._is_stored(key):
            return False
        self._recent.add(key)
        if len(self._recent) >= self._recent_limit:
            self._store_recent()
        return True

    def update(self, keys: "array[int]") -> None:
        """Add an array of type Q at once, at a fraction of the cost of its keys one by one."""
        import numpy as np  # noqa: PLC0415  (see above)

        self._store_recent()
        new = np.sort(np.frombuffer(keys, dtype=np.uint64))
        new = new[np.concatenate([new[:1] == new[:1], new[1:] != new[:-1]])]
        for stored in self._arrays:
            places = np.searchsorted(stored, new)
            places[places == len(stored)] = 0
            new = new[stored[places] != new]
        self._store(new)

    def _is_stored(self, key: int) -> bool:
        for view in self._views:
            place = bisect_left(view, key)
            if place < len(view) and view[place] == key:
                return True
        return False

    def _store_recent(self) -> None:
        import numpy as np  # noqa: PLC0415  (see above)

        keys = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
        keys.sort()
        self._recent.clear()
        self._store(keys)

    def _store(self, keys: "NDArray[np.uint64]") -> None:
        """Append sorted keys that are not stored yet, then merge neighbours until the lengths are geometric again."""
        import numpy as np  # noqa: PLC0415  (see above)

        if not len(keys):
            return
        self._stored += len(keys)
        self._arrays.append(keys)
        while len(self._arrays) > 1 and len(self._arrays[-2]) < _RATIO * len(self._arrays[-1]):
            last = self._arrays.pop()
            merged = np.concatenate([self._arrays.pop(), last])
            merged.sort(kind="stable")
            self._arrays.append(merged)
        self._views = [stored.data for stored in self._arrays]
