"""What tests of several files ask for by name."""

import signal
from collections.abc import Iterator

import pytest

from tests.remote import S3

# A shell has what it starts in the background ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What trainings keep for later ones is kept from those of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    server = S3()
    with server.serving():
        yield server
