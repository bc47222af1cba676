"""The Hugging Face Hub as an input, beside a small server that answers like it (`support/hub.py`)."""

import pickle
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.hub import TOKEN, Hub
from support.listings import listing, make, pack
from tenacity import wait_none

from sam_batch.config import InputConfig, StorageConfig
from sam_batch.data import storage_clients, storage_hub
from sam_batch.data.listing import list_images
from sam_batch.data.storage import Entry, Storage, open_storage, read_range, read_uri, stat_uri
from sam_batch.errors import (
    ConfigError,
    ImageError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
)

ATTEMPTS = 3
CONFIG = StorageConfig(attempts=ATTEMPTS)
PHOTOS = "hf://datasets/me/photos"
NAMES = ["a.jpg", "b/c.png", "b/d.txt", ".x/e.jpg", "s/@eaDir/g.jpg", "b/e/f.jpg", "bb/h.jpg", "noext"]
ODD = [
    "n/h#sh.jpg",
    "n/q?.jpg",
    "n/p%41.jpg",
    "n/a&b+c.jpg",
    "n/at@1.jpg",
    "n/br[1].jpg",
    "nf/caf\u00e9.jpg",
    "n/ b.jpg",
]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_clients, "wait_random_exponential", lambda **_: wait_none())


@pytest.fixture
def storage(hub: Hub) -> Storage:
    """A data set of one file."""
    put(hub, "datasets/me/photos@main", "old")
    return open_storage(PHOTOS, CONFIG)


def put(hub: Hub, place: str, *names: str) -> None:
    """Files whose content is their name."""
    hub.trees.setdefault(place, {}).update({name: name.encode() for name in names})


@pytest.mark.parametrize(
    ("rest", "parts"),
    [
        ("datasets/me/photos", ("datasets/me/photos", "")),
        ("datasets/me/photos@v1/a/b.jpg", ("datasets/me/photos@v1", "a/b.jpg")),
        ("datasets/me/photos@refs/convert/parquet/a", ("datasets/me/photos@refs/convert/parquet", "a")),
        ("datasets/me/photos/at@1.jpg", ("datasets/me/photos", "at@1.jpg")),
        ("buckets/me/photos/", ("buckets/me/photos", "")),
        ("me/model/a.jpg", ("me/model", "a.jpg")),
    ],
)
def test_a_place_ends_where_its_path_begins(rest: str, parts: tuple[str, str]) -> None:
    assert storage_hub.split(rest) == parts


@pytest.mark.parametrize(
    "rest", ["", "me", "datasets/photos", "datasets//photos", "buckets/me/photos@v1/a", "me/photos@"]
)
def test_what_names_no_repository_is_refused(rest: str) -> None:
    with pytest.raises(ConfigError, match="hf://datasets/OWNER/NAME"):
        open_storage(f"hf://{rest}", CONFIG)


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ("datasets/me/photos@main", "datasets/me/photos"),
        ("datasets/me/photos@v1/x", "datasets/me/photos@v1%2Fx"),
        ("datasets/me/photos@refs/pr/1", "datasets/me/photos@refs/pr/1"),
        ("spaces/me/photos@main", "spaces/me/photos"),
        ("models/me/photos@main", "me/photos"),
        ("buckets/me/photos", "buckets/me/photos"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"recursive": False}, {"exclude": ["b/**"]}])
def test_repositories_and_buckets_are_listed_as_folders_are(
    hub: Hub, tmp_path: Path, tree: str, place: str, options: dict[str, object]
) -> None:
    make(tmp_path / "set", *NAMES)
    put(hub, tree, *(f"set/{name}" for name in NAMES), "set-2/other.jpg")
    found, here = (
        list_images(InputConfig(uri=f"hf://{place}/set", **options), CONFIG),
        listing(tmp_path / "set", **options),
    )
    assert [image.key for image in found.images] == [image.key for image in here.images]
    assert str(found.left_out) == str(here.left_out)
    assert all(read_uri(image.uri, CONFIG).decode() == f"set/{image.key}" for image in found.images)


def test_globs_and_single_images_name_files_there(hub: Hub) -> None:
    put(hub, "datasets/me/photos@main", *NAMES)

    def found(uri: str) -> list[str]:
        return [image.key for image in list_images(InputConfig(uri=f"{PHOTOS}{uri}"), CONFIG).images]

    assert found("/**/*.png") == ["b/c.png"]
    assert found("/b/c.png") == ["c.png"]
    assert found("") == found("/") == ["a.jpg", "b/c.png", "b/e/f.jpg", "bb/h.jpg"]


