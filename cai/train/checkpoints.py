"""Checkpoints of a run that is not finished: which of them are whole, and which one training goes on from.

checkpoint-N/complete is written last. It holds the size and the digest of every other file of the checkpoint, so that
what a kill left torn and what a disk damaged later is told before anything of it is loaded. Files are hashed whole:
about a second a gigabyte, once when a checkpoint is written and once when training goes on from it.

A checkpoint is whole before its step is evaluated. What the evaluation changes is written to checkpoint-N/evaluated/,
and counts in place of the files of the same names once the mark names it: a kill at any moment leaves the one or the
other. It is put in their place when training goes on from there.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from cai.core.errors import RunError
from cai.rundir.files import sync_file
from cai.rundir.owned import Owned

CHECKPOINTS = "checkpoints"
MARK = "complete"
EVALUATED = "evaluated"
_KEPT = 2  # the newest, and the best or the one before
_CARD = "README.md"
_NAME = re.compile(r"checkpoint-(\d+)")
_STATE = "trainer_state.json"


def begin_checkpoint(owned: Owned, step: int) -> None:
    """Put a checkpoint on record that the trainer is about to write; raises RunError where another's files lie."""
    owned.remove_below(_name(step))
    owned.own(f"{CHECKPOINTS}/{_CARD}")  # TRL leaves a card there
    owned.tree(_name(step))


def complete_checkpoint(owned: Owned, step: int) -> None:
    """Make a checkpoint durable, and say inside it what it holds; its evaluation may be added and completed, too."""
    checkpoint = owned.path / _name(step)
    files = _files(checkpoint)
    replaced = {checkpoint / path.name for path in files if path.parent == checkpoint / EVALUATED}
    _mark(owned, checkpoint, [path for path in files if path not in replaced])
    _expect_evaluation(owned, checkpoint)


def discard_others(owned: Owned, step: int, best: str | None) -> None:
    """Remove checkpoints that are not to be kept beside the newest; `best` is the best one's path, as the trainer's."""
    found = _found(owned)
    kept = {step, *(number for number, path in found.items() if best is not None and path.name == Path(best).name)}
    for number in sorted(found, reverse=True):
        if len(kept) < _KEPT:
            kept.add(number)
        if number not in kept:
            owned.remove_below(_name(number))


def _expect_evaluation(owned: Owned, checkpoint: Path) -> None:
    """Put on record what the trainer may add to a checkpoint."""
    if not (checkpoint / EVALUATED).exists():
        owned.tree(f"{_name_of(checkpoint)}/{EVALUATED}")


def _take_evaluation(owned: Owned, checkpoint: Path) -> None:
    """Put what an evaluation added where the trainer reads it; of one that was cut short nothing is kept.

    What was added goes last, so that a kill in between leaves it to be taken again.
    """
    name, added = _name_of(checkpoint), checkpoint / EVALUATED
    marked = orjson.loads((checkpoint / MARK).read_bytes())["files"]
    taken = [path for path in _files(checkpoint) if path.parent == added and f"{EVALUATED}/{path.name}" in marked]
    for path in taken:
        owned.write(f"{name}/{path.name}", path.read_bytes())
    if taken:
        _mark(owned, checkpoint, [path for path in _files(checkpoint) if path.parent != added])
    owned.remove_below(f"{name}/{EVALUATED}")
    _expect_evaluation(owned, checkpoint)


def _mark(owned: Owned, checkpoint: Path, paths: Iterable[Path]) -> None:
    """Write the mark of these files; what is older than the one that is there is not hashed again."""
    before, since = {}, 0
    if (mark := checkpoint / MARK).is_file():
        before, since = orjson.loads(mark.read_bytes())["files"], mark.stat().st_mtime_ns
    files = {}
    for path in paths:
        name, status = str(path.relative_to(checkpoint)), path.stat()
        if name in before and status.st_mtime_ns < since:
            files[name] = before[name]
            continue
        sync_file(path)
        files[name] = [status.st_size, _digest(path)]
    name = _name_of(checkpoint)
    for tree in (name, f"{name}/{EVALUATED}"):
        owned.settle(tree)
    owned.write(f"{name}/{MARK}", orjson.dumps({"files": files}))


