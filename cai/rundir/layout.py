"""What lies where in a run directory; `.cai/` holds the record of what cai wrote there (`record.py`).

run.json             what the run is and how far it came (`manifest.py`)
journal/000003.jsonl rows finished since the last shard, one line a row
journal/answers-1.jsonl  answers of rows that are not finished (`answers.py`), none once the run is done
rows/000002.parquet  a sealed shard; it replaces journal 2, which is stale once the shard exists
failures.jsonl       prompts that could not be done, one line a failure (a working copy's has its series in the name)
left-out.jsonl       rows that were dropped, or whose prompts are not asked any more (`left_out.py`; named alike)
*.damaged            a shard, or lines of a journal or of failures.jsonl, that were not as they had been written
origin.json          only in the working copy of a run at a URL: which (`origin.py`)
sft/ preference/ …    exports, and README.md, their dataset card (`cai/data/export`)
quality/             the ledger of what an export left out, cleaned or lists (`cai/data/quality`)
annotations/         what people said, a file an annotator (`cai/annotation`); nothing of cai's removes it
"""

import re
from pathlib import Path

MANIFEST = "run.json"
JOURNAL = "journal"
ROWS = "rows"
FAILURES = "failures.jsonl"
LEFT_OUT = "left-out.jsonl"
ANNOTATIONS = "annotations"
ORIGIN = "origin.json"
SFT = "sft"
PREFERENCE = "preference"
RANKING = "ranking"
LABELLED = "labelled"
SCORED = "scored"
EXPORTS = (SFT, PREFERENCE, RANKING, LABELLED, SCORED)
SPLITS = ("train", "test")
QUALITY = "quality"
LEDGER = f"{QUALITY}/ledger.parquet"
EXPORT_FILES = (*(f"{kind}/{split}.parquet" for kind in EXPORTS for split in SPLITS), LEDGER)
"""What an export may write, and its card."""

CARD = "README.md"
TEMPORARY = ".tmp"
DAMAGED = ".damaged"

NUMBERED = re.compile(r"(\d{6,})\.(?:jsonl|parquet)")
SERIES = 10**6
"""Numbers in a series. Local runs number from series 0, each working copy of a run at a URL from one of its own."""

_LINES = re.compile(r"(failures|left-out)(-\d+)?\.jsonl")
_ANNOTATIONS = re.compile(rf"{ANNOTATIONS}/[a-z0-9-]+(?:\.(\d+))?\.jsonl")
_SHARD = re.compile(rf"{ROWS}/(\d{{6,}})\.parquet")
_AT_URL = re.compile(
    rf"({MANIFEST}|{CARD}|{_LINES.pattern}|{_ANNOTATIONS.pattern}|{_SHARD.pattern}"
    rf"|{'|'.join(map(re.escape, EXPORT_FILES))})({re.escape(DAMAGED)})?"
)


def journal_path(directory: Path, number: int) -> Path:
    """Return where journal `number` lies."""
    return directory / JOURNAL / f"{number:06}.jsonl"


def shard_path(directory: Path, number: int) -> Path:
    """Return where the shard sealed from journal `number` lies."""
    return directory / ROWS / f"{number:06}.parquet"


def names_of(path: Path) -> tuple[Path, Path, Path]:
    """Return where a shard or a file of lines lies, and where it is made or mended, and set aside when damaged."""
    return path, path.with_name(path.name + TEMPORARY), path.with_name(path.name + DAMAGED)


def split_path(directory: Path, kind: str, split: str) -> Path:
    """Return where a split of an export (`sft`, `preference` or `ranking`) lies."""
    return directory / kind / f"{split}.parquet"


def journal_numbers(directory: Path) -> list[int]:
    """Return the numbers of the journals that exist, ascending."""
    return _numbers(directory / JOURNAL, ".jsonl")


def shard_numbers(directory: Path) -> list[int]:
    """Return the numbers of the shards that exist, ascending."""
    return _numbers(directory / ROWS, ".parquet")


def damaged_shard_numbers(directory: Path) -> list[int]:
    """Return the numbers of the shards that were set aside, ascending."""
    return _numbers(directory / ROWS, ".parquet" + DAMAGED)


def _numbers(folder: Path, ending: str) -> list[int]:
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir() if path.name.endswith(ending))
    matches = (NUMBERED.fullmatch(name.removesuffix(DAMAGED)) for name in names)
    return sorted(int(match[1]) for match in matches if match)


def failures_path(directory: Path, series: int) -> Path:
    """Return where the failures lie that a copy of this series writes."""
    return _lines_path(directory, FAILURES, series)


def failure_files(directory: Path) -> list[Path]:
    """Return the files of failures that exist, those of other copies included."""
    return _line_files(directory, FAILURES)


def left_out_path(directory: Path, series: int) -> Path:
    """Return where a copy of this series writes which rows are left out."""
    return _lines_path(directory, LEFT_OUT, series)


def left_out_files(directory: Path) -> list[Path]:
    """Return the files that exist which say what is left out, those of other copies included."""
    return _line_files(directory, LEFT_OUT)


def _lines_path(directory: Path, name: str, series: int) -> Path:
    stem, ending = name.split(".")
    return directory / (f"{stem}-{series}.{ending}" if series else name)


def _line_files(directory: Path, name: str) -> list[Path]:
    stem, ending = name.split(".")
    found = ((path, _LINES.fullmatch(path.name)) for path in directory.glob(f"{stem}*.{ending}"))
    return sorted(path for path, match in found if match and match[1] == stem)


def is_written_at_url(name: str) -> bool:
    """Tell whether cai writes a file of this name, relative to the run, when the run is at a URL."""
    return _AT_URL.fullmatch(name) is not None


def shard_number(name: str) -> int | None:
    """Return the number of the shard that a file of this name is, or None when it is none."""
    match = _SHARD.fullmatch(name)
    return None if match is None else int(match[1])


def is_of_lines(name: str) -> bool:
    """Tell whether a file of this name holds failures, what is left out, or annotations.

    A copy has its own, which only grow.
    """
    return _LINES.fullmatch(name) is not None or is_of_annotations(name)


def is_of_annotations(name: str) -> bool:
    """Tell whether a file of this name, relative to the run, holds annotations."""
    return _ANNOTATIONS.fullmatch(name) is not None


def annotations_name(stem: str, series: int) -> str:
    """Return the name of the file of annotations that a copy of this series writes; `stem`: a-z, 0-9 and dashes."""
    return f"{stem}.{series}.jsonl" if series else f"{stem}.jsonl"


def annotation_files(folder: Path, series: int | None = None) -> list[Path]:
    """Return the files of annotations in a folder, all or those that a copy of this series writes, by name."""
    found = ((path, _ANNOTATIONS.fullmatch(f"{ANNOTATIONS}/{path.name}")) for path in folder.glob("*.jsonl"))
    return sorted(path for path, match in found if match and series in (None, int(match[1] or 0)))
