"""What tests of several files ask for by name."""

import signal
from collections.abc import Iterator

import pytest

from tests.remote import S3

# A shell has what it starts in the background ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    server = S3()
    with server.serving():
        yield server
