"""What a person sees of long work: on terminals of every width, in a log, and from the first moment on."""

import asyncio
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from cai.cli import running
from cai.cli.running import watched
from cai.cli.terminal import remark
from cai.core.errors import RequestError
from cai.core.records import Prompt, Row, Usage
from cai.pipeline.pipeline import Pipeline
from cai.pipeline.progress_lines import Observer, Snapshot, clock
from cai.pipeline.watch import Watch
from tests.test_pipeline import Memory, prompts, row_of
from tests.virtual_time import run_ahead


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def busy() -> tuple[Watch, Clock, Observer]:
    """Return a job whose first requests are in flight."""
    watch, time = Watch(stage="working", total=10_000), Clock()
    observer = Observer(watch, time)
    watch.tally.in_flight = 256
    observer.look()
    return watch, time, observer


def advanced() -> Snapshot:
    """Return a job that has worked for ten minutes."""
    watch, time, observer = busy()
    time.now += 600
    watch.progress.done, watch.progress.failed, watch.progress.skipped = 1_190, 10, 34
    watch.tally.add(Usage(12_345, 6_000_000, 3_000_000, 600_000))
    return observer.look()


def test_eighty_columns_show_all_that_matters() -> None:
    bar, figures = advanced().lines(80)
    assert re.fullmatch(r"working ━+╌+ 1,234/10,000 rows · 1:05:03 left", bar)
    assert bar.count("━") == int(40 * 0.1234)
    assert figures == "2.0 rows/s · 11,000 tokens/s · 10 failed · 256 in flight · 12,345 answered"
    assert advanced().lines(120)[1].endswith(" · 50% of the prompt tokens cached")


@pytest.mark.parametrize("width", range(1, 140))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for stage in ("working", "working: 한국어로 미세 조정한 모델 answers, and then some more"):
        for total in (None, 0, 10_000):
            watch, time, observer = busy()
            watch.stage, watch.total, watch.progress.done = stage, total, 9_876
            watch.progress.newest_failure = "request: 127.0.0.1:8000: 401 키가 틀렸습니다 " * 9
            time.now += 90
            lines = observer.look().lines(width)
            assert all(0 < cell_len(line) <= width for line in lines)


def test_before_a_row_is_done_requests_are_told() -> None:
    watch, time, observer = busy()
    time.now += 300
    watch.tally.add(Usage(900, completion_tokens=90_000))
    bar, figures = observer.look().lines(80)
    assert "0/10,000 rows · 0:05:00 so far" in bar
    assert figures == "300 tokens/s · 0 failed · 256 in flight · 900 answered"


def test_while_models_are_loaded_the_time_goes_on() -> None:
    time = Clock()
    observer = Observer(Watch(stage="loading the model"), time)
    time.now += 75
    assert observer.look().lines(80) == ["loading the model · 0:01:15 so far"]
    assert observer.look().sentence() == "loading the model: 0 rows, 0:01:15 so far"


def test_no_rate_is_of_a_moment_that_is_too_short() -> None:
    watch, time, observer = busy()
    watch.tally.add(Usage(completion_tokens=4_000))
    watch.progress.done = 3
    for seconds in (0.0, 1e-9, 0.1, 0.5):
        time.now += seconds
        assert (observer.look().tokens_per_second, observer.look().rows_per_second) == (4_000, 3)


def test_rows_of_earlier_processes_are_no_speed() -> None:
    watch, time, observer = busy()
    watch.progress.skipped = 9_000
    time.now += 10
    assert observer.look().seconds_left is None
    watch.progress.done, watch.tally.in_flight = 100, 0
    assert observer.look().seconds_left == 90


def test_rows_that_are_underway_count_as_half_done() -> None:
    watch, time, observer = busy()
    watch.total, watch.progress.done, watch.tally.in_flight = 1_000, 2, 96
    time.now += 100
    assert observer.look().seconds_left == (998 - 48) / 50 * 100
    watch.progress.done = 990
    assert observer.look().seconds_left == 5 / 995 * 100


def test_what_servers_and_names_say_is_cleaned() -> None:
    watch, _, observer = busy()
    watch.stage = "working: \x1b[2Jm\nx"
    watch.progress.newest_failure = "request: http://me:geheim@host/v1 says\x07 no\n"
    told = "\n".join(observer.look().lines(200)) + observer.look().sentence()
    assert "geheim" not in told
    assert "\x1b" not in told
    assert "\x07" not in told
    assert "m x" in told


def test_rows_that_take_long_are_counted_by_the_minute() -> None:
    watch, time, observer = busy()
    time.now += 260
    watch.progress.done = 10
    assert observer.look().lines(80)[1].startswith("2.3 rows/min · ")


@pytest.mark.parametrize(("seconds", "told"), [(0, "0:00:00"), (3_723.4, "1:02:03"), (360_000, "100:00:00")])
def test_times(seconds: float, told: str) -> None:
    assert clock(seconds) == told


def test_the_newest_failure_is_known_before_the_row_is_given_up() -> None:
    watch, waiting = Watch(), asyncio.Event()

    async def refused(prompt: Prompt) -> Row:
        if prompt.ordinal == 2:
            await waiting.wait()
        if prompt.ordinal == 1:
            raise RequestError("host: 401 Unauthorized", retryable=False, kind="401")
        return row_of(prompt)

    sink = Memory()
    pipeline = Pipeline(refused, sink, 1, watch.progress, watch.stop)

    async def main() -> None:
        task = asyncio.create_task(pipeline.run(prompts(3)))
        for _ in range(9):
            await asyncio.sleep(0)
        assert watch.progress.newest_failure
        assert not sink.failures, "it is held until it is known whose failure it is"
        waiting.set()
        await task
        assert watch.progress.failed == len(sink.failures) == 1

    asyncio.run(main())
    assert watch.progress.newest_failure == "host: 401 Unauthorized"


async def hour(watch: Watch) -> str:
    """Work for an hour, two rows a second."""
    watch.total, watch.stage = 7_200, "working"
    for _ in range(7_200):
        watch.tally.in_flight = 4
        await asyncio.sleep(0.5)
        watch.progress.done += 1
        watch.tally.add(Usage(1, completion_tokens=50))
    return "done"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_log_has_a_line_a_minute(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_ahead(watched(hour, Watch(say=remark), quiet=quiet)) == "done"
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    if quiet:
        assert lines == []
        return
    assert len(lines) in (59, 60)
    for line in lines:
        assert re.fullmatch(
            r"cai: working: [\d,]+/7,200 rows, 2\.0 rows/s, (99|100) tokens/s, 0 failed, 4 in flight, [\d,]+ answered, "
            r"\d:\d\d:\d\d so far, \d:\d\d:\d\d left",
            line,
        ), line


def test_a_terminal_is_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(force_terminal=True, width=80, record=True, color_system=None)
    monkeypatch.setattr(running, "Screen", lambda *, stderr: terminal)

    async def job(watch: Watch) -> None:
        watch.total, watch.stage, watch.tally.in_flight = 3, "working", 2
        await asyncio.sleep(5)
        watch.progress.done = 1
        watch.tally.add(Usage(7))
        await asyncio.sleep(5)

    run_ahead(watched(job, Watch(), quiet=False))
    drawn = terminal.export_text()
    assert "0/3 rows · 0:00:04 so far" in drawn
    assert "1/3 rows" in drawn.splitlines()[-2]
    assert "2 in flight · 7 answered" in drawn.splitlines()[-1]
