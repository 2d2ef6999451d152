"""A run directory that is being written: rows and failures go in, the same command again goes on where it stopped.

One process holds a run. Any thread may call its methods: what they share with each other and with the sealer's thread
lies under one lock. A commit is one write to the system and waits for nobody, but for the disk once in JOURNAL_ROWS,
when the next journal's name is put on record. A row counts from the moment `commit` returns: it outlives this process
at once, and a failing machine about half a second later. `open` and `close` wait for the disk, and for whoever answers
at a URL: they are called off an event loop.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from cai.core.errors import CaiError, InterruptError, StoreError
from cai.core.identity import fingerprint, key
from cai.core.keyset import KeySet
from cai.core.records import Failure, Row, Usage
from cai.method.judge_check import JudgeCheck
from cai.rundir.answers import AnswerFile
from cai.rundir.entry import enter
from cai.rundir.failures import FailureFile, FailureTally, read_failures
from cai.rundir.files import remove
from cai.rundir.inputs import Inputs, take_inputs
from cai.rundir.journal import Journal
from cai.rundir.layout import failures_path, journal_path, names_of, shard_path
from cai.rundir.left_out import read_left_out
from cai.rundir.manifest import Manifest, Status, now, write_manifest
from cai.rundir.origin import is_copy
from cai.rundir.owned import Owned
from cai.rundir.reader import RunReader, merge
from cai.rundir.recovery import count_finished, recover
from cai.rundir.remote import RemoteRun, remote_of
from cai.rundir.sealer import Sealer, Synced
from cai.rundir.uploader import Uploader

JOURNAL_ROWS = 4096
JOURNAL_BYTES = 64 * 2**20
"""A journal that holds so much is full: it is sealed, and the next one begins."""


class Run(RunReader):
    """An open run; made by `open`, ended by `close`. Every method may raise StoreError when the disk refuses.

    `remarks` says, in a sentence each, what was found damaged or missing when the run was opened, and which rows are
    left out or come back because the input is another one.
    """

    def __init__(
        self,
        owned: Owned,
        manifest: Manifest,
        remote: RemoteRun | None,
        inputs: Inputs | None,
        *,
        retry_failed: bool,
    ) -> None:
        """Read what is in a directory that `enter` has made ready; callers use `open`."""
        directory = owned.path
        super().__init__(directory)
        self._lock = threading.RLock()
        self._telling = threading.Lock()
        self._owned = owned
        self._manifest = manifest
        self._open = True
        series = 0 if remote is None else remote.series
        run = self._run = fingerprint(dict(manifest.identity))
        self._left_out = read_left_out(directory, run)
        recovered = recover(directory, run, series)
        asked = () if inputs is None else self._take_inputs(inputs, remote)
        self._finished, self._usage, self._rows_not_asked = self._count_finished()
        missing = manifest.rows - len(self._finished) - self._rows_not_asked
        self.remarks = (*self._tell_repairs(recovered.repairs, missing), *asked)
        self._lost_usage = manifest.lost_usage
        self._failure_file = FailureFile(failures_path(directory, series), run, self._manifest.inputs)
        failures = read_failures(directory, run, self._manifest.inputs, self._finished)
        self._failed = FailureTally(failures, retry_failed=retry_failed)
        self._again = self._with_failed_parts() if retry_failed else {}
        self.answers = AnswerFile(owned, run, self._finished.__contains__, ask_again=retry_failed)
        self._journal = self._new_journal(recovered.next_number)
        self._uploader = None if remote is None else Uploader(remote)
        self._sealer = Sealer(directory, run, self._watched(), self._note_sealed)
        for journal in recovered.unsealed:
            self._seal(journal)

    def _take_inputs(self, inputs: Inputs, remote: RemoteRun | None) -> list[str]:
        """See `take_inputs`; nothing is read, and nothing to say, when the inputs are those of the last time."""
        if inputs.fingerprint == self._manifest.inputs and self._left_out.inputs in (None, inputs.fingerprint):
            return []
        series = 0 if remote is None else remote.series
        with ExitStack() as stack:
            sources, _ = self._open_sources(stack)
            told = take_inputs(
                self._owned,
                self._run,
                series,
                inputs,
                self._left_out,
                lambda: (prompt for source in sources for prompt in source.prompts()),
            )
        self._left_out = read_left_out(self.directory, self._run)
        self._manifest = replace(self._manifest, inputs=inputs.fingerprint)
        write_manifest(self._owned, self._manifest)
        if remote is not None:
            remote.push_left_out()
            remote.push_manifest()
        return told

    def _count_finished(self) -> tuple[KeySet, Usage, int]:
        """Return which prompts that are asked have a row, the tokens that all rows took, and how many are not asked."""
        with ExitStack() as stack:
            return count_finished(self._open_sources(stack)[0], self._left_out.not_asked)

    def _tell_repairs(self, repairs: list[str], missing: int) -> Iterator[str]:
        """Yield a sentence for each thing that was damaged, and one for the rows that are owed again because of it."""
        yield from repairs
        if missing > 0 and not is_copy(self.directory):
            yield f"{self.directory}: {missing:,} rows that were finished before are missing, and made again"

    def _with_failed_parts(self) -> dict[int, int]:
        """Return the keys of the prompts whose rows lack something, and where in the input they were."""
        with ExitStack() as stack:
            sources, _ = self._open_sources(stack)
            rows = merge(sources, self._wanted("kept"))
            return {key(row.prompt.id): row.prompt.ordinal for row in rows if row.failed}

    @classmethod
    def open(
        cls,
        directory: Path,
        identity: Mapping[str, str],
        settings: Mapping[str, Any],
        *,
        inputs: Inputs | None = None,
        fresh: bool = False,
        retry_failed: bool = False,
    ) -> "Run":
        """Begin a run in a new or empty directory, or go on with the one that is there.

        `identity` is what all rows of a run share; `settings` are recorded for readers and must be what JSON can say.
        `inputs` may change: rows whose prompts are in them no more, or otherwise, are left out until they are again.
        `fresh` removes what cai wrote there and begins anew; where anything else lies it refuses. With `retry_failed`
        prompts that failed for good are owed again, and so are those whose rows lack a part, until they have a new row.
        Raises RunError when the directory holds other things, is another process's, or has another identity, InputError
        when changed inputs cannot be read. All of it goes for both ends of the working copy of a run at a URL
        (`cai.rundir.remote`), which also raises StoreError when nobody answers there.
        """
        remote = remote_of(directory)
        content = "" if inputs is None else inputs.fingerprint
        owned, manifest = enter(directory, remote, identity, content, settings, fresh)
        try:
            return cls(owned, manifest, remote, inputs, retry_failed=retry_failed)
        except BaseException:
            owned.close()
            raise

    @staticmethod
    def read(directory: Path) -> RunReader:
        """Look at a run without a lock, even while it is being written; raises RunError when it is not one."""
        return RunReader(directory)

    def is_finished(self, prompt_id: str) -> bool:
        """Tell whether nothing is owed for this prompt: it has a row, or a failure that asking again cannot mend."""
        name = key(prompt_id)
        with self._lock:
            return (name in self._finished and name not in self._again) or name in self._failed

    def commit(self, row: Row) -> None:
        """Keep a finished row; a prompt's first row stays if it has one already and is not to be made again.

        Raises StoreError when the disk refuses (then or earlier, in the background), RowError when a text of the row
        is no Unicode, RunError when the run at the URL was started over elsewhere.
        """
        self._sealer.check()
        if self._uploader is not None:
            self._uploader.check()
        name = key(row.prompt.id)
        with self._lock:
            if name in self._finished and name not in self._again:
                return
            if self._journal.rows >= JOURNAL_ROWS or self._journal.size >= JOURNAL_BYTES:
                self._begin_journal()
            ordinal = self._again.get(name, row.prompt.ordinal)  # the place of the row that this one supersedes
            if ordinal != row.prompt.ordinal:
                row = replace(row, prompt=replace(row.prompt, ordinal=ordinal))
            self._journal.commit(row)
            self._finished.add(name)
            self._again.pop(name, None)
            self._failed.supersede(name)
            self._usage += row.usage
        self.answers.forget(row.prompt.id)

    def _begin_journal(self) -> None:
        full = self._journal
        self._journal = self._new_journal(full.number + 1)
        self._seal(full, self._watched())

    def _watched(self) -> tuple[Synced, ...]:
        return self._journal, self._failure_file, self.answers

    def _new_journal(self, number: int) -> Journal:
        self._owned.own_paths(names_of(journal_path(self.directory, number)))
        return Journal(self.directory, number, self._run)

    def _seal(self, journal: Journal, watched: tuple[Synced, ...] | None = None) -> None:
        """Hand a journal to the sealer, with the names that its shard takes on record; `watched` are its successors."""
        self._owned.own_paths(names_of(shard_path(self.directory, journal.number)))
        self._sealer.seal(journal, watched)

    def fail(self, failure: Failure) -> None:
        """Keep a failure, unless the prompt has a row or a failure for good already."""
        name = key(failure.id)
        with self._lock:
            if name not in self._finished and name not in self._failed:
                self._failure_file.add(failure)
                self._failed.add(failure)

    def note_usage(self, usage: Usage) -> None:
        """Count tokens that were spent and gave no row; kept in run.json at the next seal or close."""
        with self._lock:
            lost = astuple(self._lost_usage + usage)
            self._lost_usage = Usage(*(max(0, count) for count in lost))  # of a process that was killed none was noted

    @property
    def judge_check(self) -> JudgeCheck | None:
        """What the judge was found to be before the first row; None: it was not tested."""
        return self._manifest.judge_check

    def note_judge_check(self, found: JudgeCheck) -> None:
        """Write down what the judge was found to be; waits for the disk."""
        with self._telling:
            self._manifest = replace(self._manifest, judge_check=found, updated=now())
            write_manifest(self._owned, self._manifest)

    @property
    def finished(self) -> int:
        """How many of the prompts that are asked have a row."""
        with self._lock:
            return len(self._finished)

    @property
    def failed(self) -> int:
        """How many prompts have a failure that counts."""
        with self._lock:
            return len(self._failed)

    @property
    def usage(self) -> Usage:
        """The tokens that the rows took, those of earlier processes included."""
        with self._lock:
            return self._usage

    def _finished_keys(self) -> KeySet:
        with self._lock:
            return self._finished.copy()

    def _note_sealed(self) -> None:
        """Write down how far the run came; called by the sealer's thread.

        run.json never counts a row that a failing machine may yet lose: what is counted is made durable first.
        """
        figures = self._figures()
        self._sealer.sync()
        self._write_manifest("running", figures)
        if self._uploader is not None:
            self._uploader.wake()

    def _figures(self) -> dict[str, Any]:
        with self._lock:
            return {
                "rows": len(self._finished) + self._rows_not_asked,
                "failures": len(self._failed),
                "usage": self._usage,
                "lost_usage": self._lost_usage,
            }

    def _write_manifest(self, status: Status, figures: Mapping[str, Any]) -> None:
        """Replace run.json; one thread at a time, which may wait for the disk."""
        with self._telling:
            self._manifest = replace(self._manifest, status=status, updated=now(), **figures)
            write_manifest(self._owned, self._manifest)

    def leave(self) -> None:
        """Record that a person did not wait for the URL; called beside a `close` that waits for it in a thread."""
        with suppress(StoreError):
            self._write_manifest("interrupted", self._figures())

    def close(self, status: Status) -> None:
        """Make everything durable, record how the run ended and let go of it; a second call does nothing.

        A run that is `done` has its last rows sealed too; others go on in a new journal. A run at a URL has them sealed
        however it ended, because only shards are sent. When the disk refuses, or the URL again and again, the run
        has failed, which is recorded if it can be, and the lock is released all the same; so it is, with RunError, when
        the run at the URL was started over elsewhere meanwhile. A run whose URL a person did not wait for is recorded
        as interrupted, with InterruptError.
        """
        with self._lock:
            if not self._open:
                return
            self._open = False
        last = self._journal
        seals = (status == "done" or self._uploader is not None) and last.rows > 0
        try:
            if seals:
                self._seal(last, (self._failure_file,))
            self._sealer.finish()
            if not last.rows:
                remove(last.path)
            if self._uploader is not None:
                self._uploader.stop()  # or it might send how the run ended before the last shard
            self._write_manifest(status, self._figures())
            if self._uploader is not None:
                self._uploader.finish()
        except CaiError as error:
            with suppress(StoreError):
                self._write_manifest("interrupted" if isinstance(error, InterruptError) else "failed", self._figures())
            raise
        finally:
            if not seals:
                last.close()
            self._failure_file.close()
            try:
                self.answers.close(done=status == "done")
                if self._uploader is not None:
                    self._uploader.stop()
            finally:
                self._owned.close()