@pytest.mark.parametrize("tree", ["datasets/me/photos@main", "buckets/me/photos"])
def test_every_name_addresses_its_own_bytes(hub: Hub, tree: str) -> None:
    put(hub, tree, *ODD)
    storage = open_storage(f"hf://{tree.partition('@')[0]}", CONFIG)
    entries = list(storage.list())
    assert sorted(entry.key for entry in entries) == sorted(ODD)
    for entry in entries:
        assert storage.read(entry.key) == read_uri(entry.uri, CONFIG) == entry.key.encode()
        assert storage.stat(entry.key) == entry


def test_the_package_itself_finds_the_same_in_repositories(hub: Hub) -> None:
    put(hub, "datasets/me/photos@main", *ODD)
    hf = import_module("huggingface_hub").HfApi(endpoint=hub.url)
    entries = list(open_storage(PHOTOS, CONFIG).list())
    tree = hf.list_repo_tree("me/photos", repo_type="dataset", recursive=True)
    assert sorted((file.path, file.blob_id) for file in tree if hasattr(file, "blob_id")) == told(entries)
    infos = hf.get_paths_info("me/photos", ODD, repo_type="dataset")
    assert sorted((file.path, file.blob_id) for file in infos) == told(entries)


def test_the_package_itself_finds_the_same_in_buckets(hub: Hub) -> None:
    put(hub, "buckets/me/photos", *ODD)
    hf = import_module("huggingface_hub").HfApi(endpoint=hub.url)
    entries = list(open_storage("hf://buckets/me/photos", CONFIG).list())
    for found in (hf.list_bucket_tree("me/photos", recursive=True), hf.get_bucket_paths_info("me/photos", ODD)):
        assert sorted((file.path, file.xet_hash) for file in found) == told(entries)


def told(entries: list[Entry]) -> list[tuple[str, str | None]]:
    return sorted((entry.key, entry.modified) for entry in entries)


def test_content_and_nothing_else_tells_two_versions_apart(hub: Hub) -> None:
    put(hub, "datasets/me/photos@v1", "a.jpg", "b.jpg")
    hub.trees["datasets/me/photos@v2"] = {"a.jpg": b"a.jpg", "b.jpg": b"other"}
    old, new = (
        {entry.key: entry.modified for entry in open_storage(f"{PHOTOS}@{v}", CONFIG).list()} for v in ("v1", "v2")
    )
    assert old["a.jpg"] == new["a.jpg"]
    assert old["b.jpg"] != new["b.jpg"]


def test_some_bytes_can_be_read_alone(storage: Storage, hub: Hub) -> None:
    hub.trees["datasets/me/photos@main"]["a"] = b"0123456789"
    assert [read_range(f"{PHOTOS}/a", CONFIG, *one) for one in [(0, 3), (3, 4), (8, 5)]] == [b"012", b"3456", b"89"]


def test_too_many_bytes_are_not_read(storage: Storage) -> None:
    assert read_uri(f"{PHOTOS}/old", CONFIG, max_bytes=3) == b"old"
    with pytest.raises(ImageError, match="at most 2") as caught:
        read_uri(f"{PHOTOS}/old", CONFIG, max_bytes=2)
    assert caught.value.kind == "too_many_bytes"


def test_a_list_of_images_there_is_looked_up_by_the_folder(hub: Hub) -> None:
    put(hub, "datasets/me/photos@main", *(f"set/{number}.jpg" for number in range(8)))
    hub.trees["datasets/me/photos@main"]["list.txt"] = b"".join(b"set/%d.jpg\n" % number for number in range(8))
    images = list_images(InputConfig(uri=f"{PHOTOS}/list.txt"), CONFIG).images
    assert [(image.key, image.size, bool(image.modified)) for image in images] == [
        (f"{n}.jpg", 9, True) for n in range(8)
    ]
    assert [path for path, _ in hub.requests if "paths-info" in path] == [
        "POST /api/datasets/me/photos/paths-info/main"
    ]


