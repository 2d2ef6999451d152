"""What a request costs a model server: the cost model of the stand-in server, without HTTP or a clock of its own.

A server has a fixed number of slots (sequences it decodes side by side). A request waits in one first-in-first-out
queue until a slot is free, then holds it for

    prefill_us x (prompt tokens that no earlier prompt has left in the prefix cache) + decode_us x (tokens it writes)

microseconds. A slot's speed does not depend on how many others are busy, and the cache never forgets. Tokens are words.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

BLOCK = 16
"""Words in a block of the prefix cache: a prefix is found in whole blocks, as in vLLM."""


@dataclass(frozen=True, slots=True)
class Costs:
    """How many requests are served side by side, and microseconds a token; the defaults are those of a fast server."""

    slots: int = 256
    prefill_us: float = 20.0
    decode_us: float = 2000.0

    def seconds(self, uncached_tokens: int, written_tokens: int) -> float:
        """Return how long a request holds its slot."""
        return (uncached_tokens * self.prefill_us + written_tokens * self.decode_us) / 1e6


class PrefixCache:
    """The blocks of every prompt so far; a block is named by its words and all that stand before it."""

    def __init__(self) -> None:
        self._blocks: set[int] = set()

    def look_up(self, words: Sequence[str]) -> int:
        """Return how many of the prompt's first words were there already, and keep all its blocks from now on."""
        name, known = 0, 0
        for end in range(BLOCK, len(words) + 1, BLOCK):
            name = hash((name, *words[end - BLOCK : end]))
            if name in self._blocks:
                known += BLOCK
            else:
                self._blocks.add(name)
        return known

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()


@dataclass(slots=True)
class Counters:
    """What a server did since it was started or reset; times are `time.monotonic` seconds."""

    requests: int = 0
    answered: int = 0
    """Requests that have held their slot; those beside them wait or are being served."""
    repeated: int = 0
    """Requests with the words and the seed of an earlier one."""
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    busy_slot_seconds: float = 0.0
    """What the finished requests cost by the cost model; a timer that goes off late adds nothing."""
    peak: int = 0
    """The most slots that were busy at once."""
    first_arrival: float | None = None
    last_finish: float | None = None

    def report(self, slots: int) -> dict[str, float]:
        """Return the counters for JSON, with the share of the slots that was busy while the server was serving."""
        serving = 0.0
        if self.first_arrival is not None and self.last_finish is not None:
            serving = self.last_finish - self.first_arrival
        return {
            "slots": slots,
            "requests": self.requests,
            "answered": self.answered,
            "repeated": self.repeated,
            "refused": self.refused,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "peak": self.peak,
            "busy_slot_seconds": self.busy_slot_seconds,
            "ideal_seconds": self.busy_slot_seconds / slots,
            "serving_seconds": serving,
            "busy_share": self.busy_slot_seconds / slots / serving if serving else 0.0,
        }


@dataclass(slots=True)
class Slots:
    """The slots and the queue before them; `call_later(seconds, function)` is the clock they run by."""

    costs: Costs
    call_later: Callable[[float, Callable[[], None]], object]
    counters: Counters = field(default_factory=Counters)
    _busy: int = 0
    _queue: deque[tuple[float, Callable[[], None]]] = field(default_factory=deque)

    def hold(self, seconds: float, done: Callable[[], None]) -> None:
        """Call `done` when a slot has been held for so long, after everything that was asked for before."""
        if self.counters.first_arrival is None:
            self.counters.first_arrival = time.monotonic()
        if self._busy < self.costs.slots:
            self._busy += 1
            self._start(seconds, done)
        else:
            self._queue.append((seconds, done))

    def _start(self, seconds: float, done: Callable[[], None]) -> None:
        self.counters.peak = max(self.counters.peak, self._busy)
        self.call_later(seconds, lambda: self._finish(seconds, done))

    def _finish(self, seconds: float, done: Callable[[], None]) -> None:
        self.counters.answered += 1
        self.counters.busy_slot_seconds += seconds
        self.counters.last_finish = time.monotonic()
        if self._queue:
            self._start(*self._queue.popleft())
        else:
            self._busy -= 1
        done()
