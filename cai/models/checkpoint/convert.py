"""A GGUF file written in the usual form: a directory that everything else can open, train and serve.

Weights are written in float32, which holds every quantized value exactly, so that the directory answers as the file.
"""

import os
import shutil
from pathlib import Path

from cai.core.errors import ModelError
from cai.core.paths import expand, resolve
from cai.models.checkpoint.files import is_gguf
from cai.models.checkpoint.resolve import Checkpoint


def convert_gguf(source: str, out: str | Path) -> Path:
    """Write the model of a GGUF file, or of a directory that holds one, into `out` and return its whole path.

    `out` is new or an empty directory, and is there only once it is whole. Raises ModelError.
    """
    checkpoint = Checkpoint.resolve(source)
    if not is_gguf(checkpoint.base):
        raise ModelError(f"{source} is no GGUF file: there is nothing to convert")
    target = resolve(expand(str(out)))
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ModelError(f"{target} is there already: name a directory that is new or empty")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f".{target.name}-{os.getpid()}"
        partial.mkdir()
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}") from error
    try:
        _write(checkpoint, partial)
        partial.rename(target)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _write(checkpoint: Checkpoint, directory: Path) -> None:
    try:
        from cai.models.checkpoint.pretrained import open_tokenizer, open_weights, quiet  # noqa: PLC0415  (seconds)
    except ModuleNotFoundError as error:
        raise ModelError(f"converting needs {error.name}: pip install 'cai[local]'") from error
    with quiet():
        tokenizer = open_tokenizer(checkpoint.tokenizer)
        model = open_weights(checkpoint.base, dtype="float32")
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
