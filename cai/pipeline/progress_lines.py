"""A running job as a person watches it: numbers taken off a `Watch`, as the lines of a terminal or as one of a log.

The one place for all who show them: the command line, a log file, a notebook. Nothing is printed here. Rates are of
this process, per second since its first request was sent or its first row ended; the first second counts whole, for
what came in a few milliseconds is no rate. Names and servers' words are made visible, and secrets in them hidden.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from cai.core.redaction import redact
from cai.core.text import visible
from cai.pipeline.watch import Watch

LOG_SECONDS = 60.0
"""Between two lines in a log."""

_BAR_AT_LEAST, _BAR_AT_MOST = 10, 40
"""Cells of a terminal."""

_CAUSE_AT_MOST = 300
"""Characters of a failure's cause in a log."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job at one moment; times in seconds.

    `total` is None where nobody knows it. `answered` and `in_flight` are requests; where rows are made on other
    machines, answers are told row by row and nothing of what is in flight. `working` is the time since the work began,
    `elapsed` since the job was first looked at. `newest_failure` is empty where there was none.
    """

    stage: str
    total: int | None
    done: int
    failed: int
    skipped: int
    answered: int
    in_flight: int
    tokens: int
    cached_share: float
    working: float
    elapsed: float
    newest_failure: str

    @property
    def finished(self) -> int:
        """Rows that need no more work, those of earlier processes included."""
        return self.done + self.failed + self.skipped

    @property
    def rows_per_second(self) -> float:
        """Rows that this process did or failed."""
        return (self.done + self.failed) / max(1.0, self.working)

    @property
    def tokens_per_second(self) -> float:
        """Prompt and generated tokens together."""
        return self.tokens / max(1.0, self.working)

    @property
    def seconds_left(self) -> float | None:
        """How long the rows that are left take; None as long as none has ended.

        Those that are underway count as half done: until as many have ended as are underway, it would be told far too
        much of the time that is left.
        """
        if self.total is None or not self.rows_per_second:
            return None
        left = max(0, self.total - self.finished)
        underway = min(self.in_flight, left) / 2
        return (left - underway) * max(1.0, self.working) / (self.done + self.failed + underway)

    def lines(self, width: int) -> list[str]:
        """Return lines of at most `width` cells: bar, rows and time left; rates and requests; the newest failure.

        What does not fit is left out, what matters least first.
        """
        lines = [self._bar_line(width), _as_fits(self._figures(), " · ", width)]
        if self.newest_failure:
            lines.append(_cut(f"newest failure: {self.newest_failure}", width))
        return [line for line in lines if line]

    def sentence(self) -> str:
        """Return the same as one line for a log."""
        left = self.seconds_left
        parts = [
            f"{self.stage}: {self._rows()}",
            *self._figures(),
            f"{clock(self.elapsed)} so far",
            *([] if left is None else [f"{clock(left)} left"]),
        ]
        failure = f"; newest failure: {self.newest_failure[:_CAUSE_AT_MOST]}" if self.newest_failure else ""
        return ", ".join(parts) + failure

    def _rows(self) -> str:
        return f"{self.finished:,}{'' if self.total is None else f'/{self.total:,}'} rows"

    def _figures(self) -> list[str]:
        """Return what is known beside the rows, what matters most first."""
        if not self.working:
            return []
        rate = self.rows_per_second
        figures = [f"{rate:,.1f} rows/s" if rate >= 1 else f"{60 * rate:,.1f} rows/min"] if rate else []
        figures += [f"{self.tokens_per_second:,.0f} tokens/s", f"{self.failed:,} failed"]
        if self.in_flight:
            figures.append(f"{self.in_flight:,} in flight")
        figures.append(f"{self.answered:,} answered")
        if self.cached_share:
            figures.append(f"{self.cached_share:.0%} of the prompt tokens cached")
        return figures

    def _bar_line(self, width: int) -> str:
        left = self.seconds_left
        times = f"{clock(self.elapsed)} so far" if left is None else f"{clock(left)} left"
        if self.total is None:
            return _as_fits([self.stage, self._rows(), times] if self.finished else [self.stage, times], " · ", width)
        told = _as_fits([self._rows(), times], " · ", max(0, width - _BAR_AT_LEAST - 2))
        stage = _cut(self.stage, max(0, width - _BAR_AT_LEAST - cell_len(told) - 2))
        cells = min(_BAR_AT_MOST, width - cell_len(stage) - cell_len(told) - 2)
        full = cells if self.finished >= self.total else int(cells * self.finished / self.total)
        return _cut(f"{stage} {'━' * full}{'╌' * (cells - full)} {told}", width)


class Observer:
    """Takes snapshots of one job; to be asked often enough to see when its work begins."""

    def __init__(self, watch: Watch, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds from any moment on."""
        self._watch = watch
        self._clock = clock
        self._first = clock()
        self._began: float | None = None
        self._logged = 0.0

    def log_line(self) -> str | None:
        """Return a line for a log once in `LOG_SECONDS`, None in between."""
        snapshot = self.look()
        if snapshot.elapsed < self._logged + LOG_SECONDS:
            return None
        self._logged = snapshot.elapsed
        return snapshot.sentence()

    def look(self) -> Snapshot:
        """Return how the job stands now."""
        watch, now = self._watch, self._clock()
        progress, usage, in_flight = watch.progress, watch.tally.usage, watch.tally.in_flight
        if self._began is None and (in_flight or usage.requests or progress.done or progress.failed):
            self._began = now
        return Snapshot(
            stage=_clean(watch.stage),
            total=watch.total,
            done=progress.done,
            failed=progress.failed,
            skipped=progress.skipped,
            answered=usage.requests,
            in_flight=in_flight,
            tokens=usage.prompt_tokens + usage.completion_tokens,
            cached_share=usage.cached_tokens / usage.prompt_tokens if usage.prompt_tokens else 0.0,
            working=0.0 if self._began is None else max(now - self._began, 1e-9),
            elapsed=now - self._first,
            newest_failure=_clean(progress.newest_failure),
        )


def clock(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds: 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600:,}:{whole // 60 % 60:02}:{whole % 60:02}"


def _clean(text: str) -> str:
    return " ".join(visible(redact(text)).split())


def _cut(text: str, width: int) -> str:
    """Return text in at most so many cells, with a mark where it was cut."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1).rstrip()}…" if width > 0 else ""


def _as_fits(parts: Iterable[str], between: str, width: int) -> str:
    """Return as many of the parts as fit, from the first on; the first is cut where it alone is too wide."""
    line = ""
    for part in parts:
        longer = f"{line}{between}{part}" if line else _cut(part, width)
        if cell_len(longer) > width:
            break
        line = longer
    return line
