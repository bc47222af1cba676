"""Repositories and buckets of the Hugging Face Hub, for reading.

`huggingface_hub` gives the session, the token and the server's address. The requests are those it makes itself, but one
a page or a file, so that `tried` alone repeats them: its file system lists the whole folder of a file before it reads
it, keeps listings, and tries again by itself. Nothing is written. Errors are plain `OSError`s; `storage` translates
them.
"""

import errno
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from sam_batch.config import StorageConfig
from sam_batch.data.naming import Naming
from sam_batch.data.storage_clients import client_of, tried
from sam_batch.data.storage_objects import check_size
from sam_batch.data.walk import Walk
from sam_batch.errors import ConfigError

T = TypeVar("T")

_KINDS = "datasets|spaces|models|buckets"
# Without a kind it is a model's repository. Of other revisions than these refs, slashes are written %2F.
_PLACE = re.compile(
    rf"(?:(?P<kind>{_KINDS})/|(?!(?:{_KINDS})/))(?P<repository>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?(?=/|\Z)"
)
_PLAIN = {"Accept-Encoding": "identity"}  # so that Content-Length is the file's
_PARTIAL = 206
_TIMEOUT_S = 30.0
_NOT_SHOWN = ("RepoNotFound", "GatedRepo")  # the Hub does not tell what is not there from what a token does not open
_LIMITED = re.compile(r"\bt=(\d+)")  # seconds, in `RateLimit: "api";r=0;t=55`


def split(rest: str) -> tuple[str, str]:
    """The repository or bucket in what follows `hf://`, and the path in it.

    Raises:
        ConfigError: It names neither.
    """
    end = _parsed(rest).end()
    return rest[:end], rest[end + 1 :]


def _parsed(rest: str) -> re.Match[str]:
    match = _PLACE.match(rest)
    if match is None or (match["kind"] == "buckets" and match["revision"]):
        raise ConfigError(
            f"hf://{rest} names no repository or bucket: write hf://datasets/OWNER/NAME/FOLDER, where @REVISION may "
            "follow the name, or hf://buckets/OWNER/NAME/FOLDER"
        )
    return match


class HubError(OSError):
    """An answer that is about neither one file nor a right to see it.

    Attributes:
        status_code: Of HTTP.
        retry_after: Seconds until the server takes requests again, as far as it says.
    """

    status_code = 0
    retry_after = 0.0


