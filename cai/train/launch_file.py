"""What a training is told by the process that launches it: a file, and beside it the addresses that hold secrets.

Pickle leaves out what an address carries beside host, port and path, and no secret is written to a disk. As they were
typed, addresses are handed over in the environment of the processes that are launched, and of nobody else.
"""

import io
import os
import pickle
from pathlib import Path

import orjson

from cai.core.addresses import Redacted
from cai.models.jury import JurySpec
from cai.train.settings import TrainSettings

ADDRESSES = "CAI_LAUNCHED_ADDRESSES"
"""The environment variable that they are in, a JSON list."""


def write_launch(file: Path, settings: TrainSettings, *, quiet: bool) -> dict[str, str]:
    """Write the file, and return what the launched processes must have in their environment to read it."""
    content = io.BytesIO()
    pickler = _Pickler(content)
    pickler.dump((settings, quiet))
    file.write_bytes(content.getvalue())
    return {ADDRESSES: orjson.dumps(pickler.addresses).decode()} if pickler.addresses else {}


def read_launch(file: Path) -> tuple[TrainSettings, bool]:
    """Return settings, with their addresses as they were typed, and whether to be quiet; raises ModelError.

    The addresses leave the environment, so that nothing that is started from here has them.
    """
    addresses: list[str] = orjson.loads(os.environ.pop(ADDRESSES, "[]"))
    with file.open("rb") as content:
        settings, quiet = _Unpickler(content, addresses).load()
    return settings, quiet


class _Pickler(pickle.Pickler):
    """Puts a type and a number in the place of what may not be shown whole, and keeps that in `addresses`."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.addresses: list[str] = []

    def persistent_id(self, value: object) -> tuple[type[Redacted], int] | None:
        # A jury is pickled as its members, each of which comes here by itself.
        if not isinstance(value, Redacted) or isinstance(value, JurySpec) or value.reveal() == str(value):
            return None
        self.addresses.append(value.reveal())
        return type(value), len(self.addresses) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BufferedReader, addresses: list[str]) -> None:
        super().__init__(file)
        self._addresses = addresses

    def persistent_load(self, place: tuple[type[Redacted], int]) -> Redacted:
        kind, number = place
        return kind.parse(self._addresses[number])
