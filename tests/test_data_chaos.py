"""Damaged files of every kind: nothing but cai's own errors, in one line, and untouched rows come back unchanged."""

import csv
import gzip
import io
import json
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cai.core.addresses import DataSource
from cai.core.errors import CaiError
from cai.core.records import Failure, Prompt
from cai.data import InputOptions, open_prompts
from cai.data.examples.shaping import ExampleKind
from cai.train.settings import DataSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other people's libraries, at import
    from datasets import Dataset

    from cai.train.data.examples import load_examples

pytestmark = pytest.mark.chaos

CASES = int(os.environ.get("CAI_CHAOS_CASES", "2000"))
SEED = 20261125

ROWS = [
    {
        "prompt": f'{n}번 질문: 두통이 심해요, "what" now?',
        "completion": f"answer {n}, 00{n}.50",
        "id": f"r{n}",
        "tags": "a,b",
        "score": n / 2,
        "label": n % 2,
        "extra": None if n < 4 else str({"a": [n, "x"]}),
    }
    for n in range(8)
]
PIECES = [
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf0\x9f", b'"', b"'", b"\\", b"\\ud800", b"\\u0000"),
    *(b"[", b"]", b"{", b"}", b",", b":", b"\n", b"\r", b"\r\n", b"\t", b"NaN", b"1e999", b"9" * 400, b"-", b"null"),
    *(b"[" * 2000, b'{"a":' * 1200, b'"prompt": 5,', b"PAR1", b"\x1f\x8b", b"\xb0\xa1", b"\xef\xbf\xbd", b"=HYPERLINK"),
]


def as_jsonl() -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)


def as_csv() -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ROWS[0])
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def as_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file, row_group_size=3)
    return file.getvalue()


def as_text() -> bytes:
    return "".join(f"{row['prompt']}\n" for row in ROWS).encode()


WRITERS: dict[str, Callable[[], bytes]] = {
    "a.jsonl": as_jsonl,
    "b.jsonl.gz": lambda: gzip.compress(as_jsonl(), 1),
    "c.json": lambda: json.dumps(ROWS, ensure_ascii=False, indent=1).encode(),
    "d.csv": as_csv,
    "e.csv": lambda: as_csv().decode().encode("cp949"),
    "f.csv": lambda: as_csv().decode().encode("utf-16"),
    "g.parquet": as_parquet,
    "h.txt": as_text,
}
KINDS: list[ExampleKind] = ["supervised", "labelled", "scored", "prompts"]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Return the bytes with a few faults of the kinds that disks, editors and programs make."""
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((1, 1, 4, 40, 400)))
        data = draw.choice(
            (
                lambda start=start, data=data: data[:start],
                lambda start=start, end=end, data=data: data[:start] + data[end:],
                lambda start=start, end=end, data=data: data[:start] + bytes(end - start) + data[end:],
                lambda start=start, end=end, data=data: data[:end] + data[start:end] + data[end:],
                lambda start=start, data=data: data[:start] + draw.choice(PIECES) + data[start:],
                lambda start=start, end=end, data=data: data[:start] + draw.randbytes(end - start) + data[end:],
                lambda start=start, data=data: (
                    data[:start]
                    + bytes(b ^ 1 << draw.randrange(8) for b in data[start : start + 1])
                    + data[start + 1 :]
                ),
            )
        )()
    return data


def require_one_line(error: CaiError) -> None:
    text = str(error)
    assert "\n" not in text
    text.encode()


def read(source: str) -> list[Prompt | Failure]:
    try:
        opened = open_prompts(DataSource.parse(source), InputOptions())
        items = list(opened)
    except CaiError as error:
        require_one_line(error)
        return []
    assert opened.size == len(items) + opened.duplicates
    for item in items:
        if isinstance(item, Prompt):
            assert all(turn["content"].encode() for turn in item.messages)
        else:
            (item.cause + item.raw + item.id).encode()
    return items


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_are_told_or_read(tmp_path: Path, name: str) -> None:
    draw = random.Random(f"{SEED} {name}")
    whole = WRITERS[name]()
    path = tmp_path / name
    path.write_bytes(whole)
    assert [item.messages[-1]["content"] for item in read(str(path)) if isinstance(item, Prompt)] == [
        row["prompt"] for row in ROWS
    ]
    for number in range(max(1, CASES // len(WRITERS))):
        path.write_bytes(mutate(whole, draw))
        read(str(path))
        if number % 4 == 0:
            try:
                load_examples(draw.choice(KINDS), DataSettings((DataSource.parse(str(path)),)), 0)
            except CaiError as error:
                require_one_line(error)


def test_damaged_saved_datasets_are_told_or_read(tmp_path: Path) -> None:
    draw = random.Random(f"{SEED} saved")
    source = tmp_path / "saved"
    Dataset.from_list(ROWS).save_to_disk(source)
    whole = {path: path.read_bytes() for path in sorted(source.iterdir())}
    for _ in range(max(1, CASES // 8)):
        touched = draw.choice(list(whole))
        touched.write_bytes(mutate(whole[touched], draw))
        read(str(source))
        touched.write_bytes(whole[touched])


@pytest.mark.parametrize("name", ["a.jsonl", "h.txt"])
def test_lines_that_were_not_touched_come_back_unchanged(tmp_path: Path, name: str) -> None:
    draw = random.Random(f"{SEED} lines {name}")
    whole = WRITERS[name]().splitlines()
    for _ in range(max(1, CASES // 4)):
        lines = list(whole)
        touched = draw.randrange(1, len(lines))
        lines[touched] = mutate(lines[touched], draw).replace(b"\n", b" ")
        path = tmp_path / name
        path.write_bytes(b"\n".join(lines))
        found = {item.messages[-1]["content"] for item in read(str(path)) if isinstance(item, Prompt)}
        assert found >= {row["prompt"] for number, row in enumerate(ROWS) if number != touched}
