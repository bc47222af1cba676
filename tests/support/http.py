"""An HTTP server on loopback that serves bytes from memory and counts requests."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class FileServer:
    """Serves `files` by path; a name in `broken` is cut off half-way. `hits` counts requests by path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.hits: Counter[str] = Counter()


@contextlib.contextmanager
def serve() -> Iterator[FileServer]:
    """A server that lives as long as the context."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.hits[self.path] += 1
            data = files.files.get(self.path.lstrip("/"))
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            cut = self.path.lstrip("/") in files.broken
            self.wfile.write(data[: len(data) // 2] if cut else data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        files = FileServer(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()
