"""A run directory as an object: its rows, its failures, and the datasets that are made of it.

Nothing is held in memory: rows are read as they are asked for. A run may be read while another process writes it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.core.paths import expand
from cai.core.records import Failure, Row
from cai.pipeline.filling import Summary
from cai.rundir import Manifest, RunReader, checkout
from cai.rundir.drop import Dropped, RowChoice, drop_rows, parse_condition
from cai.rundir.layout import SPLITS
from cai.rundir.origin import location

if TYPE_CHECKING:
    from datasets import Dataset

    from cai.annotation.feedback import ImportedFeedback
    from cai.data.export import DatasetName, ExportSummary, SplitName


class RunDirectory:
    """A run directory; iterating over it yields a typed `Row` a prompt, in the prompts' order.

    `path` is the directory (of a run at a URL, the working copy of it here), `summary` how the call ended that gave
    this object, None from `open_run`. Reading raises RunError when something in the directory is damaged or missing.
    """

    def __init__(self, path: Path, summary: Summary | None = None) -> None:
        """Look at a directory; raises RunError when it is no run. Made by `generate`, `judge` and `open_run`."""
        self.path = path
        self.summary = summary
        self._reader = RunReader(path)

    def __repr__(self) -> str:
        return f"Run({location(self.path)!r})"

    def __len__(self) -> int:
        """Return how many prompts have a row."""
        return self._reader.count()

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in the order of their prompts."""
        return self._reader.rows()

    def __getitem__(self, prompt_id: str) -> Row:
        """Return the row of a prompt; raises KeyError when it has none, TypeError for what is no id."""
        if not isinstance(prompt_id, str):
            raise TypeError(f"a row is found by its prompt's id, a text, and not by {prompt_id!r}")
        row = self._reader.row(prompt_id)
        if row is None:
            raise KeyError(prompt_id)
        return row

    def __contains__(self, item: object) -> bool:
        """Tell whether the prompt of an id has a row, or whether a row is one of these."""
        if isinstance(item, Row):
            return self._reader.row(item.prompt.id) == item
        return isinstance(item, str) and self._reader.row(item) is not None

    def __bool__(self) -> bool:
        """Be true, also without rows."""
        return True

    @property
    def manifest(self) -> Manifest:
        """What run.json says now: status, identity, settings, counts and tokens; rows that are underway come later."""
        return self._reader.manifest

    def failures(self) -> Iterator[Failure]:
        """Yield the prompts that could not be done, with stage and cause, in the order they failed."""
        return self._reader.failures()

    def export(
        self,
        *,
        format: str = "trl",  # noqa: A002  (the option's name)
        all_revisions: bool = False,
        reasoning: bool = False,
        pairs: Literal["all", "best-worst", "adjacent"] = "all",
        select: Literal["final", "judge", "gates", "rubric", "reward", "random"] | None = None,
        labels: Literal["judge", "human", "both"] = "judge",
        test_share: float = 0.05,
        quality: str = "default",
        push_to_hub: str | None = None,
        public: bool = False,
    ) -> "ExportSummary":
        """Write `sft/`, `preference/`, `ranking/` and their dataset card into the run, and return what they hold.

        In the `format` of another tool (`cai export --help` has them) the files and the settings that the tool needs
        lie in a folder of that name; `not_held` counts what the format has no place for.
        `all_revisions` makes every round's revision SFT data, as in the paper (otherwise the last); `test_share` in
        [0, 1) of the prompts, drawn by the hash of their ids, go to the test split. With `reasoning` the answers have
        what the model thought before them, in the field `thinking`. `pairs` are all that a judge decided, or of each
        prompt's ranking the best answer against the worst, or each against the next. `select` chooses one SFT answer
        of each prompt among all its responses and revisions (`final`: the final text of every sample; None: as the run
        was made). `labels` are the judge's, or people's (`human`: nothing that they did not label), or
        people's where there are some (`both`); then `labelled/` has their thumbs and `scored/` their ratings.
        `quality` is `default`, `strict`, `none` or a YAML file: which filters leave out, clean or list examples. All
        that is left out, cleaned or listed is in `quality/ledger.parquet`. `generate` and `judge` export at their end,
        without options.
        `push_to_hub` names a dataset of the Hugging Face hub that all but the ledger is sent to, private unless
        `public`, with the token of `hf auth login` or HF_TOKEN.
        Raises RunError when another process exports the run, UsageError where there is no token, StoreError when the
        disk or the hub refuses.
        """
        from cai.annotation.labels import labels_for_export  # noqa: PLC0415
        from cai.data.export import ExportOptions, export_run  # noqa: PLC0415  (Arrow, which a reader may not need)
        from cai.data.export.hub import hub_target  # noqa: PLC0415
        from cai.data.quality import load_quality  # noqa: PLC0415

        people = labels_for_export(self.path, labels)
        made = load_quality(quality)
        options = ExportOptions(all_revisions, test_share, reasoning, pairs, made, select, labels, people)
        hub = None if push_to_hub is None else hub_target(push_to_hub, public=public)
        return export_run(self.path, options, format, hub=hub)

    def drop(self, ids: Iterable[str] | None = None, where: Iterable[str] = (), *, undo: bool = False) -> Dropped:
        """Leave rows out of all that reads the run, this object too, or with `undo` take them back.

        Which rows is said by the `ids` of their prompts, or by conditions `where` like `tag=dose` that must all hold of
        them (`cai drop --help` has the columns); neither, to take back: all. Rows stay on disk, and exports as they are
        until they are written again. Raises UsageError for what is no condition, RunError when there is no such row.
        """
        for name, given in (("ids", ids), ("where", where)):
            if isinstance(given, str):
                raise UsageError(f"{name} is the text {given!r}; give a list of texts")
        named, conditions = None if ids is None else frozenset(ids), tuple(where)
        choice = RowChoice(named, tuple(map(parse_condition, conditions)))
        which = f"{0 if named is None else len(named)} ids, where={conditions!r}, undo={undo}"
        return drop_rows(self.path, choice, f"Run.drop({which})", undo=undo)

    def import_feedback(self, file: str | Path) -> "ImportedFeedback":
        """Take what users said of a deployed model, in a table, into the run's annotations; return what was added.

        `file` has a prompt, `time`, and `thumb`, `rating` or `comment` on a `response`, or what was `preferred` of
        `response_a` and `response_b`; `user`, `model` and `id` where known (`cai.annotation.feedback`). Given again it
        adds what is new. Raises InputError when the table cannot be read, StoreError when the disk refuses.
        """
        from cai.annotation.feedback import import_feedback  # noqa: PLC0415  (Arrow)
        from cai.annotation.places import find_place  # noqa: PLC0415

        return import_feedback(expand(str(file)), find_place(DataSource.parse(location(self.path))))

    def dataset(
        self,
        name: "DatasetName",
        split: "SplitName | None" = None,
        *,
        all_revisions: bool = False,
        reasoning: bool = False,
        pairs: Literal["all", "best-worst", "adjacent"] = "all",
        select: Literal["final", "judge", "gates", "rubric", "reward", "random"] | None = None,
        labels: Literal["judge", "human", "both"] = "judge",
        test_share: float = 0.05,
        quality: str = "default",
    ) -> "Dataset":
        """Return a dataset made of the rows, in memory, with the columns that TRL's trainers read; a row an example.

        Of `sft` these are `prompt` and `completion`, of `preference` `prompt`, `chosen` and `rejected`, all lists of
        messages, and `chosen_probability`, the judge's, in (0.5, 1]; of `ranking` `prompt` and `answers`, the best
        first, each with its `text`, `rank` and `score`. The others say where an example comes from.
        `split` is the part to return (None: all, in the rows' order); the options are those of `export`.
        """
        from cai.annotation.labels import labels_for_export  # noqa: PLC0415
        from cai.data.export import ExportOptions, dataset  # noqa: PLC0415
        from cai.data.export.datasets import DATASETS  # noqa: PLC0415
        from cai.data.quality import load_quality  # noqa: PLC0415

        if name not in DATASETS or split not in (None, *SPLITS):
            named = repr(name) if split is None else f"{name!r} with a split {split!r}"
            kinds, splits = ", ".join(DATASETS), " and ".join(SPLITS)
            raise UsageError(f"there is no dataset {named}; there are {kinds}, with the splits {splits}")
        people = labels_for_export(self.path, labels)
        made = load_quality(quality)
        options = ExportOptions(all_revisions, test_share, reasoning, pairs, made, select, labels, people)
        return dataset(self._reader, name, options, split=split)


def open_run(path: str | Path) -> RunDirectory:
    """Return the run in a directory or at a URL (`s3://…`); raises RunError when there is none.

    A run at a URL is fetched into its working copy here first, which may take a while.
    """
    if isinstance(path, str) and (named := DataSource.parse(path)).is_url:
        return RunDirectory(checkout(str(named)))
    return RunDirectory(expand(str(path)))
