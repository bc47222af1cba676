"""What is ours in an output, and what is done where it is not."""

import pytest
from support.jobs import draw_photographs, job_config, run

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Entry, Storage
from sam_batch.errors import OutputError
from sam_batch.output import layout, lease, ownership
from sam_batch.output.fingerprint import shaping_defaults
from sam_batch.output.plan import Plan, extend, read_plan

OURS = [
    "annotations/part-00000.parquet", "metrics/part-00001.json", "color_masks/a.jpg.png", "color_masks/b/c.jpg.png",
    "segments/a.jpg/0.png", "segments/b/c.jpg/17.png", "coco/annotations.json", "coco/annotations-00003.json",
]  # fmt: skip
FOREIGN = [
    "annotations/part-00002.parquet", "annotations/part-0.parquet", "annotations/part-00000.json",
    "annotations/x/part-00000.parquet", "metrics/part-00001.parquet", "metrics/part-00009.json",
    "color_masks/other.jpg.png", "color_masks/a.jpg", "label_masks/a.jpg.png", "segments/shard-00000.tar",
    "segments/a.jpg/mine.png", "segments/a.jpg/00.png", "segments/other.jpg/0.png", "segments/0.png",
    "coco/reviewed.json", "coco/annotations-1.json", "coco/x/annotations.json", "coco/annotations.json.bak",
]  # fmt: skip


def settings(**changed):
    return shaping_defaults() | {f"output.{key.replace('__', '.')}": value for key, value in changed.items()}


def planned(*keys, **changed):
    rows = extend(None, [Entry(key, f"/photos/{key}", 1) for key in keys], shard_size=1)
    return Plan(rows, settings(**changed), 1)


def names(*keys, **changed):
    plan = planned(*keys, **changed)
    return ownership.Names(plan.rows, plan.fingerprint, layout.EXPORTS)


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path / "out"), StorageConfig())


@pytest.mark.parametrize("key", OURS)
def test_names_that_the_plan_gives_are_ours(key):
    assert key in names("a.jpg", "b/c.jpg")


@pytest.mark.parametrize("key", FOREIGN)
def test_names_that_no_job_of_this_plan_makes_are_not(key):
    assert key not in names("a.jpg", "b/c.jpg")


def test_which_pictures_are_ours_the_settings_of_the_plan_say():
    off = names("a.jpg", color_masks__enabled="false", segments__enabled="false", label_masks__enabled="true")
    assert [key in off for key in ("color_masks/a.jpg.png", "segments/a.jpg/0.png", "label_masks/a.jpg.png")] == [
        False, False, True,
    ]  # fmt: skip
    packed = names("a.jpg", segments__pack='"tar"')
    assert [key in packed for key in ("segments/a.jpg/0.png", "segments/shard-00000.tar")] == [False, True]
    jpeg = names("a.jpg", color_masks__format='"jpeg"')
    assert [key in jpeg for key in ("color_masks/a.jpg.png", "color_masks/a.jpg.jpg")] == [False, True]


@pytest.mark.parametrize("name", ["mine.txt", "coco/train/a.jpg", "config.yaml", "lease.json", "annotations/.x"])
def test_an_output_that_holds_something_and_no_plan_is_refused_by_name(storage, name):
    storage.write(name, b"mine")
    with pytest.raises(OutputError, match=f"holds {name}, but no plan"):
        ownership.refuse_foreign(storage)


def test_an_output_that_another_plans_between_two_looks_is_none_of_somebody_else(storage, tmp_path, monkeypatch):
    looks = iter([None, object()])
    monkeypatch.setattr(ownership, "read_plan", lambda _: next(looks))
    storage.write("plan/part-00000.parquet", b"just written")
    assert ownership.open_output(job_config(tmp_path, tmp_path / "out"), None).root == storage.root


def test_a_refusal_names_three_of_many(storage):
    for name in "abcde":
        storage.write(name, b"mine")
    with pytest.raises(OutputError, match=r"holds \w, \w, \w and more, but no plan"):
        ownership.refuse_foreign(storage)


