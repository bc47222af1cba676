"""A store that does not answer is no image's fault: no rows, a wait, and the cause at its end."""

import errno
import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from support.jobs import draw_photographs, job_config, rows, run
from support.s3 import FaultyProxy

from sam_batch.data.storage_local import LocalFiles
from sam_batch.engine.choice import FakeChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.errors import JobError, NotFoundError, OutageError, PermissionDeniedError, StorageError
from sam_batch.job import outage
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import Ticket, load
from sam_batch.output import schema
from sam_batch.output.plan import Plan, extend

CAUSES = {"gone": errno.ENOENT, "denied": errno.EACCES, "stale": errno.ESTALE, "broken": errno.EIO}


@pytest.fixture
def store(monkeypatch):
    """The local files, of which some fail: `broken(path)` gives an errno or nothing; `reads` are counted."""
    store = SimpleNamespace(broken=lambda path: None, reads=0)
    read, stat = LocalFiles.read, LocalFiles.stat

    def check(self, name):
        code = store.broken(self.uri(name))
        if code:
            raise OSError(code, "injected")

    def read_or_fail(self, name, max_bytes=None):
        if name.endswith(".jpg"):
            store.reads += 1
            check(self, name)
        return read(self, name, max_bytes)

    def stat_or_fail(self, name):
        check(self, name)
        return stat(self, name)

    monkeypatch.setattr(LocalFiles, "read", read_or_fail)
    monkeypatch.setattr(LocalFiles, "stat", stat_or_fail)
    return store


@pytest.fixture
def reader(tmp_path):
    """Makes a reader of `photos` that knows some controls."""
    draw_photographs(tmp_path / "photos", 4)

    def make(*controls, **sections):
        config = job_config(tmp_path / "photos", tmp_path / "out", **sections)
        spec = JobSpec(config, FAKE, FakeChoice(), controls=tuple(map(str, controls)))
        return outage.Reader(spec)

    return make


def test_an_image_that_fails_where_others_are_read_is_itself_to_blame(tmp_path, reader, store):
    photos = tmp_path / "photos"
    store.broken = lambda path: errno.EIO if path.endswith("001.jpg") else None
    for used in (reader(), reader(photos / "000.jpg", photos / "001.jpg")):
        used.read(str(photos / "002.jpg"))
        with pytest.raises(StorageError) as caught:
            used.read(str(photos / "001.jpg"))
        assert not isinstance(caught.value, OutageError)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_store_that_fails_for_every_image_is_an_outage_at_once(tmp_path, reader, store, cause):
    photos = tmp_path / "photos"
    used = reader(photos / "003.jpg")
    used.read(str(photos / "000.jpg"))
    store.broken = lambda path: CAUSES[cause] if path.endswith(".jpg") else None
    for name in ("001.jpg", "002.jpg"):
        with pytest.raises(OutageError, match=r"001\.jpg: injected; nor can other images there be read"):
            used.read(str(photos / name))


def test_an_image_whose_store_comes_back_while_it_is_asked_is_read(tmp_path, reader, store):
    photos = tmp_path / "photos"
    used = reader(photos / "003.jpg")
    store.broken = lambda path: errno.EIO if store.reads < 2 else None
    assert used.read(str(photos / "001.jpg")) == (photos / "001.jpg").read_bytes()


def test_a_control_of_another_input_proves_nothing(tmp_path, reader, store):
    draw_photographs(tmp_path / "more", 2)
    both = {"uri": [str(tmp_path / "photos"), str(tmp_path / "more/*.jpg")]}
    used = reader(tmp_path / "photos/003.jpg", tmp_path / "more/001.jpg", input=both)
    store.broken = lambda path: errno.ENOENT if "/photos/" in path else None
    used.read(str(tmp_path / "more/000.jpg"))
    with pytest.raises(OutageError):
        used.read(str(tmp_path / "photos/000.jpg"))


def test_an_image_without_others_is_to_blame_if_its_folder_is_there(tmp_path, reader):
    with pytest.raises(NotFoundError):
        reader().read(str(tmp_path / "photos/nowhere.jpg"))
    with pytest.raises(OutageError):
        reader().read(str(tmp_path / "elsewhere/nowhere.jpg"))


def test_a_shard_whose_store_is_gone_travels_without_rows(tmp_path, store):
    draw_photographs(tmp_path / "photos", 3)
    store.broken = lambda path: errno.ENOTCONN
    shard = [
        {"shard": 7, "image_id": number, "key": f"{number}", "uri": str(tmp_path / f"photos/00{number}.jpg")}
        for number in range(3)
    ]
    controls = tuple(row["uri"] for row in shard)
    config = job_config(tmp_path / "photos", tmp_path / "out")
    spec = JobSpec(config, FAKE, FakeChoice(), controls=controls)
    table = load(schema.pa.Table.from_pylist(shard, schema=schema.PLAN_SCHEMA), spec)
    assert len(table) == 0
    assert "injected" in Ticket.of(table).outage


@pytest.mark.parametrize("cause", CAUSES)
def test_a_store_that_goes_away_ends_the_job_without_rows_and_the_next_run_does_the_rest(tmp_path, store, cause):
    draw_photographs(tmp_path / "photos", 12)
    store.broken = lambda path: CAUSES[cause] if path.endswith(".jpg") and store.reads > 6 else None
    config = job_config(tmp_path / "photos", tmp_path / "out", storage={"outage_seconds": 0})
    report = run(config)
    assert (report.exit_code, report.status["failed"]) == (1, 0)
    assert "could not be loaded" in report.error
    assert "injected" in (tmp_path / "out/summary.json").read_text()
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok"] * 4
    store.broken = lambda path: None
    assert (run(config).exit_code, len(rows(tmp_path / "out"))) == (0, 12)


