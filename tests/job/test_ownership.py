"""Whatever overlaps as input and output, and whenever a run dies: every byte that was not ours stays as it was."""

import contextlib
import json
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.corpus import encode, picture
from support.jobs import job_config, run

from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError
from sam_batch.output.layout import EXPORTS

VERBS = ("write", "replace", "create", "put_file", "delete", "flush", "clear_temporary")
PICTURE = encode(picture(32, 24), "JPEG")
USERS = b"the user's"

FOLDERS = [
    "", "coco", "coco/train", "coco/val", "segments", "annotations", "plan", "metrics", "color_masks", ".tmp", "x",
    "x/coco", *EXPORTS,
]  # fmt: skip
NAMES = [
    "a.jpg", "b.jpg", "a.jpg.png", "config.yaml", "summary.json", "lease.json", "annotations.json", ".DS_Store",
    "part-00000.parquet", "part-00000.json", "shard-00000.tar", "notes.txt", "0123456789abcdef0123456789abcdef",
    "export.json", "failures.csv", "data.yaml", "labels/val/a.jpg.txt", "a.jpg.masks/0.png", "tasks-00000.json",
]  # fmt: skip
TREES = st.dictionaries(
    st.builds(lambda folder, name: f"{folder}/{name}".lstrip("/"), st.sampled_from(FOLDERS), st.sampled_from(NAMES)),
    st.just(USERS),
    max_size=6,
)
PLACES = st.sampled_from([*FOLDERS, "out", "coco/out", "linked", "linked/train", "coco/../coco", "x/../coco/train"])
SOURCES = st.one_of(st.just("photos"), PLACES)  # half of the time there is something to do,
OUTPUTS = st.one_of(st.just("out"), PLACES)  # and nothing in the way
LATER = [  # put into an output of ours, under names that no earlier run has made
    "coco/reviewed.json", "coco/val/a.jpg", "coco/annotations-1.json", "annotations/mine.parquet",
    "annotations/part-7.parquet", "metrics/notes.json", "metrics/part-00099.json", "plan/notes.txt", ".tmp/mine",
    "segments/a.jpg/notes.txt", "segments/new.jpg/0.png", "color_masks/new.jpg.png", "color_masks/other.jpg.png",
    "label_masks/a.jpg.png", "config.yaml", "summary.json", "mine.txt", "segments/shard-00000.tar",
    "coco/export.json", "failures/export.json", "failures/failures.csv", "failures/notes.txt", "yolo/data.yaml",
    "yolo/labels/train/new.jpg.txt", "yolo/labels/train/mine.txt", "sa1b/new.jpg.json", "labelme/export.json",
    "amg/new.jpg.masks/0.png", "amg/a.jpg.masks/mine.png", "label-studio/tasks-00000.json",
]  # fmt: skip
RUNS = st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.integers(0, 40))), min_size=1, max_size=2)


class Killed(BaseException):
    """The process ends here."""


@contextlib.contextmanager
def killed_at(moment):
    """Let a number of changes to the storage happen, and then nothing more; None lets all happen."""
    lock, left = threading.Lock(), [moment]

    def counted(verb):
        def act(*arguments):
            with lock:
                if left[0] is not None and left[0] <= 0:
                    raise Killed
                left[0] = left[0] and left[0] - 1
            return verb(*arguments)

        return act

    with contextlib.ExitStack() as stack:
        for name in VERBS:
            stack.enter_context(mock.patch.object(Storage, name, counted(getattr(Storage, name))))
        with contextlib.suppress(Killed):
            yield


def label(source, output, overwrite, moment, **sections):
    """One run, whatever becomes of it."""
    exports = [name for name in EXPORTS if name != "geojson"]  # which these pictures refuse: they lie nowhere
    settings = {"generator": {"points_per_side": 1}, "run": {"shard_size": 1}, "output": {"exports": exports}}
    config = job_config(source, output, **settings, **sections)
    with killed_at(moment), contextlib.suppress(ConfigError):
        run(config, str(output) if overwrite else None)


def bury(output):
    """What a dead process holds does not count; this one only played dead."""
    path = Path(output, "lease.json")
    with contextlib.suppress(OSError, ValueError, TypeError):
        path.write_text(json.dumps({**json.loads(path.read_text()), "born": "0"}))