def test_a_list_elsewhere_names_images_there(hub: Hub, tmp_path: Path) -> None:
    put(hub, "datasets/me/photos@v1", "set/a.jpg")
    put(hub, "buckets/me/more", "b.jpg")
    (tmp_path / "list.csv").write_text(f"uri,key\n{PHOTOS}@v1/set/a.jpg,one.jpg\nhf://buckets/me/more/b.jpg,two.jpg\n")
    images = list_images(InputConfig(uri=str(tmp_path / "list.csv")), CONFIG).images
    assert [(image.key, image.size) for image in images] == [("one.jpg", 9), ("two.jpg", 5)]
    assert [read_uri(image.uri, CONFIG) for image in images] == [b"set/a.jpg", b"b.jpg"]


def test_images_in_archives_there_are_read_by_their_place(hub: Hub, tmp_path: Path) -> None:
    pack(tmp_path / "000.tar", "a.jpg", "a.json", "b.jpg")
    hub.trees["datasets/me/photos@main"] = {"train/000.tar": (tmp_path / "000.tar").read_bytes()}
    images = list_images(InputConfig(uri=f"{PHOTOS}/train/*.tar"), CONFIG).images
    assert [(image.key, read_uri(image.uri, CONFIG)) for image in images] == [
        ("000/a.jpg", b"a.jpg"),
        ("000/b.jpg", b"b.jpg"),
    ]


@pytest.mark.parametrize(
    ("uri", "error", "words"),
    [
        (f"{PHOTOS}/none.jpg", NotFoundError, "no such file"),
        (f"{PHOTOS}/set", NotFoundError, "no such file"),
        (f"{PHOTOS}@v9/old", StorageError, "404"),
        ("hf://datasets/me/none/a.jpg", PermissionDeniedError, "HF_TOKEN"),
    ],
)
def test_what_is_missing_is_told_apart(
    storage: Storage, hub: Hub, uri: str, error: type[StorageError], words: str
) -> None:
    put(hub, "datasets/me/photos@main", "set/a.jpg")
    with pytest.raises(error, match=words) as caught:
        stat_uri(uri, CONFIG)
    with pytest.raises(error):
        read_uri(uri, CONFIG)
    assert type(caught.value) is error


def test_an_input_that_is_not_there_is_refused_with_its_name(storage: Storage) -> None:
    for uri, words in ((f"{PHOTOS}/none", "does not exist"), ("hf://datasets/me/none", "HF_TOKEN")):
        with pytest.raises(InputError, match=words):
            list_images(InputConfig(uri=uri), CONFIG)


