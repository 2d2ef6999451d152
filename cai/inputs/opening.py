"""From what the user wrote after --prompts to a source: `-`, a file, a directory, a saved dataset, a URL, the hub."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from cai.errors import InputError
from cai.identity import fingerprint
from cai.inputs.lines import LineFormat, LineSource, open_plain, open_stdin
from cai.inputs.prompts import InputOptions, Prompts
from cai.inputs.remote import fetch
from cai.inputs.rows import BrokenRow, RawRow, Source
from cai.urls import is_url

_LINE_FORMATS: dict[str, LineFormat] = {
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".txt": "text",
    ".jsonl.gz": "jsonl",
    ".csv.gz": "csv",
    ".txt.gz": "text",
}
_SUFFIXES = (*_LINE_FORMATS, ".parquet")
_Kind = Literal["stdin", "file", "directory", "saved", "hub"]
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class DirectorySource:
    """The files of a directory one after the other, as if they were one."""

    def __init__(self, files: Sequence[Source]) -> None:
        """Join files that are open already."""
        self._files = files
        self.fingerprint = fingerprint([file.fingerprint for file in files])
        sizes = [file.size for file in files]
        self.size = sum(size for size in sizes if size is not None) if None not in sizes else None

    def rows(self) -> Iterator[RawRow | BrokenRow]:
        """Read every row of every file."""
        for file in self._files:
            yield from file.rows()


def open_prompts(source: str, options: InputOptions) -> Prompts:
    """Open the prompts that `source` names.

    `-` is standard input; a path, or a URL that fsspec knows, is a file, a directory of files (recursive, in sorted
    order; hidden files and those of other kinds are left out) or a dataset saved by `datasets`; what is no path but
    looks like `owner/name` is a dataset on the hub. A hub dataset is shuffled through a buffer by `datasets`,
    everything else as a whole.

    Raises InputError when nothing there can be read as prompts: the message says what was found and what is needed.
    """
    try:
        place = str(fetch(source, _SUFFIXES)) if is_url(source) else source
        kind = _kind(place)
        if options.split is not None and kind not in ("saved", "hub"):
            raise InputError(f"--split is for datasets saved on disk or on the hub; {_printable(source)} is neither.")
        opened = _open(place, kind, options)
    except OSError as error:
        # LineSource and ParquetSource say their own; this is about names: too long, in a directory that is closed.
        raise InputError(f"{_printable(source[:200])} cannot be opened: {error.strerror}.") from error
    if opened.size == 0:
        raise InputError(f"{'Standard input' if kind == 'stdin' else _printable(source)} holds no prompts.")
    return Prompts(opened, options, shuffle=options.shuffle and kind != "hub")


def _kind(source: str) -> _Kind:
    if source == "-":
        return "stdin"
    path = Path(source).expanduser()
    if path.is_file():
        return "file"
    if path.is_dir():
        is_saved = (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()
        return "saved" if is_saved else "directory"
    if _HUB_NAME.fullmatch(source) and not source.endswith(_SUFFIXES):
        return "hub"
    raise InputError(f"There is no file or directory {_printable(source)} to read prompts from.")


def _open(source: str, kind: _Kind, options: InputOptions) -> Source:
    path = Path(source).expanduser()
    if kind in ("saved", "hub"):
        # Only here, because datasets takes seconds to import.
        from cai.inputs.hub import HubSource, SavedSource  # noqa: PLC0415

        return SavedSource(path, options) if kind == "saved" else HubSource(source, options)
    if kind == "stdin":
        return open_stdin(options.prompt_column)
    if kind == "file":
        return _open_file(path, _printable(path.name), options.prompt_column)
    return _open_directory(path, options.prompt_column)


def _open_directory(directory: Path, wanted: str | None) -> DirectorySource:
    files = []
    for parent, directories, names in os.walk(directory, onerror=_refuse):
        directories[:] = [name for name in directories if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".") and name.endswith(_SUFFIXES)]
    if not files:
        raise InputError(f"{_printable(str(directory))} holds no prompt file ({', '.join(_SUFFIXES)}).")
    return DirectorySource(
        [_open_file(path, _printable(path.relative_to(directory).as_posix()), wanted) for path in sorted(files)]
    )


def _refuse(error: OSError) -> None:
    """Stop at a directory that cannot be listed, which os.walk would leave out without a word."""
    raise error


def _open_file(path: Path, name: str, wanted: str | None) -> Source:
    """Open one file by the ending of its name; `name` is what places in it are called."""
    for suffix, form in _LINE_FORMATS.items():
        if path.name.endswith(suffix):
            return LineSource(name, form, open_plain(path), wanted)
    if path.suffix == ".parquet":
        # Only here, because JSONL needs no pyarrow.
        from cai.inputs.tables import ParquetSource  # noqa: PLC0415

        return ParquetSource(path, name, wanted)
    raise InputError(f"{name} is of no kind that can be read; prompts come as {', '.join(_SUFFIXES)}.")


def _printable(name: str) -> str:
    """Return a file name that can be written as UTF-8, whatever bytes it is made of."""
    return name.encode("utf-8", "replace").decode()
