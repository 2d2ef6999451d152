"""`check`: a dataset measured and filtered, before anybody trains on it."""

from collections.abc import Sequence
from pathlib import Path

from cai.api.given import Data, checkpoint_spec, data_sources, optional_directory
from cai.api.options import CountOfTwo, NotPositive, checked
from cai.api.showing import Showing
from cai.check.results import DataCheck
from cai.check.settings import LEAST_FLUENT, CheckedKind, DataCheckSettings
from cai.core.addresses import DataSource
from cai.core.errors import UsageError


def check(
    data: Data,
    *,
    kind: CheckedKind | None = None,
    split: str | None = None,
    shape: str | None = None,
    against: Sequence[str | Path] = (),
    near_duplicates: bool = True,
    tokenizer: str | Path | None = None,
    max_length: CountOfTwo | None = None,
    fluency: str | Path | None = None,
    least_fluency: NotPositive = LEAST_FLUENT,
    quality: str = "default",
    out: str | Path | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> DataCheck:
    """Measure a dataset: completeness, consistency, diversity, balance, duplicates, contamination, bias of labels.

    `data` is a run, a file or a dataset as after `cai check`. `kind` is what it is read as (None: what it says most
    of), `split` the split of a dataset with several, `shape` the layout of a public one where its columns do not tell.
    `against` are evaluation prompts that should not be in it, files or names of shipped sets (none: all of these).
    `near_duplicates=False` leaves out the comparison of all rows, which takes most of the time. With `tokenizer`, a
    model, and `max_length` tokens it counts what training at this length cuts off, and pairs that are then the same.
    `fluency` is a model that looks for word salad: answers of which 30 tokens in a row have a mean log-probability
    below `least_fluency`, in nats. `quality` is `default`, `strict`, `none` or a YAML file: which filters look for
    what. `out` is a directory for the table and the ledger of all findings, `fresh` discards the check that is in it.
    `progress=False` tells nothing.

    Returns the table: `result.measurement("near-duplicates").found.value` is a share in [0, 1] of `found.count` rows,
    `result.sentences` what is unusual, `result.findings("critique")` the first things that a filter found. The data
    stays as it is. Raises UsageError when it cannot be read, StoreError when the disk refuses.
    """
    checked(check, locals())
    from cai.check.plan import plan_check  # noqa: PLC0415  (Arrow)
    from cai.check.run import check as run_check  # noqa: PLC0415

    sources = data_sources(data)
    if len(sources) > 1:
        raise UsageError("check takes one dataset; check several one after the other")
    settings = DataCheckSettings(
        data=sources[0],
        kind=kind,
        split=split,
        shape=shape,
        against=tuple(DataSource.parse(str(one)) for one in against),
        near_duplicates=near_duplicates,
        tokenizer=None if tokenizer is None else checkpoint_spec(tokenizer),
        max_length=max_length,
        fluency=None if fluency is None else checkpoint_spec(fluency),
        least_fluency=least_fluency,
        quality=quality,
        out=optional_directory(out, "out"),
        fresh=fresh,
    )
    plan = plan_check(settings)
    showing = Showing(progress=progress)
    for line in plan.remarks:
        showing.say(line)
    return run_check(plan, showing.say)
