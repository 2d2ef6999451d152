"""What tests of several files ask for by name."""

from collections.abc import Iterator

import pytest

from tests.remote import S3


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    server = S3()
    with server.serving():
        yield server