def test_a_link_is_something_wherever_it_leads(storage, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/segments").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="holds segments, but no plan"):
        ownership.refuse_foreign(storage)


def test_hidden_names_empty_folders_and_our_own_lease_are_nothing(storage, tmp_path):
    ownership.refuse_foreign(storage)
    (tmp_path / "out/coco/train").mkdir(parents=True)
    for name in (".DS_Store", ".git/config"):
        storage.write(name, b"mine")
    held = lease.acquire(storage)
    ownership.refuse_foreign(storage)
    held.release()


@pytest.mark.parametrize("key", [*OURS[:6], "segments/b/c.jpg/0.png"])
def test_new_images_whose_names_are_taken_are_refused(storage, key):
    storage.write(key, b"mine")
    with pytest.raises(OutputError, match=f"{key} is not of this job"):
        ownership.refuse_taken(storage, [names("a.jpg", "b/c.jpg")])


def test_new_images_may_lie_beside_what_is_not_ours(storage):
    for key in FOREIGN:
        storage.write(key, b"mine")
    ownership.refuse_taken(storage, [names("a.jpg", "b/c.jpg")])


@pytest.fixture
def finished(storage, tmp_path):
    draw_photographs(tmp_path / "photos", 2)
    run(job_config(tmp_path / "photos", storage.root, run={"shard_size": 1}))
    return storage


def stored(storage):
    return {entry.key for entry in storage.list()}


def test_everything_a_job_wrote_is_its_own_and_its_plan_goes_last(finished):
    own = list(ownership.own_keys(finished, read_plan(finished)))
    assert set(own) == stored(finished)
    assert (own[0].partition("/")[0], own[-1]) == ("annotations", "plan/part-00000.parquet")


def test_clearing_leaves_the_plan_and_what_is_not_ours(finished):
    mine = {*FOREIGN, "mine.txt", "plan/notes.txt"}
    for key in mine:
        finished.write(key, b"mine")
    ownership.clear(finished, read_plan(finished), planned("other.png"), ["coco"])
    assert stored(finished) == mine | {"plan/part-00000.parquet"}


def test_nothing_is_cleared_where_the_next_job_would_overwrite_what_is_not_ours(finished):
    finished.write("color_masks/other.png.png", b"mine")
    before = stored(finished)
    with pytest.raises(OutputError, match=r"color_masks/other.png.png is not of this job"):
        ownership.clear(finished, read_plan(finished), planned("other.png"), ["coco"])
    assert stored(finished) == before


@pytest.mark.parametrize("key", [layout.CONFIG, layout.SUMMARY])
def test_files_of_fixed_name_are_ours_by_their_content(finished, key):
    finished.write(key, finished.read(key).replace(b"0", b"1"))
    is_own = key in set(ownership.own_keys(finished, read_plan(finished)))
    assert is_own == (key == layout.SUMMARY)  # nobody edits a summary; a configuration is there to be used again


def test_only_what_the_program_wrote_is_written_over(storage, caplog):
    for text in ("a: 1\n", "a: 2\n"):
        ownership.put_over_own(storage, "config.yaml", ownership.sealed(text), ownership.is_sealed)
    assert storage.read("config.yaml").endswith(b"\na: 2\n")
    edited = storage.read("config.yaml") + b"# mine\n"
    storage.write("config.yaml", edited)
    ownership.put_over_own(storage, "config.yaml", ownership.sealed("a: 3\n"), ownership.is_sealed)
    assert storage.read("config.yaml") == edited
    assert caplog.messages == [f"{storage.root}/config.yaml: is not as this program wrote it, and is left as it is"]


@pytest.mark.parametrize("data", [b"", b"a: 1\n", ownership.sealed("a: 1\n")[1:], b"\xff\n"])
def test_another_configuration_is_not_sealed(data):
    assert not ownership.is_sealed(data)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"images": 3, "versions": {}}', b"\xff"])
def test_another_summary_is_not_ours(data):
    assert not ownership.is_summary(data)


def test_another_page_is_no_report():
    assert not ownership.is_report(b"<!doctype html><title>my report</title>")
