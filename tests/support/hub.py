"""A small Hugging Face Hub on loopback: trees in pages, sizes and hashes, files behind a redirect, tokens and faults.

It answers as the sources of `huggingface_hub` read the Hub's answers; nobody has held it beside the Hub itself.
"""

import hashlib
import json
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

TOKEN = "hf_ThatNobodyMaySee"
PAGE = 3  # entries in an answer
KINDS = ("datasets", "spaces", "buckets")


class Hub:
    """What the server has and was asked.

    While `faults` holds any, a request meets the first instead: a status, perhaps with seconds to wait (`429 2`), or
    `reset` or `truncate`; an `ok` lets one pass.

    Attributes:
        trees: Contents by path, by `datasets/OWNER/NAME@REVISION` or `buckets/OWNER/NAME`.
        closed: Repositories and buckets, without revisions, that `TOKEN` alone opens.
        next_page_at: The server that a page of a listing refers to.
        requests: Method and path, and whether a token came along.
    """

    def __init__(self, port: int) -> None:
        self.url, self.elsewhere = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        self.next_page_at = self.url
        self.trees: dict[str, dict[str, bytes]] = {}
        self.closed: set[str] = set()
        self.faults: deque[str] = deque()
        self.requests: list[tuple[str, bool]] = []


@contextmanager
def serve() -> Iterator[Hub]:
    """Runs it for a while; the package, which reads its environment as it is imported, is led there."""
    from huggingface_hub import constants

    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, pytest.MonkeyPatch.context() as patch:
        hub = handler.hub = Hub(server.server_port)
        for name, value in {
            "ENDPOINT": hub.url,
            "HF_TOKEN_PATH": "/nonexistent/token",
            "HF_HUB_OFFLINE": False,
        }.items():
            patch.setattr(constants, name, value)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            patch.delenv(name, raising=False)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True  # or each body waits for 40 ms
    hub: Hub

    def handle_any(self) -> None:
        self.asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        self.hub.requests.append((f"{self.command} {url.path}", "Authorization" in self.headers))
        self.fault = self.hub.faults.popleft() if self.hub.faults else "ok"
        if self.fault == "reset":
            self._cut()
        elif self.fault[0].isdigit():
            status, _, seconds = self.fault.partition(" ")
            self._fail(int(status), "", {"RateLimit": f'"api";r=0;t={seconds}'} if seconds else {})
        else:
            parts = url.path.strip("/").split("/")
            self._route(parts, {name: values[0] for name, values in parse_qs(url.query).items()})

    do_GET = do_POST = handle_any  # noqa: N815 - the base class's names

    def _route(self, parts: list[str], query: dict[str, str]) -> None:
        if parts[0] == "content":
            self._send_range(self.hub.trees[unquote(parts[1])][unquote("/".join(parts[2:]))])
            return
        parts = parts[1:] if parts[0] == "api" else parts if parts[0] in KINDS else ["models", *parts]
        place, call, rest = "/".join(parts[:3]), parts[3], parts[4:]
        name = place if parts[0] == "buckets" else f"{place}@{unquote(rest.pop(0))}"
        given = self.headers.get("Authorization")
        if place in self.hub.closed and given != f"Bearer {TOKEN}":
            self._fail(403 if given else 401, "GatedRepo")
        elif not any(one.partition("@")[0] == place for one in self.hub.trees):
            self._fail(404, "RepoNotFound")
        elif name not in self.hub.trees:
            self._fail(404, "RevisionNotFound")
        else:
            answer = {"tree": self._tree, "paths-info": self._paths_info, "resolve": self._resolve}[call]
            answer(name, unquote("/".join(rest)), query)

    def _tree(self, name: str, path: str, query: dict[str, str]) -> None:
        tree, start = self.hub.trees[name], int(query.get("cursor", 0))
        beginning = f"{path}/" if path and not name.startswith("buckets/") else path
        below = sorted(one for one in tree if one.startswith(beginning))
        above = {one[:at] for one in below for at, letter in enumerate(one) if letter == "/"} - {path}
        if name.startswith("buckets/") and query["recursive"] == "true":
            above = set()
        folders = [_folder(one) for one in sorted(above) if one.startswith(beginning)]
        found = folders + [_file(one, tree[one], name) for one in below]
        if query["recursive"] == "false":
            found = [one for one in found if "/" not in one["path"][len(path) + bool(path) :]]
        if path and not found and not name.startswith("buckets/"):
            self._fail(404, "EntryNotFound")
            return
        more = f"{self.hub.next_page_at}{urlsplit(self.path).path}?recursive={query['recursive']}&cursor={start + PAGE}"
        link = {"Link": f'<{more}>; rel="next"'} if start + PAGE < len(found) else {}
        self._send(json.dumps(found[start : start + PAGE]).encode(), link)

    def _paths_info(self, name: str, path: str, query: dict[str, str]) -> None:
        is_form = "form" in self.headers["Content-Type"]  # as the package asks of repositories
        paths = parse_qs(self.asked.decode())["paths"] if is_form else json.loads(self.asked)["paths"]
        tree = self.hub.trees[name]
        folders = [_folder(one) for one in paths if any(other.startswith(f"{one}/") for other in tree)]
        files = [_file(one, tree[one], name) for one in paths if one in tree]
        self._send(json.dumps([*folders, *files]).encode())

    def _resolve(self, name: str, path: str, query: dict[str, str]) -> None:
        if path in self.hub.trees[name]:
            place = f"{self.hub.elsewhere}/content/{quote(name, safe='')}/{quote(path)}"
            self._send(b"", {"Location": place}, 302)
        else:
            self._fail(404, "EntryNotFound")

    def _send_range(self, data: bytes) -> None:
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1 if last else None]
        self._send(part, {}, 206 if last else 200)

    def _fail(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        """The token is repeated, as by no honest server."""
        message = f"refused {self.headers.get('Authorization')}"
        self._send(b"", {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}, status)

    def _send(self, data: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        cut = self.fault == "truncate"
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Silent."""


def _file(path: str, data: bytes, place: str) -> dict[str, Any]:
    name = "xetHash" if place.startswith("buckets/") else "oid"
    return {"type": "file", "path": path, "size": len(data), name: hashlib.sha1(data).hexdigest()}


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
