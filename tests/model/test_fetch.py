import gc
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import http

from sam_batch.errors import CheckpointError
from sam_batch.model import fetch as module
from sam_batch.model.fetch import fetch, is_url

DATA = bytes(range(256)) * 400
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def server():
    with http.serve() as server:
        server.files = {"sam.pth": DATA, "cut.pth": DATA, "a/sam.pth": b"another"}
        server.broken = {"cut.pth"}
        yield server


@pytest.fixture(autouse=True)
def no_retries(monkeypatch, server):
    monkeypatch.setattr(module, "RETRIES", 0)
    server.hits.clear()


def files_in(cache):
    return sorted(path for path in cache.rglob("*") if path.suffix != ".lock")


def test_a_file_is_fetched_once_and_keeps_a_readable_name(server, tmp_path):
    first, second = (fetch(f"{server.url}/sam.pth", SHA256, tmp_path) for _ in range(2))
    assert first == second
    assert first.read_bytes() == DATA
    assert first.name.endswith("-sam.pth")
    assert server.hits.total() == 1


def test_eight_that_ask_at_once_fetch_once(server, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: fetch(f"{server.url}/sam.pth", SHA256, tmp_path), range(8)))
    assert len(set(paths)) == 1
    assert server.hits.total() == 1


def test_equal_names_under_two_urls_are_two_files(server, tmp_path):
    one, other = (fetch(f"{server.url}/{path}", None, tmp_path) for path in ("sam.pth", "a/sam.pth"))
    assert one.read_bytes() == DATA
    assert other.read_bytes() == b"another"


# pooch leaves the response of a transfer that broke off to the garbage collector, socket and all.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("path", "sha256", "cause"),
    [
        ("missing.pth", None, "404"),
        ("sam.pth", "0" * 64, "does not match"),
        ("cut.pth", None, "cannot be fetched"),
    ],
)
def test_what_is_missing_wrong_or_cut_off_is_refused_and_leaves_nothing(server, tmp_path, path, sha256, cause):
    url = f"{server.url}/{path}"
    with pytest.raises(CheckpointError, match=cause) as caught:
        fetch(url, sha256, tmp_path)
    assert str(caught.value).startswith(f"{url}: ")
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path) == []
    del caught
    gc.collect()


def test_no_server_is_refused_with_what_to_do_instead_and_without_a_token(tmp_path):
    remedy = r"download it by other means, then model\.checkpoint=FILE"
    with pytest.raises(CheckpointError, match=rf"^http://127\.0\.0\.1:1/sam\.pth: .*{remedy}") as refused:
        fetch("http://127.0.0.1:1/sam.pth?token=secret", None, tmp_path)
    assert "secret" not in str(refused.value)


def test_a_cache_that_cannot_be_written_is_refused(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="cannot be fetched into"):
        fetch(f"{server.url}/sam.pth", None, tmp_path / "cache")


@pytest.mark.parametrize("url", ["ftp://host/sam.pth", "s3://bucket/sam.pth", "file:///sam.pth"])
def test_only_http_is_fetched(url, tmp_path):
    with pytest.raises(CheckpointError, match="only http and https"):
        fetch(url, None, tmp_path)


def test_urls_and_paths_are_told_apart():
    assert is_url("https://host/sam.pth")
    assert not is_url("models/sam.pth")
    assert not is_url("C:/models/sam.pth")


def test_without_a_network_the_reason_is_one_short_sentence(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        fetch("http://no-such-host.invalid/sam.pth", None, tmp_path)
    assert "HTTPConnection" not in str(caught.value)
    assert "no-such-host.invalid" in str(caught.value).partition("fetched into")[2]
    assert str(caught.value).endswith("download it by other means, then model.checkpoint=FILE")
