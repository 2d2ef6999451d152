"""The other end of a working copy: what lies at the run's URL, fetched before work and sent as it is done.

A sealed shard never changes, and no two copies give it the same number (`origin.py`), so both ends only ever gain
files: fetching takes the shards and failures that only the URL has, sending the shards that only the copy has. Journals
stay local: on another machine their rows are made again. When such a journal turns up later, its prompts are in two
shards, and count once: the row in the shard with the smaller number. Of run.json the later one holds. A copy of a run
that was begun anew elsewhere is refused, because its rows belong to no run any more.

Methods wait for whoever answers at the URL, so they are called off an event loop. In a command without one Ctrl-C comes
in here, and any method may raise InterruptError, which says what is safe.

Nothing that comes from a URL is trusted, and nothing sent taken for granted: a shard carries its digest, which is
compared when it has come, and what was sent is read back. A shard that is damaged here is fetched again; one that is
damaged there is set aside at both ends once its rows are owed (`recovery.py`); who still has it whole sends it anew.

What lies at the URL and is not on record there (`remote_owned.py`) is neither fetched, nor replaced, nor removed.

There is no lock at a URL. Two machines that fill one run at the same time lose nothing, and may do some work twice.
"""

import fcntl
import filecmp
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from cai.core.digest import is_whole
from cai.core.errors import RunError, StoreError
from cai.rundir.files import interruptible, refusal
from cai.rundir.layout import (
    ANNOTATIONS,
    CARD,
    DAMAGED,
    EXPORT_FILES,
    EXPORTS,
    MANIFEST,
    ORIGIN,
    ROWS,
    SERIES,
    annotation_files,
    damaged_shard_numbers,
    failures_path,
    is_of_annotations,
    is_of_lines,
    is_written_at_url,
    left_out_path,
    shard_number,
    shard_numbers,
    shard_path,
    split_path,
)
from cai.rundir.manifest import Manifest, parse_manifest, read_manifest
from cai.rundir.origin import Origin, read_origin
from cai.rundir.owned import Owned
from cai.rundir.remote_owned import RemoteOwned

_HELD_OUT = tuple(split_path(Path(), kind, "test").as_posix() for kind in EXPORTS)
"""The exported rows kept for testing: whoever trains on the run must know them (`cai.data.examples.runs`)."""