def put(root, tree):
    for name, content in tree.items():
        path = root / name
        with contextlib.suppress(OSError):  # a file where a folder is needed
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PICTURE if name.endswith(".jpg") else content)


def content(root, names):
    return {name: (root / name).read_bytes() for name in names if (root / name).is_file()}


DONE, KILLED_BEFORE_CONFIG, KILLED_BEFORE_SUMMARY = [(False, None)], [(False, 3)], [(False, 6)]


@settings(max_examples=40)
@example({"x/coco/annotations.json": USERS}, "photos", "x", DONE, set(), DONE)
@example({}, "photos", "out", KILLED_BEFORE_CONFIG, {"config.yaml"}, DONE)
@example({}, "photos", "out", KILLED_BEFORE_SUMMARY, {"summary.json"}, DONE)
@example({}, "photos", "out", DONE, {"coco/reviewed.json", "segments/new.jpg/0.png"}, [(True, None)])
@example({}, "photos", "out", DONE, {"color_masks/new.jpg.png"}, DONE)
@example({}, "photos", "out", [(False, None), (True, 6)], {"yolo/data.yaml"}, DONE)  # killed as it removed its own
@example({}, "photos", "out", [(False, None), (True, 8)], {"failures/failures.csv"}, DONE)
@example({}, "photos", "out", [(False, None), (True, 7)], {"label-studio/tasks-00000.json"}, DONE)
@given(TREES, SOURCES, OUTPUTS, RUNS, st.sets(st.sampled_from(LATER)), RUNS)
def test_no_run_touches_what_is_not_its_own(tree, source, output, first_runs, later, later_runs):
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "linked").symlink_to("coco")
        tree = {**tree, "photos/a.jpg": PICTURE}
        put(root, tree)
        users = content(root, tree)
        for overwrite, moment in first_runs:
            label(root / source, root / output, overwrite, moment)
            assert content(root, users) == users
            bury(root / output)
        added = {f"./{output}/{name}": USERS for name in later if not (root / output / name).exists()}
        put(root, {**added, f"./{source}/new.jpg": PICTURE})
        users = content(root, [*users, *added])
        for overwrite, moment in later_runs:
            label(root / source, root / output, overwrite, moment)
            assert content(root, users) == users
            bury(root / output)


BUCKETS = {  # what lies in a bucket, the input, the output
    "a data set's root": (["coco/train/a.jpg", "annotations/mine.json"], "coco/train", ""),
    "beside a data set": (["set/coco/train/a.jpg", "set/config.yaml"], "set/coco/train", "set"),
    "in the input": (["set/a.jpg"], "set", "set/out"),
    "a prefix with other results": (["in/a.jpg", "out/annotations/part-00000.parquet"], "in", "out"),
    "a free prefix": (["in/a.jpg", "out-2/config.yaml", "ou"], "in", "out"),
    "a free prefix with a hidden name": (["in/a.jpg", "out/.keep"], "in", "out"),
}


@pytest.mark.parametrize("moment", [None, 3, 8])
@pytest.mark.parametrize(("names", "source", "output"), BUCKETS.values(), ids=BUCKETS)
def test_buckets_keep_what_is_not_ours(s3_bucket, names, source, output, moment):
    for name in names:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=name, Body=PICTURE if name.endswith(".jpg") else USERS)
    uploads = [f"{output}/{name}".lstrip("/") for name in ("coco/train/b.jpg", "annotations/mine.json")]
    for key in uploads:
        s3_bucket.client.create_multipart_upload(Bucket=s3_bucket.name, Key=key)
    storage = s3_bucket.config.model_dump()
    for overwrite in (False, True):
        label(f"{s3_bucket.uri}/{source}", f"{s3_bucket.uri}/{output}", overwrite, moment, storage=storage)
        there = {name: s3_bucket.client.get_object(Bucket=s3_bucket.name, Key=name)["Body"].read() for name in names}
        assert there == {name: PICTURE if name.endswith(".jpg") else USERS for name in names}
        left = s3_bucket.client.list_multipart_uploads(Bucket=s3_bucket.name)["Uploads"]
        assert sorted(upload["Key"] for upload in left) == sorted(uploads)