def require_ours(owned: Owned) -> None:
    """Raise RunError when there is a checkpoint that cai did not write: training would write over it."""
    owned.require_ours(_found(owned).values())


def newest_checkpoint(owned: Owned, say: Callable[[str], None]) -> Path | None:
    """Return the newest whole checkpoint, or None; those that are torn or damaged are removed, damaged ones told.

    One whose best weights so far (another checkpoint, with a test split) are damaged is as good as damaged: training
    would end with other weights than it says. Raises RunError when a checkpoint cannot be read at all.
    """
    found = _found(owned)
    damaged: list[str] = []
    for step in sorted(found, reverse=True):
        path = found[step]
        try:
            torn = not (path / MARK).is_file()
            fault = None if torn else _fault(path)
            if not torn and fault is None:
                _take_evaluation(owned, path)
                fault = _fault_of_best(owned, path)
            if not torn and fault is None:
                _tell(damaged, f"training goes on from step {step}", say)
                return path
            if fault is not None:
                damaged.append(f"{path.name} is damaged ({fault})")
            owned.remove_below(_name(step))
        except OSError as error:
            raise RunError(f"the checkpoint {path} cannot be read: {error.strerror or error}.") from error
    _tell(damaged, "training begins again at step 0", say)
    return None


def _name(step: int) -> str:
    return f"{CHECKPOINTS}/checkpoint-{step}"


def _name_of(checkpoint: Path) -> str:
    return f"{CHECKPOINTS}/{checkpoint.name}"


def _found(owned: Owned) -> dict[int, Path]:
    """Return the checkpoints that are there, by step."""
    paths = (owned.path / CHECKPOINTS).glob("checkpoint-*")
    return {int(name[1]): path for path in paths if (name := _NAME.fullmatch(path.name))}


def _tell(damaged: list[str], then: str, say: Callable[[str], None]) -> None:
    if damaged:
        say(f"{'; '.join(damaged)}: {then}")


def _fault(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint's files, or None."""
    try:
        recorded = orjson.loads((checkpoint / MARK).read_bytes())["files"]
        wanted = {str(name): (int(size), str(digest)) for name, (size, digest) in recorded.items()}
    except FileNotFoundError:
        return f"it has no {MARK}"
    except (KeyError, TypeError, ValueError, AttributeError):
        return f"{MARK} cannot be read"
    there = {str(path.relative_to(checkpoint)): path for path in _files(checkpoint)}
    for name, (size, digest) in wanted.items():
        if name not in there:
            return f"{name} is missing"
        if (found := there[name].stat().st_size) != size:
            return f"{name} has {found:,} bytes instead of {size:,}"
        if _digest(there[name]) != digest:
            return f"{name} is not what was written"
    return None


def _fault_of_best(owned: Owned, checkpoint: Path) -> str | None:
    """Return what is wrong with the checkpoint that holds the best weights so far, or None.

    Its place is written down as it was when training began; OUT may lie elsewhere now, and is noted anew then.
    """
    state: dict[str, Any] = json.loads((checkpoint / _STATE).read_text())  # orjson reads no NaN
    recorded = state.get("best_model_checkpoint")
    if recorded is None:
        return None
    best = checkpoint.parent / Path(recorded).name
    if best != checkpoint and (fault := _fault(best)) is not None:
        return f"its best weights are those of {best.name}, and there {fault}"
    if Path(recorded) != best:
        owned.write(
            f"{_name_of(checkpoint)}/{_STATE}", json.dumps(state | {"best_model_checkpoint": str(best)}).encode()
        )
        _mark(owned, checkpoint, _files(checkpoint))
    return None


def _files(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MARK)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
