"""The directory that a training run fills; what lies in it and when it may be trusted.

OUT/train.json        what was trained, from what, and how it went; written last, so its presence means finished
OUT/*.safetensors …   the model or the adapter, moved in whole; config.json or adapter_config.json comes last
OUT/metrics.jsonl     one line a logged step or evaluation          OUT/loss.png, OUT/README.md   for people
OUT/tasks.png         with several tasks: who interferes with whom
OUT/checkpoints/      identity.json (what they belong to) and checkpoint-N/, see checkpoints.py
OUT/runs/             TensorBoard's files, where it was asked for
OUT/.cai/             the record of what cai wrote here, and the model until it is moved in (`cai.rundir.claim`)
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cai.rundir.claim import entering, read_recorded, require_identity
from cai.rundir.documents import make_document
from cai.rundir.files import refusal
from cai.rundir.owned import Owned
from cai.train.checkpoints import (
    CHECKPOINTS,
    begin_checkpoint,
    complete_checkpoint,
    discard_others,
    newest_checkpoint,
    require_ours,
)

MANIFEST = "train.json"
FORMAT = 2
METRICS = "metrics.jsonl"
FIGURE = "loss.png"
TASKS_FIGURE = "tasks.png"
CARD = "README.md"
TRACKING = "runs"
IDENTITY = f"{CHECKPOINTS}/identity.json"
_CONFIGS = ("config.json", "adapter_config.json")


class TrainingFolder:
    """OUT, which `enter` claims until `release`.

    Processes beside the main one write no more than their shares of checkpoints and of the staged model: they have no
    `owned` and call nothing else.
    """

    def __init__(self, out: Path, staging: Path, owned: Owned | None = None) -> None:
        """`staging` is where the model is written before it is moved into OUT; nothing lies there yet."""
        self.out = out
        self.staging = staging
        self._claimed = owned

    @property
    def _owned(self) -> Owned:
        assert self._claimed is not None, "only the main process writes"  # noqa: S101
        return self._claimed

    @property
    def checkpoints(self) -> Path:
        """Where the trainer writes its checkpoints."""
        return self.out / CHECKPOINTS

    def finished(self) -> dict[str, Any] | None:
        """Return what train.json says, or None while training has not ended; raises RunError when it is damaged."""
        return _recorded(self._owned, MANIFEST)

    def begin_checkpoint(self, step: int) -> None:
        """Expect the trainer to write a checkpoint; see `cai.train.checkpoints`, here and below."""
        begin_checkpoint(self._owned, step)

    def complete_checkpoint(self, step: int, best: str | None) -> None:
        """Keep a checkpoint that is whole now, the best one so far, and no more than needed beside them."""
        complete_checkpoint(self._owned, step)
        discard_others(self._owned, step, best)

    def newest_checkpoint(self, say: Callable[[str], None]) -> Path | None:
        """Return the newest whole checkpoint, or None."""
        return newest_checkpoint(self._owned, say)

    def expect_tracking(self) -> None:
        """Expect TensorBoard to write into OUT/runs until `release`."""
        self._owned.tree(TRACKING)

    def publish(self) -> list[str]:
        """Move what was staged into OUT, its configuration last, and return the names.

        Raises StoreError, and RunError when something of somebody else's has one of the names: nothing is moved then.
        """
        try:
            paths = sorted(
                (path for path in self.staging.rglob("*") if path.is_file()),
                key=lambda path: (path.name in _CONFIGS, path.as_posix()),
            )
        except OSError as error:
            raise refusal(self.out, error) from error
        names = [path.relative_to(self.staging).as_posix() for path in paths]
        for folder in sorted({parent.as_posix() for name in names for parent in Path(name).parents} - {"."}):
            self._owned.folder(folder)
        self._owned.own(*names)
        for path, name in zip(paths, names, strict=True):
            self._owned.place(path, name)
        return names

    def write(self, name: str, data: bytes) -> None:
        """Write one file whole; raises StoreError."""
        self._owned.write(name, data)

    def append(self, name: str, data: bytes) -> None:
        """Add to a file that `write` made; raises StoreError."""
        (path,) = self._owned.own(name)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "ab") as file:
                file.write(data)
        except OSError as error:
            raise refusal(path, error) from error

    def discard_staged_model(self) -> None:
        """Remove weights and configuration from the staging folder; the tokenizer stays."""
        for pattern in ("*.safetensors", *_CONFIGS):
            for path in self.staging.glob(pattern):
                path.unlink()

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints of a run whose train.json is written; they hold the optimiser and are large."""
        self._owned.remove_below(CHECKPOINTS)

    def release(self) -> None:
        """Let another process in."""
        if self._claimed is not None:
            self._claimed.settle(TRACKING)
            self._claimed.close()


def enter(out: Path, identity: Mapping[str, str], *, fresh: bool) -> TrainingFolder:
    """Claim OUT for a run of this identity; with `fresh` what an earlier run left there is removed first.

    Raises RunError when OUT holds something else, a run of another identity, or a run that another process is at.
    """
    with entering(out, "training", fresh=fresh) as owned:
        if fresh:
            owned.clear()
        owned.settle(TRACKING)  # of a process that was killed
        recorded = _recorded(owned, MANIFEST, IDENTITY)
        if recorded is None:
            owned.folder(CHECKPOINTS)
            owned.write(IDENTITY, make_document({"format": FORMAT, "identity": dict(identity)}))
        else:
            require_identity(out, recorded["identity"], identity)
        owned.require_free(MANIFEST, METRICS, FIGURE, TASKS_FIGURE, CARD)  # before any work is done
        require_ours(owned)
        return TrainingFolder(out, owned.temporary(), owned)


def _recorded(owned: Owned, *names: str) -> dict[str, Any] | None:
    """Return the first of these documents that is there; raises RunError when it is damaged."""
    return read_recorded(owned, names, FORMAT, lambda fields: {**fields.values, "identity": fields.words("identity")})
