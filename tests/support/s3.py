"""An S3 server on loopback, and a proxy before it that fails on request.

`s3_bucket` (in `conftest.py`) gives a test a bucket of its own; `FaultyProxy` stands between a client and the server.
"""

import http.client
import random
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from threading import Thread
from typing import ClassVar, Self
from urllib.parse import urlsplit

import boto3
from moto.server import ThreadedMotoServer

from sam_batch.config import StorageConfig

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
SLOW_S = 3.0
CODES = {
    400: "InvalidArgument",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "SlowDown",
}


@dataclass(frozen=True)
class Bucket:
    """An empty bucket.

    Attributes:
        name: Of the bucket alone.
        endpoint_url: Of the server.
        client: boto3's, to look at the bucket past the code under test.
    """

    name: str
    endpoint_url: str
    client: object

    @property
    def uri(self) -> str:
        """`s3://name`."""
        return f"s3://{self.name}"

    @property
    def config(self) -> StorageConfig:
        """What a job needs to reach it, with the credentials in the environment."""
        return StorageConfig(endpoint_url=self.endpoint_url, region="us-east-1")


@contextmanager
def serve() -> Iterator[str]:
    """Runs moto's server; yields its URL."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@cache
def client_of(endpoint_url: str) -> object:
    """boto3's client; making one takes half a second."""
    return boto3.client("s3", endpoint_url=endpoint_url)


def make_bucket(endpoint_url: str, name: str) -> Bucket:
    client = client_of(endpoint_url)
    client.create_bucket(Bucket=name)
    return Bucket(name, endpoint_url, client)


class FaultyProxy:
    """Forwards to a server; while `faults` holds any, a matching request meets the first instead.

    A fault is one of the statuses in `CODES`, `reset` (nothing is forwarded), `lost_ack` (forwarded, then the line is
    cut), `truncate` (half of the answer, then the line is cut) or `slow` (forwarded after `SLOW_S`).
    """

    def __init__(self, endpoint_url: str) -> None:
        self.faults: deque[int | str] = deque()
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"proxy": self, "upstream": urlsplit(endpoint_url).netloc})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_port}"

    def next_fault(self) -> int | str | None:
        """What the next request meets."""
        return self.faults.popleft() if self.faults else None

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class UnsteadyProxy(FaultyProxy):
    """Every request fails by chance, one in so many, and the faults take turns."""

    def __init__(self, endpoint_url: str, one_in: int, faults: Iterable[int | str]) -> None:
        super().__init__(endpoint_url)
        self._one_in, self._turns, self._chance = one_in, cycle(faults), random.Random(0)

    def next_fault(self) -> int | str | None:
        """What the next request meets."""
        return None if self._chance.randrange(self._one_in) else next(self._turns)

    def met(self) -> Counter[str]:
        """How many requests met which fault, and how many none (`ok`)."""
        return Counter(request.split()[1] for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ClassVar[FaultyProxy]
    upstream: ClassVar[str]

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.next_fault()
        self.proxy.requests.append(f"{self.command} {fault or 'ok'}")
        if isinstance(fault, int):
            error = f"<Error><Code>{CODES[fault]}</Code><Message>injected</Message></Error>".encode()
            self._answer(fault, {}, error, len(error))
        elif fault == "reset":
            self._cut()
        else:
            if fault == "slow":
                time.sleep(SLOW_S)
            status, headers, data = self._forward(body)
            if fault == "lost_ack":
                self._cut()
                return
            self._answer(status, headers, data[: len(data) // 2] if fault == "truncate" else data, len(data))
            if fault == "truncate":
                self._cut()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - the base class's names

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection(self.upstream, timeout=30)) as connection:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            data = answer.read()
        dropped = {"transfer-encoding", "connection", "server", "date"}
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in dropped}
        return answer.status, headers, data

    def _answer(self, status: int, headers: dict[str, str], data: bytes, length: int) -> None:
        self.send_response(status)
        if "content-length" not in map(str.lower, headers):
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Silent."""
