"""Fixtures for every test, and how several processes share the tests.

What a fixture needs it imports itself, so that `pytest tests/masks` loads no S3 server and no ONNX.
"""

import logging
import os
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings

# A local Ray takes the ports that it finds free and all processors, so no two run at a time.
STARTS_RAY = (
    "tests/job/test_kill.py",
    "tests/job/ray/test_errors.py",
    "tests/job/ray/test_executor.py",
    "tests/job/ray/test_gpus.py",
    "tests/job/ray/test_clusters.py",
    "tests/job/ray/test_head.py",
    "tests/job/ray/test_nodes.py",
    "tests/job/ray/test_witness.py",
    "tests/job/test_stopped.py",
    "tests/test_jobs.py",
)

# They share what is exported to ONNX: one process would wait for the other's, half a minute each.
SHARE_EXPORTS = (
    "tests/benchmarks/test_export_program.py",
    "tests/benchmarks/test_plans_program.py",
    "tests/engine/onnx/test_export.py",
    "tests/engine/tensorrt/test_engine.py",
    "tests/engine/tensorrt/test_engine_set.py",
    "tests/engine/tensorrt/test_library.py",
    "tests/engine/tensorrt/test_plan_set.py",
    "tests/segment/test_parity_prompted.py",
    "tests/test_tensorrt_job.py",
)

# A loaded machine is slow, not wrong.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several processes a cache of compiled loops of its own: two writers may mix up numba's entries."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(config.rootpath / ".pytest_cache" / "numba" / worker))


@pytest.hookimpl(tryfirst=True)  # before -m takes some away
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that start Ray first: one process has them all, and it should not begin them last."""
    for item in items:
        if item.get_closest_marker("ray") and file_of(item) not in STARTS_RAY:
            raise pytest.UsageError(f"{item.nodeid} is marked `ray`: name its file in STARTS_RAY, in tests/conftest.py")
        if "export_once" in getattr(item, "fixturenames", ()) and file_of(item) not in SHARE_EXPORTS:
            raise pytest.UsageError(f"{item.nodeid} exports: name its file in SHARE_EXPORTS, in tests/conftest.py")
    items.sort(key=lambda item: file_of(item) not in STARTS_RAY)


def pytest_collection_finish() -> None:
    """Ray reads its environment as it is imported, and `ray_here` (in tests/job/conftest.py) makes it."""
    if "ray" in sys.modules:
        raise pytest.UsageError("a module of tests imports Ray: import it in the tests, with what needs it")


def file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Who hands the tests out, whatever --dist says."""
    from support.sharing import ByFile

    return ByFile(config, log, STARTS_RAY, SHARE_EXPORTS)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server that lives as long as the tests."""
    from support import s3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.CREDENTIALS.items():
            patch.setenv(name, value)
        with s3.serve() as endpoint_url:
            yield endpoint_url


@pytest.fixture
def s3_bucket(s3_server: str) -> Any:
    """An empty `s3.Bucket` of this test's own; the credentials are in the environment."""
    from support import s3

    return s3.make_bucket(s3_server, f"bucket-{uuid4().hex}")


@pytest.fixture(scope="session")
def gs_server() -> Iterator[dict[str, str]]:
    """What leads to a server for `gs://` that lives as long as the tests; it is in the environment."""
    from support import stores

    with stores.serve_gs() as environment, stores.in_environment(environment):
        yield environment


@pytest.fixture
def gs_uri(gs_server: dict[str, str]) -> str:
    """An empty bucket of this test's own."""
    from support import stores

    name = f"bucket-{uuid4().hex}"
    stores.make_gs_bucket(gs_server, name)
    return f"gs://{name}"


@pytest.fixture(scope="session")
def abfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What leads to a server for `abfs://`, likewise."""
    from support import stores

    with stores.serve_abfs(tmp_path_factory.mktemp("azurite")) as environment, stores.in_environment(environment):
        yield environment


@pytest.fixture
def abfs_uri(abfs_server: dict[str, str]) -> str:
    """An empty container of this test's own."""
    from support import stores

    name = f"container-{uuid4().hex}"
    stores.make_abfs_container(abfs_server, name)
    return f"abfs://{name}"


@pytest.fixture
def hub() -> Iterator[Any]:
    """A `hub.Hub` of this test's own, without anything in it, where `hf://` leads."""
    from support import hub

    with hub.serve() as served:
        yield served


@pytest.fixture(scope="session")
def bindings() -> Any:
    """NVIDIA's bindings of TensorRT, of the newest version unless the environment names another."""
    from support import tensorrt_bindings

    return tensorrt_bindings.load(os.environ.get(tensorrt_bindings.VARIABLE, tensorrt_bindings.NEWEST))


@pytest.fixture
def host(bindings: Any) -> Iterator[Any]:
    """A machine with the stand-in for TensorRT."""
    from support.tensorrt_standin import machine
    from support.tensorrt_standin.knobs import KNOBS

    KNOBS.reset()
    yield machine.host(bindings)
    KNOBS.reset()