def test_a_token_opens_what_is_closed_and_goes_nowhere_else(
    storage: Storage, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.closed.add("datasets/me/photos")
    with pytest.raises(PermissionDeniedError, match="HF_TOKEN"):
        storage.read("old")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.requests.clear()
    assert storage.read("old") == b"old"
    assert [has_token for _, has_token in hub.requests] == [True, False]  # the second went to another server
    with pytest.raises(PermissionDeniedError):
        read_uri(f"{PHOTOS}/old", StorageConfig(anonymous=True))


def test_a_stored_token_is_used(storage: Storage, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    hub.closed.add("datasets/me/photos")
    assert storage.read("old") == b"old"


def test_no_token_goes_where_a_page_of_a_listing_refers_to(
    storage: Storage, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(hub, "datasets/me/photos@main", *(f"{number}.jpg" for number in range(5)))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.next_page_at = hub.elsewhere
    assert len(list(storage.list())) == 6
    assert [has_token for _, has_token in hub.requests] == [True, False]


def test_pictures_inside_of_parquet_files_are_named_as_such(hub: Hub) -> None:
    rows = pa.table({"image": [{"bytes": b"jpeg", "path": "a.jpg"}], "label": [1]})
    pq.write_table(rows, data := pa.BufferOutputStream())
    hub.trees["datasets/me/photos@main"] = {"data/train-00000.parquet": data.getvalue().to_pybytes()}
    for uri in (PHOTOS, f"{PHOTOS}/data/train-00000.parquet"):
        with pytest.raises(InputError, match="pictures inside of Parquet files are not read"):
            list_images(InputConfig(uri=uri), CONFIG)


VERBS: dict[str, Callable[[Storage], object]] = {
    "read": lambda storage: storage.read("old"),
    "stat": lambda storage: storage.stat("old"),
    "list": lambda storage: list(storage.list()),
    "is_folder": lambda storage: storage.is_folder(),
}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    verb=st.sampled_from(sorted(VERBS)),
    fault=st.sampled_from(["400", "401", "403", "404", "429", "500", "503", "reset"]),
    token=st.text("abcdefXYZ0189", min_size=20, max_size=30).map("hf_{}".format),
)
def test_no_token_is_ever_shown(
    storage: Storage, hub: Hub, caplog: pytest.LogCaptureFixture, verb: str, fault: str, token: str
) -> None:
    hub.faults.clear()
    hub.faults.extend([fault] * ATTEMPTS)
    said = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", token)
        try:
            VERBS[verb](storage)
        except StorageError as error:
            said = "".join(traceback.format_exception(error))
    assert said or fault == "404"  # a folder that is not there is empty
    assert token not in said + caplog.text


@pytest.mark.parametrize("fault", ["408", "429", "500", "503", "reset"])
@pytest.mark.parametrize("verb", VERBS)
def test_passing_trouble_is_tried_again(storage: Storage, hub: Hub, verb: str, fault: str) -> None:
    hub.faults.extend([fault] * (ATTEMPTS - 1))
    assert VERBS[verb](storage)
    assert not hub.faults


@pytest.mark.parametrize("verb", VERBS)
def test_lasting_trouble_ends_after_the_attempts(storage: Storage, hub: Hub, verb: str) -> None:
    hub.faults.extend(["500"] * 100)
    with pytest.raises(StorageError, match=r"cannot .* hf://datasets/me/photos.*500"):
        VERBS[verb](storage)
    assert len(hub.requests) == ATTEMPTS


def test_a_truncated_answer_is_never_taken_for_the_file(storage: Storage, hub: Hub) -> None:
    hub.faults.extend(["ok", "truncate"])
    assert storage.read("old") == b"old"
    assert len(hub.requests) == 4


def test_a_page_that_fails_is_asked_for_again_and_no_other(hub: Hub) -> None:
    put(hub, "datasets/me/photos@main", *(f"{number}.jpg" for number in range(8)))
    hub.faults.extend(["ok", "503", "503"])
    assert len(list(open_storage(PHOTOS, CONFIG).list())) == 8
    assert len(hub.requests) == 3 + 2


def test_a_server_that_limits_is_asked_when_it_says(
    storage: Storage, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    hub.faults.extend(["429 55", "429 900", "ok", "ok"])
    assert storage.read("old") == b"old"
    assert waits == [55, 300]


@pytest.mark.parametrize(
    ("status", "error"), [("403", PermissionDeniedError), ("404", NotFoundError), ("400", StorageError)]
)
def test_a_refusal_is_final(storage: Storage, hub: Hub, status: str, error: type[StorageError]) -> None:
    hub.faults.append(status)
    with pytest.raises(error):
        storage.read("old")
    assert len(hub.requests) == 1


def test_a_server_that_is_not_there_is_a_storage_error(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="ConnectError"):
        storage.read("old")


def test_an_answer_that_is_not_the_hubs_is_a_storage_error(storage: Storage, hub: Hub) -> None:
    hub.faults.append("200")
    with pytest.raises(StorageError, match="is no JSON"):
        list(storage.list())


def test_a_storage_survives_pickling(storage: Storage) -> None:
    copy = pickle.loads(pickle.dumps(storage))
    assert (copy.root, copy.read("old")) == (PHOTOS, b"old")


def test_nothing_is_written(storage: Storage) -> None:
    for act in (lambda: storage.write("a", b"x"), lambda: storage.create("a", b"x"), lambda: storage.delete("old")):
        with pytest.raises(StorageError, match="read and not written"):
            act()
    assert not storage.may_be_written()
    with pytest.raises(ConfigError, match="hf upload"):
        list_images(InputConfig(uri=PHOTOS), CONFIG, output="hf://datasets/me/labels")


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        monkeypatch.delitem(sys.modules, name)  # it reads the environment as it is imported
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    hub = storage_clients.client_of("hf", "", StorageConfig(region="anew"))
    assert (hub.constants.ENDPOINT, callable(hub.utils.get_session)) == ("https://hub.example", True)


def test_a_missing_package_is_an_error_before_any_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", None)
    with pytest.raises(ConfigError, match=r"pip install 'sam-batch\[hf\]'"):
        open_storage(PHOTOS, StorageConfig(region="nowhere"))
