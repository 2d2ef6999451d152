"""An evaluation's directory: what it is, who works in it, and its files.

evaluation.json              identity and settings from the start, everything that was found when it is done
evaluation.png, .svg         the picture: what is measured over all principles
principles.png, .svg         the picture: how often each principle is broken
responses/<label>.jsonl      a line a prompt: response, gates, refusal
comparisons/<a>~<b>.jsonl    a line a prompt: which of the two answers the judge prefers
examinations/<name>/<label>.jsonl    a line an item of what was examined beside the prompts (`cai.evaluate.examining`)
examinations/<name>/<label>/         what a library wrote of it
figures/<name>.png, .svg     the picture of each such examination that has one
paper/, inspect/             a format that was asked for (`cai.evaluate.formats`)
.cai/                        the record of what cai wrote here (`cai.rundir.claim`)
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from cai.method.judge_check import JudgeCheck
from cai.rundir.claim import entering, read_recorded, require_identity
from cai.rundir.documents import Fields, make_document
from cai.rundir.files import refusal
from cai.rundir.layout import names_of
from cai.rundir.manifest import now, parse_judge_check
from cai.rundir.owned import Owned

FORMAT = 8
DOCUMENT = "evaluation.json"
RESPONSES, COMPARISONS, EXAMINATIONS, FIGURES = "responses", "comparisons", "examinations", "figures"
_PICTURES = ("evaluation.png", "evaluation.svg", "principles.png", "principles.svg")


class EvaluationDirectory:
    """An evaluation directory that this process holds; made by `open`, ended by `close`."""

    def __init__(self, path: Path, owned: Owned, document: dict[str, Any]) -> None:
        self.path = path
        self._owned = owned
        self._document = document

    @classmethod
    def open(cls, path: Path, identity: Mapping[str, str], settings: Mapping[str, Any], *, fresh: bool) -> Self:
        """Begin an evaluation in a new or empty directory, or go on with the one that is there.

        `fresh` removes what cai wrote there; where anything else lies it refuses. Raises RunError when the directory
        holds other things, is another process's, or belongs to an evaluation under another identity; StoreError when
        the disk refuses.
        """
        with entering(path, "evaluation", fresh=fresh) as owned:
            if fresh:
                owned.clear()
            document = read_recorded(owned, [DOCUMENT], FORMAT, _parse)
            if document is not None:
                require_identity(path, document["identity"], identity)
            owned.require_free(*_PICTURES)  # before any work is done
            for name in (RESPONSES, COMPARISONS, EXAMINATIONS, FIGURES):
                owned.folder(name)
            begun: dict[str, Any] = {"format": FORMAT, "status": "running", "started": now(), "judge_check": None}
            begun |= {"models": {}, "examinations": {}}
            directory = cls(path, owned, document or begun)
            if document is None:
                directory._write({**begun, "identity": dict(identity), "settings": dict(settings)})
            return directory

    def require_model(self, label: str, engine: str) -> None:
        """Note which model answers under a label; raises RunError when it was another one before."""
        models = self._document["models"]
        if label not in models:
            self._write({**self._document, "models": {**models, label: engine}})
        require_identity(self.path, {f"model {label}": models.get(label, engine)}, {f"model {label}": engine})

    def require_examination(self, name: str, identity: Mapping[str, str]) -> None:
        """Note what an examination is, and make its folder; raises RunError when it was another one before."""
        examinations = self._document["examinations"]
        require_identity(self.path, examinations.get(name, identity), identity)
        if name not in examinations:
            self._write({**self._document, "examinations": {**examinations, name: dict(identity)}})
        self._owned.folder(f"{EXAMINATIONS}/{name}")

    @property
    def judge_check(self) -> JudgeCheck | None:
        """What the judge was found to be before the first row; None: it was not tested."""
        found: JudgeCheck | None = self._document["judge_check"]
        return found

    def note_judge_check(self, found: JudgeCheck) -> None:
        """Write down what the judge was found to be; raises StoreError."""
        self._write({**self._document, "judge_check": found})

    def responses(self, label: str) -> Path:
        """Return where a model's answers lie."""
        return self._owned.own_paths(names_of(self.path / RESPONSES / f"{label}.jsonl"))[0]

    def examined(self, name: str, label: str) -> Path:
        """Return where what was kept of a model in an examination lies."""
        return self._owned.own_paths(names_of(self.path / EXAMINATIONS / name / f"{label}.jsonl"))[0]

    def temporary(self) -> Path:
        """Make a folder for a library to write into; the next process removes what this one leaves of it."""
        path = self._owned.temporary()
        try:
            path.mkdir()
        except OSError as error:
            raise refusal(path, error) from error
        return path

    def keep(self, name: str, label: str, part: str, written: Path) -> None:
        """Take in a folder that a library wrote about a model, in the place of what lay there before.

        Raises StoreError when the disk refuses, RunError where somebody else's file or folder has the name.
        """
        self._owned.folder(f"{EXAMINATIONS}/{name}/{label}")
        place = f"{EXAMINATIONS}/{name}/{label}/{part}"
        self._owned.remove_below(place)
        try:
            shutil.copytree(written, self._owned.tree(place))
        except OSError as error:
            raise refusal(self.path / place, error) from error
        self._owned.settle(place)

    def comparisons(self, a: str, b: str) -> Path:
        """Return where a pair's decisions lie."""
        return self._owned.own_paths(names_of(self.path / COMPARISONS / f"{a}~{b}.jsonl"))[0]

    def finished_at(self, result: Mapping[str, Any]) -> str:
        """Return when this result was first complete: now, unless it is the one that lies here already."""
        before = self._document.get("result")
        if before is not None and before == orjson.loads(orjson.dumps({**result, "finished": before["finished"]})):
            return str(before["finished"])
        return now()

    def write_pictures(self, drawn: Mapping[str, bytes]) -> None:
        """Write the pictures by their file names, and remove those that are not drawn any more; raises StoreError."""
        before = (*_PICTURES, *(f"{FIGURES}/{path.name}" for path in (self.path / FIGURES).iterdir()))
        self._owned.remove(*(name for name in before if name not in drawn and self._owned.has(name)))
        for name, data in drawn.items():
            self._owned.write(name, data)

    def write_format(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a format into its folder, and remove those that are not there any more.

        Raises RunError where somebody else's file has one of the names, StoreError when the disk refuses.
        """
        self._owned.folder(name)
        before = [f"{name}/{path.name}" for path in (self.path / name).iterdir()]
        self._owned.remove(*(one for one in before if one not in files and self._owned.has(one)))
        for one, data in files.items():
            self._owned.write(f"{name}/{one}", data)

    def finish(self, settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Write the result; raises StoreError."""
        self._write({**self._document, "status": "done", "settings": dict(settings), "result": dict(result)})

    def close(self) -> None:
        """Let go of the directory."""
        self._owned.close()

    def _write(self, document: dict[str, Any]) -> None:
        self._owned.write(DOCUMENT, make_document(document))
        self._document = document


def _parse(fields: Fields) -> dict[str, Any]:
    found = parse_judge_check(fields, "judge_check")
    words = {name: fields.words(name) for name in ("identity", "models")}
    return {**fields.values, **words, "judge_check": found}
