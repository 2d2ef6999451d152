"""Runs and prompts that lie elsewhere: a real S3 server on this machine, and machines that have only their own disk."""

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cai.core.urls import RemoteFolder
from cai.rundir import Run, working_copy
from tests.storage import open_run

BUCKET = "tests"


class S3:
    """A server that can be taken away and brought back, or made to hang; what it holds stays.

    `held` is the number of requests that it has left without an answer.
    """

    def __init__(self) -> None:
        how = "pip install s3fs 'moto[s3]' flask flask-cors"
        self._module: Any = pytest.importorskip("moto.server", reason=f"a local S3 server: {how}")
        self._files: Any = pytest.importorskip("s3fs", reason=f"a client of it: {how}")
        self._port = 0
        self._unanswered: str | None = None
        self._released = threading.Event()
        self._counting = threading.Lock()
        self.held = 0
        self.start()

    def start(self) -> None:
        self._server = self._module.ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]
        http = self._server._server
        http.app = functools.partial(self._answer, http.app)

    def stop(self) -> None:
        self._server.stop()

    @contextmanager
    def hanging(self, part: str = "") -> Iterator[None]:
        """Take requests whose path has the part and never answer them; in the end they are dropped."""
        self._unanswered, self.held = part, 0
        self._released.clear()
        try:
            yield
        finally:
            self._unanswered = None
            self._released.set()

    def _answer(self, app: Callable[..., Any], environ: dict[str, Any], start_response: object) -> Any:
        if self._unanswered is not None and self._unanswered in environ["PATH_INFO"]:
            with self._counting:
                self.held += 1
            self._released.wait()
            raise ConnectionAbortedError  # whoever asked has gone
        return app(environ, start_response)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Let this process, and those that it starts, find the server, which has one bucket."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{self._port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_MAX_ATTEMPTS", "1")
            self._files.S3FileSystem.clear_instance_cache()
            self._files.S3FileSystem().makedirs(BUCKET, exist_ok=True)
            yield
            self.stop()


class Machines:
    """Machines that share nothing but URLs; `use` moves to one, with its own working copies."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._patch = patch

    def use(self, name: str) -> None:
        self._patch.setenv("XDG_STATE_HOME", str(self._folder / name))


def contents(url: str) -> dict[str, bytes]:
    """Return what lies at a URL, by name; records of who sent it aside."""
    folder = RemoteFolder(url)
    return {name: folder.read(name) for name in folder.sizes() if not name.startswith(".cai/")}


def open_at(url: str, *, fresh: bool = False) -> Run:
    return open_run(working_copy(url), fresh=fresh)


def kill(run: Run, url: str | None = None) -> None:
    """Leave both ends as they are at this moment, as a SIGKILL would; a URL is given where it is a local folder's."""
    share = None if url is None else Path(url.removeprefix("file://"))
    places = [place for place in (run.directory, share) if place is not None]
    for place in places:
        shutil.copytree(place, f"{place}.kept", ignore=_vanishing)
    run.close("failed")
    for place in places:
        shutil.rmtree(place)
        os.rename(f"{place}.kept", place)  # noqa: PTH104  (a str)


def _vanishing(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".tmp")]
