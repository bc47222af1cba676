"""Fixtures for every test."""

import logging
import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from support import s3, tensorrt_bindings

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


@pytest.fixture(scope="session")
def bindings() -> Any:
    """NVIDIA's bindings of TensorRT, of the newest version unless the environment names another."""
    return tensorrt_bindings.load(os.environ.get(tensorrt_bindings.VARIABLE, tensorrt_bindings.NEWEST))


@pytest.fixture
def host(bindings: Any) -> Iterator[Any]:
    """A machine with the stand-in for TensorRT."""
    from support import tensorrt_standin  # loads torch and ONNX Runtime, which few tests need

    tensorrt_standin.KNOBS.reset()
    yield tensorrt_standin.host(bindings)
    tensorrt_standin.KNOBS.reset()
