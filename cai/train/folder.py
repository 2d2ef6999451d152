"""The directory that a training run fills; what lies in it and when it may be trusted.

OUT/train.json        what was trained, from what, and how it went; written last, so its presence means finished
OUT/*.safetensors …   the model or the adapter, moved in whole; config.json or adapter_config.json comes last
OUT/metrics.jsonl     one line a logged step or evaluation          OUT/loss.png, OUT/README.md   for people
OUT/checkpoints/      identity.json (what they belong to) and checkpoint-N/, see checkpoints.py
OUT/train.lock        held by the process that trains
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from cai.errors import RunError
from cai.store.files import refusal, sync_file, sync_folder, write_atomically
from cai.store.lock import Lock
from cai.store.manifest import require_identity

MANIFEST = "train.json"
METRICS = "metrics.jsonl"
FIGURE = "loss.png"
CARD = "README.md"
CHECKPOINTS = "checkpoints"
TRACKING = "runs"
_LOCK = "train.lock"
_IDENTITY = "identity.json"
_STAGING = ".model"
_CONFIGS = ("config.json", "adapter_config.json")
_LEFTOVERS = (MANIFEST, *_CONFIGS, METRICS, FIGURE, CARD)
_MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt", "*.tmp")


class Folder:
    """OUT. Made by `enter`, which locks it until `release`; processes beside the main one hold no lock."""

    def __init__(self, out: Path, lock: Lock | None) -> None:
        self.out = out
        self._lock = lock

    @property
    def checkpoints(self) -> Path:
        """Where the trainer writes its checkpoints."""
        return self.out / CHECKPOINTS

    @property
    def staging(self) -> Path:
        """Where the model is written before it is moved into OUT."""
        return self.out / _STAGING

    def finished(self) -> dict[str, Any] | None:
        """Return what train.json says, or None while training has not ended; raises RunError when it is damaged."""
        return _read(self.out / MANIFEST)

    def publish(self) -> list[str]:
        """Move what was staged into OUT, its configuration last, and return the names; raises StoreError."""
        try:
            paths = sorted(self.staging.iterdir(), key=lambda path: path.name in _CONFIGS)
            for path in paths:
                sync_file(path)
            for path in paths:
                path.replace(self.out / path.name)
            self.staging.rmdir()
            sync_folder(self.out)
        except OSError as error:
            raise refusal(self.out, error) from error
        return [path.name for path in paths]

    def write(self, name: str, data: bytes) -> None:
        """Write one file whole; raises StoreError."""
        try:
            write_atomically(self.out / name, data)
        except OSError as error:
            raise refusal(self.out / name, error) from error

    def discard_staged_model(self) -> None:
        """Remove weights and configuration from the staging folder; the tokenizer stays."""
        for pattern in ("*.safetensors", *_CONFIGS):
            for path in self.staging.glob(pattern):
                path.unlink()

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints of a run whose train.json is written; they hold the optimiser and are large."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def release(self) -> None:
        """Let another process in."""
        if self._lock is not None:
            self._lock.release()


def enter(out: Path, identity: Mapping[str, str], *, fresh: bool) -> Folder:
    """Lock OUT for a run of this identity; with `fresh` what an earlier run left there is removed first.

    Raises RunError when OUT holds something else, a run of another identity, or a run that another process is at.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise RunError(f"{out} is a file; give --out a directory.") from error
    except OSError as error:
        raise refusal(out, error) from error
    marker = out / CHECKPOINTS / _IDENTITY
    foreign = sorted({path.name for path in out.iterdir()} - {_LOCK})
    if foreign and not marker.is_file() and not (out / MANIFEST).is_file():
        raise RunError(
            f"{out} is not a training run and not empty (it holds {foreign[0]}); give --out a new or empty directory."
        )
    lock = Lock(out / _LOCK)
    try:
        if fresh:
            _clear(out)
        recorded = _read(out / MANIFEST) or _read(marker)
        if recorded is not None:
            require_identity(out, recorded["identity"], identity)
        if not marker.is_file() and not (out / MANIFEST).is_file():
            marker.parent.mkdir(exist_ok=True)
            write_atomically(marker, orjson.dumps({"identity": dict(identity)}, option=orjson.OPT_INDENT_2))
        shutil.rmtree(out / _STAGING, ignore_errors=True)
    except OSError as error:
        lock.release()
        raise refusal(out, error) from error
    except BaseException:
        lock.release()
        raise
    return Folder(out, lock)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = orjson.loads(path.read_bytes())
        identity = value["identity"]
        if not all(isinstance(item, str) for item in identity.values()):
            raise TypeError("its identity is not made of words")
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError) as error:
        raise RunError(
            f"{path} is damaged: {error}; restore it, or start over with --fresh or another --out."
        ) from error
    assert isinstance(value, dict)  # noqa: S101  (it has an identity)
    return value


def _clear(out: Path) -> None:
    """Remove what a training run writes, train.json first; files of other origin stay. Raises OSError."""
    for name in _LEFTOVERS:
        (out / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS, _STAGING, TRACKING):
        shutil.rmtree(out / name, ignore_errors=True)
    for pattern in _MODEL_FILES:
        for path in out.glob(pattern):
            path.unlink()