class HubFiles:
    """The files of one repository, at one revision, or of one bucket, under a prefix.

    Args:
        place: As `split` gives it.
        prefix: Empty, or a path with a slash at its end.
        config: Of which `attempts` and `anonymous` count.
    """

    def __init__(self, place: str, prefix: str, config: StorageConfig) -> None:
        match = _parsed(place)
        self._place = place
        self._kind, self._repository = match["kind"] or "models", match["repository"]
        revision = quote(unquote(match["revision"] or "main"), safe="")
        self._revision = () if self._kind == "buckets" else (revision,)
        self._prefix = prefix
        self._config = config
        client_of("hf", "", config)  # a missing package shows here, not in a worker

    def below(self, name: str) -> "HubFiles":
        """The same, for a longer prefix."""
        return HubFiles(self._place, f"{self._prefix}{name}/", self._config)

    def uri(self, name: str) -> str:
        """The URI, with the path as it is."""
        return f"hf://{self._place}/{self._prefix}{name}"

    def list(self, walk: Walk) -> Iterator[tuple[str, int | None, str | None]]:
        """Names, sizes and content hashes below a prefix."""
        start = f"{self._prefix}{walk.start}".rstrip("/")
        below = f"{start}/" if start else ""
        try:
            page, following = self._page(f"{self._api('tree', start)}?recursive={str(walk.recursive).lower()}")
        except FileNotFoundError:
            return
        while True:
            for info in page:
                name = info["path"][len(self._prefix) :]
                if not info["path"].startswith(below):  # a bucket takes a folder for the beginning of names
                    continue
                if info["type"] == "directory":
                    walk.reaches(f"{name}/")
                elif walk.reaches(name):
                    yield name, info["size"], _mark(info)
            if following is None:
                return
            page, following = self._page(following)

    def names(self) -> Iterator[str]:
        """Names of all files."""
        return (name for name, _, _ in self.list(Walk()))

    def is_folder(self, name: str) -> bool:
        """Whether there is anything below a prefix."""
        return any(True for _ in self.list(Walk(start=name)))

    def stat(self, name: str) -> tuple[int, str | None]:
        """Bytes and content hash of one file."""
        path = self._prefix + name
        infos = _asked(self._config, "POST", self._api("paths-info"), _json, json={"paths": [path]})
        info = next((info for info in infos if info["path"] == path and info["type"] == "file"), None)
        if info is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such file")
        return int(info["size"]), _mark(info)

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """The whole file, by one request: never parts of two versions."""
        return self._content(name, lambda answer: _body(answer, max_bytes), _PLAIN)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Some of the bytes, fewer where the file ends."""

        def part(answer: Any) -> bytes:
            data = _body(answer, None)
            return data if answer.status_code == _PARTIAL else data[offset : offset + size]

        return self._content(name, part, {**_PLAIN, "Range": f"bytes={offset}-{offset + size - 1}"})

    def write(self, name: str, data: bytes) -> None:
        """Fails: nothing is written here."""
        raise OSError(errno.EROFS, "hf:// is read and not written")

    replace = create = write

    def put_file(self, name: str, path: Path) -> None:
        """Fails, too."""
        self.write(name, b"")

    def delete(self, name: str) -> None:
        """Fails, too."""
        self.write(name, b"")

    def flush(self) -> None:
        """Nothing to do: nothing is written."""

    def may_be_written(self) -> bool:
        """Never."""
        return False

    def naming(self) -> Naming:
        """No name is refused for itself."""
        return Naming()

    def clear_temporary(self, is_ours: Callable[[str], bool]) -> None:
        """Nothing to do: nothing is written."""

    def _page(self, url: str) -> tuple[Any, str | None]:
        """Some of a listing, and where it goes on."""
        return _asked(self._config, "GET", url, lambda answer: (_json(answer), _next(answer)))

    def _api(self, call: str, path: str = "") -> str:
        parts = [self._kind, self._repository, call, *self._revision, *([quote(path, safe="")] if path else [])]
        return "/".join([_endpoint(self._config), "api", *parts])

    def _content(self, name: str, take: Callable[[Any], bytes], headers: Mapping[str, str]) -> bytes:
        kind = () if self._kind == "models" else (self._kind,)
        parts = [*kind, self._repository, "resolve", *self._revision, quote(self._prefix + name)]
        return _asked(self._config, "GET", "/".join([_endpoint(self._config), *parts]), take, headers)


def _endpoint(config: StorageConfig) -> str:
    endpoint: str = client_of("hf", "", config).constants.ENDPOINT
    return endpoint


def _asked(
    config: StorageConfig,
    method: str,
    url: str,
    take: Callable[[Any], T],
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> T:
    """What `take` makes of an answer, whose body is yet to be read."""
    hub = client_of("hf", "", config)

    def ask() -> T:
        is_hub = not config.anonymous and url.startswith(f"{hub.constants.ENDPOINT}/")  # a page may refer elsewhere
        token = hub.utils.get_token_to_send(None) if is_hub else None
        sent = {"User-Agent": "sam-batch", **(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        with hub.utils.get_session().stream(method, url, headers=sent, timeout=_TIMEOUT_S, **options) as answer:
            if not answer.is_success:
                raise _refusal(answer, token)
            return take(answer)

    return tried(config, ask)


def _refusal(answer: Any, token: str | None) -> OSError:
    code, status = answer.headers.get("X-Error-Code"), answer.status_code
    text = f"{status} {answer.headers.get('X-Error-Message') or answer.reason_phrase}"
    text = text.replace(token, "...") if token else text  # whatever a server repeats
    if status in (401, 403) or code in _NOT_SHOWN:
        hint = "it is not there, or needs a token (HF_TOKEN, or hf auth login) that opens it"
        return PermissionError(errno.EACCES, f"{text}; {hint}")
    if status == 404 and code != "RevisionNotFound":
        return FileNotFoundError(errno.ENOENT, text)
    seconds = _LIMITED.search(answer.headers.get("RateLimit", "")) if status == 429 else None
    error = HubError(errno.EIO, text)
    error.status_code, error.retry_after = status, float(seconds[1]) if seconds else 0.0
    return error


def _json(answer: Any) -> Any:
    try:
        return json.loads(answer.read())
    except ValueError as error:  # of a proxy between, such as a page to log in
        raise OSError(errno.EIO, f"the answer is no JSON: {error}") from error


def _next(answer: Any) -> str | None:
    url: str | None = answer.links.get("next", {}).get("url")
    return url


def _body(answer: Any, max_bytes: int | None) -> bytes:
    check_size(int(answer.headers.get("Content-Length", 0)), max_bytes)
    data = bytearray()
    for chunk in answer.iter_bytes():
        data += chunk
        check_size(len(data), max_bytes)
    return bytes(data)


def _mark(info: Mapping[str, Any]) -> str | None:
    """The hash of the content, of which buckets know no other than their store's."""
    mark: str | None = info.get("oid") or info.get("xetHash")
    return mark
