"""`cai.report`: one HTML file on a run, an evaluation or a loop."""

from pathlib import Path
from typing import Literal

from cai.api.given import existing_directory, optional_directory
from cai.api.options import NotNegative, Seed, checked
from cai.core.addresses import DataSource
from cai.core.paths import expand
from cai.report.outcome import Report
from cai.report.plan import plan_report
from cai.report.settings import ReportSettings
from cai.rundir import checkout


def report(
    directory: str | Path,
    *,
    language: Literal["en", "ko"] = "en",
    seed: Seed = 0,
    price_prompt: NotNegative | None = None,
    price_completion: NotNegative | None = None,
    bench: str | Path | None = None,
    beside: str | Path | None = None,
    out: str | Path | None = None,
) -> Report:
    """Write one HTML file on a run, an evaluation or a loop: for those who decide about it.

    `directory` is what `generate`, `judge`, `evaluate` or `loop` filled (of a run its URL too). `language` is English
    or Korean; `seed` decides which examples are drawn. `price_prompt` and `price_completion` are prices of a million
    tokens, and both or none. `bench` is a directory that `judge_bench` filled, of the same judge; `beside` an earlier
    evaluation, which this one is compared with (`Report.comparison` has it in a few lines). `out` is the file
    (None: `report.html` in the directory); one that is there is replaced only where it is a report.

    The same directory gives the same bytes. `Report.out` is the file, `Report.rows(name)` lists the rows behind a
    number. Raises RunError when the directory is none of the three, is damaged or unfinished (an evaluation),
    UsageError for somebody else's file or another judge's bench, StoreError when the disk refuses.
    """
    checked(report, locals())
    from cai.report.run import write_report  # noqa: PLC0415  (Arrow and numpy)

    named = DataSource.parse(directory) if isinstance(directory, str) else None
    place = checkout(str(named)) if named is not None and named.is_url else expand(str(directory))
    settings = ReportSettings(
        place,
        language,
        seed,
        price_prompt,
        price_completion,
        existing_directory(bench, "bench"),
        existing_directory(beside, "beside"),
        optional_directory(out, "out"),
    )
    return write_report(plan_report(settings))
