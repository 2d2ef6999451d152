"""Which answers of a row are compared, and in which order.

The answers of a row are its first responses and, where a response was revised, its final revision. Usually every pair
of responses is compared, and each final revision with the response it came from. To rank them, every answer is compared
with every other: all pairs, or as many as a budget allows, in turns of which each compares what the turns before left
most uncertain (`ranking.most_telling`): first answers that nothing connects, then near neighbours, as in a Swiss
tournament.
"""

from collections.abc import Iterator
from itertools import combinations

from cai.core.identity import draw
from cai.core.records import Comparison, Prompt, Trace
from cai.method.ranking import Outcome, most_telling
from cai.method.settings import RankingSettings


def is_revised(trace: Trace) -> bool:
    """Tell whether a trace has a final revision beside its response."""
    return any(turn.revision is not None for turn in trace.rounds)


def comparisons(prompt: Prompt, traces: tuple[Trace, ...], *, every: bool = False) -> Iterator[Comparison]:
    """Yield each pair of first responses, then each final revision against the response it came from.

    With `every` the other pairs that a final revision makes follow.
    """
    for one, other in combinations(traces, 2):
        sources = f"response:{one.sample}", f"response:{other.sample}"
        yield Comparison(prompt.messages, one.response, other.response, *sources, prompt.reference)
    revised = [trace for trace in traces if is_revised(trace)]
    for trace in revised:
        sources = f"final:{trace.sample}", f"response:{trace.sample}"
        yield Comparison(prompt.messages, trace.final, trace.response, *sources, prompt.reference)
    if not every:
        return
    for trace in revised:
        for other in traces:
            if other is not trace:
                sources = f"final:{trace.sample}", f"response:{other.sample}"
                yield Comparison(prompt.messages, trace.final, other.response, *sources, prompt.reference)
    for one, other in combinations(revised, 2):
        sources = f"final:{one.sample}", f"final:{other.sample}"
        yield Comparison(prompt.messages, one.final, other.final, *sources, prompt.reference)


class Turns:
    """The comparisons of a row in turns: what is judged side by side, and what is known before the next turn.

    The same seed, prompt and judgements give the same turns.
    """

    def __init__(self, settings: RankingSettings, seed: int, prompt: Prompt, traces: tuple[Trace, ...]) -> None:
        self._open = list(comparisons(prompt, traces, every=settings.rank))
        self._left = settings.rank_budget
        if self._left is not None:
            # Of equally telling pairs the first is taken, so the order must not be that of the samples.
            self._open.sort(key=lambda one: draw(seed, prompt.id, one.a_source, one.b_source, "turn"))
        sources = [source for one in self._open for source in (one.a_source, one.b_source)]
        self._items = {source: item for item, source in enumerate(dict.fromkeys(sources))}
        self._outcomes: list[Outcome] = []

    def next(self) -> tuple[Comparison, ...]:
        """Return the comparisons of the next turn; none when all are judged, or the budget is spent."""
        if self._left is None:
            turn, self._open = tuple(self._open), []
            return turn
        pairs = {self._pair((one.a_source, one.b_source)): one for one in self._open}
        told = most_telling(len(self._items), self._outcomes, pairs, self._left) if pairs and self._left else ()
        turn = tuple(pairs.pop(pair) for pair in told)
        self._open = list(pairs.values())
        self._left -= len(turn)
        return turn

    def note(self, sources: tuple[str, str], probability: float | None) -> None:
        """Take in what the comparison of a and b came to: the probability that a is better, or None."""
        if probability is not None:
            self._outcomes.append(Outcome(*self._pair(sources), probability))

    def _pair(self, sources: tuple[str, str]) -> tuple[int, int]:
        return self._items[sources[0]], self._items[sources[1]]