@pytest.mark.parametrize("again", [False, True])
def test_a_store_that_comes_back_in_time_costs_nothing(tmp_path, store, monkeypatch, again):
    draw_photographs(tmp_path / "photos", 9)
    config = job_config(tmp_path / "photos", tmp_path / "out", run={"max_failure_rate": 1.0, "retry_failed": again})
    if again:
        store.broken = lambda path: errno.EACCES if path.endswith("008.jpg") else None
        assert run(config).failures == {"permission_denied": 1}
    until = store.reads if again else store.reads + 2
    store.broken = lambda path: errno.EIO if path.endswith(".jpg") and store.reads > until else None
    monkeypatch.setattr(outage.Patience, "wait", lambda *_: setattr(store, "broken", lambda path: None))
    report = run(config)
    assert (report.exit_code, report.done) == (0, 9)
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok"] * 9


def test_one_object_that_may_not_be_read_is_one_row(tmp_path, store):
    draw_photographs(tmp_path / "photos", 6)
    store.broken = lambda path: errno.EACCES if path.endswith("003.jpg") else None
    run(job_config(tmp_path / "photos", tmp_path / "out"))
    assert [row["error"] and row["error"]["kind"] for row in rows(tmp_path / "out")].count("permission_denied") == 1


@pytest.mark.parametrize(("fault", "kind"), [(404, "not_found"), (403, "permission_denied"), (503, "read_failed")])
def test_of_a_bucket_one_failing_object_is_a_row_and_all_are_an_outage(tmp_path, s3_bucket, fault, kind):
    draw_photographs(tmp_path / "photos", 4)
    for path in sorted((tmp_path / "photos").iterdir()):
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=path.name, Body=path.read_bytes())
    with FaultyProxy(s3_bucket.endpoint_url) as proxy:
        storage = {"endpoint_url": proxy.endpoint_url, "region": "us-east-1", "attempts": 1, "outage_seconds": 0}
        config = job_config(s3_bucket.uri, tmp_path / "out", storage=storage)
        spec = JobSpec(config, FAKE, FakeChoice(), controls=(f"{s3_bucket.uri}/003.jpg",))
        reader = outage.Reader(spec)
        reader.read(f"{s3_bucket.uri}/000.jpg")
        proxy.faults.extend([fault, "none", fault, fault][: 4 if fault == 503 else 3])  # the control is answered
        with pytest.raises((NotFoundError, PermissionDeniedError, StorageError)) as caught:
            reader.read(f"{s3_bucket.uri}/001.jpg")
        assert not isinstance(caught.value, OutageError)
        proxy.faults.extend([fault] * 100)
        with pytest.raises(OutageError):
            reader.read(f"{s3_bucket.uri}/002.jpg")


def test_of_a_repository_one_missing_file_is_a_row_and_a_lost_right_is_an_outage(tmp_path, hub):
    draw_photographs(tmp_path / "photos", 2)
    photos = {path.name: path.read_bytes() for path in (tmp_path / "photos").iterdir()}
    hub.trees = {"datasets/me/photos@main": photos, "datasets/me/others@main": photos}
    config = job_config("hf://datasets/me/photos", tmp_path / "out", storage={"attempts": 1})
    reader = outage.Reader(JobSpec(config, FAKE, FakeChoice(), controls=("hf://datasets/me/others/000.jpg",)))
    with pytest.raises(NotFoundError) as caught:
        reader.read("hf://datasets/me/photos/none.jpg")
    assert not isinstance(caught.value, OutageError)
    hub.closed.add("datasets/me/photos")
    with pytest.raises(OutageError, match="HF_TOKEN"):
        reader.read("hf://datasets/me/photos/001.jpg")


def test_controls_are_images_with_rows_and_some_of_all(tmp_path):
    draw_photographs(tmp_path / "photos", 40)
    (tmp_path / "photos/000.jpg").write_bytes(b"")
    config = job_config(tmp_path / "photos", tmp_path / "out", input={"uri": str(tmp_path / "photos"), "limit": 4})
    run(config)
    storage = outage.open_storage(str(tmp_path / "out"), config.storage)
    entries = [SimpleNamespace(key=str(n), uri=str(n), size=1, modified=None) for n in range(100)]
    plan = Plan(extend(None, entries, 4), {}, 1)
    found = outage.controls(plan, storage)
    assert [uri.rpartition("/")[2] for uri in found[:3]] == ["001.jpg", "002.jpg", "003.jpg"]
    assert list(found[3:]) == [str(number * 100 // outage.SPREAD) for number in range(outage.SPREAD)]


def test_patience_tries_again_at_growing_intervals_and_ends_with_the_cause():
    now, waits, shown = [0.0], [], io.StringIO()

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    patience = outage.Patience(10, Console(file=shown, width=200), clock=lambda: now[0], sleep=sleep)
    cause = OutageError("cannot read a: stale")
    for _ in range(3):
        patience.wait(cause)
    with pytest.raises(
        JobError, match=r"could not be loaded for 10 s \(storage.outage_seconds\): cannot read a: stale"
    ):
        patience.wait(cause)
    assert waits == [2, 4, 4]
    assert "trying again for 8 s" in shown.getvalue()
    patience.answered()
    patience.wait(cause)
    assert waits[-1] == 2
