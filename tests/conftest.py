"""Fixtures for every test."""

import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import settings
from support import s3

# A loaded machine is slow, not wrong.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server that lives as long as the tests."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.CREDENTIALS.items():
            patch.setenv(name, value)
        with s3.serve() as endpoint_url:
            yield endpoint_url


@pytest.fixture
def s3_bucket(s3_server: str) -> s3.Bucket:
    """An empty bucket of this test's own; the credentials are in the environment."""
    return s3.make_bucket(s3_server, f"bucket-{uuid4().hex}")