class RemoteRun:
    """Both ends of one run at a URL; its methods are called by one thread at a time."""

    def __init__(self, directory: Path, origin: Origin) -> None:
        """Raise UsageError when no filesystem is installed for the URL; nothing is asked of it yet."""
        self.directory = directory
        self.url = origin.url
        self.series = origin.series
        with self._answering():
            self._there = RemoteOwned(origin.url, origin.series)
        self._folder = self._there.folder
        self._sent: set[int] = set()

    def pull_manifest(self, owned: Owned) -> None:
        """Bring run.json up to date.

        Raises RunError when the URL cannot be read, holds other things, or holds another run than the copy; StoreError
        when nobody answers, or the disk refuses.
        """
        data = self._read_manifest()
        here = read_manifest(self.directory) if (self.directory / MANIFEST).exists() else None
        if data is None:
            self._refuse_foreign()
            return
        there = parse_manifest(data, self.url)
        if here is not None:
            self._require_same_run(here, there)
        if here is None or here.updated <= there.updated:
            with self._pulling():
                owned.write(MANIFEST, data)

    def _refuse_foreign(self) -> None:
        """Raise RunError when a place that is no run's holds something; half a record is a run's beginning."""
        if not self._there.is_run and (foreign := self._there.others()):
            raise RunError(
                f"{self.url} is not a run and not empty (it holds {foreign[0] or 'a file'}); give --out a new or empty "
                "place."
            )

    def pull_rows(self, owned: Owned) -> None:
        """Fetch the shards that only the URL has, other copies' files of lines, and the exported rows kept for testing.

        Raises as `pull_manifest` does. What was fetched stays, wherever this stops.
        """
        with self._pulling():
            self._look()
            for name, size in self._there.sizes.items():
                number = shard_number(name)
                if not self._there.has(name):
                    continue
                if self._is_newer(name, size) if number is None else self._is_only_there(number, size):
                    self._fetch(name, size, owned)

    def _is_only_there(self, number: int, size: int) -> bool:
        """Tell whether a shard is to be fetched, and note that it need not be sent.

        Of two with one number and different sizes, the one of the copy that sealed it is whole: the other end's lost
        power before its disk had it. Our own is sent once more, unless it is damaged. One that was set aside here is
        damaged there too.
        """
        path = shard_path(self.directory, number)
        here = _size(path)
        is_good = here > 0 and is_whole(path)
        if is_good and here != size and number // SERIES == self.series:
            return False
        self._sent.add(number)
        return number not in damaged_shard_numbers(self.directory) and not (is_good and here == size)

    def _is_newer(self, name: str, size: int) -> bool:
        """Tell whether a file that is no shard is to be fetched: it only ever grows, or says what is held out."""
        is_others = is_of_lines(name) and self.directory / name not in self._own_lines()
        return (is_others or name in _HELD_OUT) and _size(self.directory / name) != size

    def _own_lines(self) -> tuple[Path, ...]:
        annotations = annotation_files(self.directory / ANNOTATIONS, self.series)
        return failures_path(self.directory, self.series), left_out_path(self.directory, self.series), *annotations

    def _fetch(self, name: str, size: int, owned: Owned) -> None:
        temporary = owned.temporary()
        with self._reading():
            self._folder.get(name, temporary)
        if _size(temporary) != size:
            raise StoreError(f"{self.url}/{name} broke off while it was fetched; the same command goes on.")
        if "/" in name:
            owned.folder(name.rpartition("/")[0])
        owned.place(temporary, name)

    def push_rows(self) -> bool:
        """Send the shards that only the copy has and tell whether there were any.

        Raises StoreError, and what was sent until then need not be sent again; RunError when the run was started over
        elsewhere since.
        """
        owed = [number for number in shard_numbers(self.directory) if number not in self._sent]
        damaged = [number for number in damaged_shard_numbers(self.directory) if number in self._sent]
        if owed or damaged:
            self._require_still_ours()
            names = {number: f"{ROWS}/{shard_path(self.directory, number).name}" for number in (*owed, *damaged)}
            with self._recording():
                self._there.own([*(names[number] for number in owed), *(names[number] + DAMAGED for number in damaged)])
        for number in owed:
            self._put_whole(names[number], shard_path(self.directory, number))
            self._sent.add(number)
        for number in damaged:
            if self._there.has(names[number]):
                with self._writing():
                    self._folder.move(names[number], names[number] + DAMAGED)
            self._sent.discard(number)
        return bool(owed)

    def _put_whole(self, name: str, path: Path) -> None:
        """Send a shard and read back what is there then; raises StoreError when that is not what was sealed."""
        with self._writing(), tempfile.TemporaryDirectory() as folder:
            if not is_whole(path):
                raise StoreError(f"{path} is damaged; the same command makes its rows again.")
            there = Path(folder, path.name)
            self._folder.put(name, path)
            self._folder.get(name, there)
            if not filecmp.cmp(path, there, shallow=False):
                raise StoreError(f"{self.url}/{name} is not what was sent; the same command sends it again.")

    def push_manifest(self) -> None:
        """Send run.json as it is now; raises as `push_rows` does."""
        self._require_still_ours()
        with self._recording():
            self._there.own([MANIFEST])
        with self._writing():
            self._folder.write(MANIFEST, (self.directory / MANIFEST).read_bytes())

    def push_lines(self) -> None:
        """Send the copy's own failures, which nobody may be writing to any more, what it left out, and annotations.

        Raises as `push_rows` does.
        """
        for path in self._own_lines():
            self._push_lines(path)

    def push_left_out(self) -> None:
        """Send what the copy left out; raises as `push_rows` does."""
        self._push_lines(left_out_path(self.directory, self.series))

    def push_annotations(self) -> None:
        """Send what was said of the copy; raises as `push_rows` does."""
        for path in annotation_files(self.directory / ANNOTATIONS, self.series):
            self._push_lines(path)

    def _push_lines(self, path: Path) -> None:
        if _size(path):
            self._require_still_ours()
            with self._recording():
                self._there.own([name := path.relative_to(self.directory).as_posix()])
            with self._writing():
                self._folder.put(name, path)

    def push_exports(self) -> None:
        """Send the exports, the card last, and remove those that are no longer made; raises as `push_rows` does."""
        self._require_still_ours()
        files = {name: self.directory / name for name in (*EXPORT_FILES, CARD) if (self.directory / name).is_file()}
        gone = [name for name in EXPORT_FILES if name not in files]
        with self._recording():
            self._there.look()
            for name in gone:
                self._there.require_free(name)
            self._there.own(files=files)
        with self._writing():
            for name in EXPORT_FILES:
                if name in files:
                    self._folder.put(name, files[name])
            self._there.remove(gone)
            self._folder.put(CARD, files[CARD])

    def clear(self) -> None:
        """Remove what is on record at the URL, run.json last, and nothing else; raises as `pull_manifest` does.

        Where something else has a name that a run may need, that is refused and nothing removed.
        """
        data = self._read_manifest()
        self._refuse_foreign()
        if data is not None:
            parse_manifest(data, self.url)
        if said := next(filter(is_of_annotations, self._there.sizes), None):
            raise RunError(f"{self.url}/{said} is what people said of the run; move it away, or give another --out.")
        for name in self._there.others():
            if is_written_at_url(name):
                with self._reading():
                    self._there.require_free(name)
        if self._there.is_run:
            with self._recording():
                self._there.clear(last=MANIFEST)
        self._sent.clear()

    def _require_still_ours(self) -> None:
        with self._writing():
            try:
                data = self._folder.read(MANIFEST)
            except FileNotFoundError:
                return
        self._require_same_run(read_manifest(self.directory), parse_manifest(data, self.url))

    def _require_same_run(self, here: Manifest, there: Manifest) -> None:
        if here.started != there.started:
            raise RunError(
                f"{self.url} was started over elsewhere, on {there.started}; {self.directory} is the working copy of "
                f"the run before it, of {here.started}. Remove that directory to go on with the new run, or give --out "
                "another place."
            )

    def holds_run(self) -> bool:
        """Tell whether there is a run at the URL, by its mark and its run.json; raises as `pull_manifest` does."""
        return self._read_manifest() is not None

    def _read_manifest(self) -> bytes | None:
        """Look at the URL and return the run.json that is on record there, or None."""
        self._look()
        if not self._there.has(MANIFEST):
            return None
        with self._reading():
            return self._folder.read(MANIFEST)

    def _look(self) -> None:
        with self._reading():
            self._there.look()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with self._answering():
                yield
        except OSError as error:
            users_own = isinstance(error, FileNotFoundError | PermissionError)
            raise (RunError if users_own else StoreError)(f"{self.url} cannot be read: {error}.") from error

    def _answering(self) -> AbstractContextManager[None]:
        return interruptible(f"interrupted before {self.url} answered; the same command goes on.")

    def sending(self) -> AbstractContextManager[None]:
        """Let Ctrl-C raise InterruptError inside a block that waits until the URL has what it is owed."""
        return interruptible(
            f"interrupted before {self.url} had everything; what is done is safe in {self.directory}, and the same "
            "command goes on where it stopped."
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self.sending():
                yield
        except OSError as error:
            raise StoreError(
                f"{self.url} cannot be written: {error}. What is done is safe in {self.directory}; mend that, and the "
                "same command goes on where it stopped."
            ) from error

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Keep other processes from changing the same copy's record at the URL."""
        with self._writing(), self._alone():
            yield

    @contextmanager
    def _pulling(self) -> Iterator[None]:
        """Keep other processes from fetching into the same copy."""
        try:
            with self._alone():
                yield
        except OSError as error:
            raise refusal(self.directory, error) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self.directory / ORIGIN, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with self._answering():  # another process, which waits for the URL
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def remote_of(directory: Path) -> RemoteRun | None:
    """Return the other end of a working copy, or None for a directory that is none."""
    origin = read_origin(directory)
    return None if origin is None else RemoteRun(directory, origin)


def _size(path: Path) -> int:
    """Return how many bytes a file has; one that is not there has none."""
    return path.stat().st_size if path.exists() else 0
