"""Jobs in the buckets of Google and Microsoft: the bytes of a job on disk, one driver, and no key that is shown."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.jobs import draw_photographs, job_config, run
from support.s3 import FaultyProxy
from support.stores import KEY

from sam_batch.config import Config, StorageConfig
from sam_batch.data.storage import open_storage
from sam_batch.errors import AlreadyExistsError, LeaseError, PermissionDeniedError
from sam_batch.output import lease

pytestmark = [
    pytest.mark.stores,
    pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning"),  # which some clients do
]
PICTURES = ("color_masks", "segments")


@pytest.fixture(params=["gs", "abfs"])
def bucket(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(f"{request.param}_uri")


def job_in(bucket: str, photos: Path) -> Config:
    """A job from one prefix of the bucket to another one."""
    anonymous = {"anonymous": bucket.startswith("gs:")}
    for path in photos.iterdir():
        open_storage(f"{bucket}/photos", StorageConfig(**anonymous)).write(path.name, path.read_bytes())
    return job_config(f"{bucket}/photos", f"{bucket}/out", storage=anonymous)


def test_a_job_in_a_bucket_leaves_the_pictures_of_one_on_disk_and_is_done_once(bucket: str, tmp_path: Path) -> None:
    draw_photographs(tmp_path / "photos", 12)
    run(job_config(tmp_path / "photos", tmp_path / "out"))
    job = job_in(bucket, tmp_path / "photos")
    assert (run(job).exit_code, run(job).worked) == (0, 0)
    output = open_storage(job.output.uri, job.storage)
    for folder in PICTURES:
        here = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files_of(tmp_path, folder)}
        assert here
        assert {entry.key: output.read(entry.key) for entry in output.list(folder)} == here
    assert not output.exists("lease.json")


def files_of(tmp_path: Path, folder: str) -> list[Path]:
    return [path for path in (tmp_path / "out" / folder).rglob("*") if path.is_file()]


def test_a_second_driver_in_a_bucket_is_refused(bucket: str, tmp_path: Path) -> None:
    draw_photographs(tmp_path / "photos", 1)
    job = job_in(bucket, tmp_path / "photos")
    held = lease.acquire(open_storage(job.output.uri, job.storage))
    with pytest.raises(LeaseError, match="in use by process"):
        run(job)
    held.release()
    assert run(job).exit_code == 0


def test_no_key_is_shown_or_stored(
    abfs_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    draw_photographs(tmp_path / "photos", 1)
    job = job_in(abfs_uri, tmp_path / "photos")
    run(job)
    output = open_storage(job.output.uri, job.storage)
    assert not any(KEY.encode() in output.read(entry.key) for entry in output.list())
    other = KEY.replace("E", "F")
    name = "AZURE_STORAGE_CONNECTION_STRING"
    monkeypatch.setenv(name, os.environ[name].replace(KEY, other))
    with pytest.raises(PermissionDeniedError) as caught:
        open_storage(abfs_uri, StorageConfig(attempts=2)).read("a")
    assert other not in f"{caught.value} {caught.value.__cause__!r} {caplog.text} {capsys.readouterr()}"


@pytest.mark.parametrize("fault", [503, "reset", "lost_ack"])
def test_passing_trouble_is_tried_again_and_a_lost_acknowledgement_is_not_another_writer(
    bucket: str, fault: int | str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = bucket.partition(":")[0]
    variables = request.getfixturevalue(f"{scheme}_server")
    (name, value), *_ = variables.items()
    if scheme == "abfs":  # whose client waits for a quarter of a minute
        monkeypatch.setattr("azure.storage.blob.aio.ExponentialRetry.get_backoff_time", lambda *_: 0.1)
    url = value if scheme == "gs" else value.partition("BlobEndpoint=")[2].removesuffix("/devstoreaccount1")
    with FaultyProxy(url) as proxy:
        monkeypatch.setenv(name, value.replace(url, proxy.endpoint_url))
        region = f"only-for-{proxy.endpoint_url}"  # a client of its own
        storage = open_storage(bucket, StorageConfig(anonymous=scheme == "gs", region=region))
        storage.write("old", b"old content")
        for act in (
            lambda: storage.read("old"),
            lambda: storage.write("new", b"content"),
            lambda: storage.create("part", b"content"),
            lambda: storage.delete("new"),
        ):
            proxy.faults.append(fault)
            act()
            assert not proxy.faults
        with pytest.raises(AlreadyExistsError):
            storage.create("part", b"other content")
        assert storage.read("part") == b"content"
