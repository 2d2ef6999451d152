"""A bench's directory: what it is, who works in it, and its files.

bench.json                identity and settings from the start, everything that was found when it is done
README.md                 the same as a page
reliability.png, .svg     how often a judge is right beside how sure it is
calibration.json          how sure each judge may be, with --calibrate (`cai.method.label_calibration`)
items.jsonl               a line an item: prompt, answers, label
verdicts/<judge>.jsonl    a line an item: what the judge said of it, its tokens, when
.cai/                     the record of what cai wrote here (`cai.rundir.claim`)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson

from cai.judge_bench.items import LabelledItem
from cai.rundir.claim import entering, read_recorded, require_identity
from cai.rundir.documents import Fields, make_document
from cai.rundir.layout import CARD, names_of
from cai.rundir.manifest import now
from cai.rundir.owned import Owned

FORMAT = 2
DOCUMENT = "bench.json"
ITEMS, VERDICTS = "items.jsonl", "verdicts"
CALIBRATION = "calibration.json"
PICTURES = ("reliability.png", "reliability.svg")


class BenchDirectory:
    """A bench's directory that this process holds; made by `open`, ended by `close`."""

    def __init__(self, path: Path, owned: Owned, document: dict[str, Any]) -> None:
        self.path = path
        self._owned = owned
        self._document = document

    @classmethod
    def open(cls, path: Path, identity: Mapping[str, str], settings: Mapping[str, Any], *, fresh: bool) -> Self:
        """Begin a bench in a new or empty directory, or go on with the one that is there.

        `fresh` removes what cai wrote there. Raises RunError when the directory holds other things, is another
        process's, or belongs to a bench under another identity; StoreError when the disk refuses.
        """
        with entering(path, "judge-bench", fresh=fresh) as owned:
            if fresh:
                owned.clear()
            document = read_recorded(owned, [DOCUMENT], FORMAT, _parse)
            if document is not None:
                require_identity(path, document["identity"], identity)
            owned.require_free(ITEMS, CARD, CALIBRATION, *PICTURES)  # before any work is done
            owned.folder(VERDICTS)
            begun = {"format": FORMAT, "status": "running", "started": now(), "judges": {}}
            directory = cls(path, owned, document or begun)
            if document is None:
                directory._write({**begun, "identity": dict(identity), "settings": dict(settings)})
            return directory

    def require_judge(self, label: str, engine: str) -> None:
        """Note which judge answers under a label; raises RunError when it was another one before."""
        judges = self._document["judges"]
        if label not in judges:
            self._write({**self._document, "judges": {**judges, label: engine}})
        require_identity(self.path, {f"judge {label}": judges.get(label, engine)}, {f"judge {label}": engine})

    def verdicts(self, label: str) -> Path:
        """Return where a judge's verdicts lie."""
        return self._owned.own_paths(names_of(self.path / VERDICTS / f"{label}.jsonl"))[0]

    def write_items(self, items: Sequence[LabelledItem]) -> None:
        """Write down what is asked about; raises StoreError."""
        self._owned.write(ITEMS, b"".join(orjson.dumps(item) + b"\n" for item in items))

    def finish(
        self, settings: Mapping[str, Any], result: Mapping[str, Any], page: str, files: Mapping[str, bytes]
    ) -> None:
        """Write the result, the page, and the files beside it by their names; raises StoreError.

        A calibration that is there and is not made again still holds: runs name it, and the verdicts are the same.
        """
        self._owned.remove(*(name for name in PICTURES if name not in files))
        for name, data in files.items():
            self._owned.write(name, data)
        self._owned.write(CARD, page.encode())
        self._write({**self._document, "status": "done", "settings": dict(settings), "result": dict(result)})

    def close(self) -> None:
        """Let go of the directory."""
        self._owned.close()

    def _write(self, document: dict[str, Any]) -> None:
        self._owned.write(DOCUMENT, make_document(document))
        self._document = document


def _parse(fields: Fields) -> dict[str, Any]:
    return {**fields.values, **{name: fields.words(name) for name in ("identity", "judges")}}
