"""The formats that files of rows come in, by the endings of their names; a format more is a line in FORMATS.

What a format needs is a `RawSource` of one file: its columns, and its rows with a place for each (`cai.data.rows`).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cai.core.errors import InputError
from cai.data.rows import RawSource
from cai.data.text_files import TextForm, TextSource, open_plain

Opener = Callable[[Path, str], RawSource]
"""Opens a file that places in it call by a name; raises InputError when it cannot be read."""


def _open_text(form: TextForm, path: Path, name: str) -> RawSource:
    return TextSource(name, form, open_plain(path, name))


def _open_parquet(path: Path, name: str) -> RawSource:
    from cai.data.tables import ParquetSource  # noqa: PLC0415  (JSONL needs no pyarrow)

    return ParquetSource(path, name)


FORMATS: dict[str, Opener] = {
    ".jsonl": partial(_open_text, "json"),
    ".json": partial(_open_text, "json"),
    ".csv": partial(_open_text, "csv"),
    ".txt": partial(_open_text, "text"),
    ".jsonl.gz": partial(_open_text, "json"),
    ".json.gz": partial(_open_text, "json"),
    ".csv.gz": partial(_open_text, "csv"),
    ".txt.gz": partial(_open_text, "text"),
    ".parquet": _open_parquet,
}
"""The known endings, in lower case, in the order in which they are told."""


def suffix_of(name: str) -> str | None:
    """Return which known ending a file's name has, in lower case, or None."""
    return next((suffix for suffix in FORMATS if name.lower().endswith(suffix)), None)


def open_file(path: Path, name: str) -> RawSource:
    """Open one file by the ending of its name; raises InputError when it cannot be read."""
    suffix = suffix_of(path.name)
    if suffix is None:
        raise InputError(f"{name} is of no kind that can be read; rows come as {', '.join(FORMATS)}.")
    return FORMATS[suffix](path, name)
