"""What a job refuses, and that nothing of somebody else's is touched then."""

import json
import shutil

import pytest
import torch
from support.jobs import draw_photographs, job_config, result_files, rows, run

from sam_batch.data.naming import Naming
from sam_batch.data.storage import Storage, open_storage
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.errors import ConfigError, FingerprintError, InputError, LeaseError, OutputError
from sam_batch.job.executor import InlineExecutor
from sam_batch.job.ray import cluster
from sam_batch.model import checkpoints
from sam_batch.output import lease


def test_an_output_that_takes_two_images_for_one_is_refused_before_work(photos, out, monkeypatch):
    shutil.copy(photos / "000.jpg", photos / "Same.jpg")
    shutil.copy(photos / "000.jpg", photos / "same.jpg")
    monkeypatch.setattr(Storage, "naming", lambda self: Naming(ignores_case=True))
    with pytest.raises(OutputError, match=r"color_masks/Same\.jpg\.png and color_masks/same\.jpg\.png"):
        run(job_config(photos, out))
    assert not (out / "plan").exists()
    parts_alone = {"color_masks": {"enabled": False}, "segments": {"pack": "tar"}}
    assert run(job_config(photos, out, output=parts_alone)).done == 8


def test_results_of_other_settings_are_never_mixed(photos, out):
    run(job_config(photos, out))
    with pytest.raises(FingerprintError, match=r"generator\.points_per_side: there 3, now 2"):
        run(job_config(photos, out, generator={"points_per_side": 2}))
    assert run(job_config(photos, out, generator={"points_per_batch": 5}, run={"max_failure_rate": 1})).exit_code == 0


OTHER_SETTINGS = {"generator": {"points_per_side": 2}}


OTHER_IMAGES = {"input": {"extensions": [".png"]}}  # not part of the fingerprint


@pytest.mark.parametrize("other", [OTHER_SETTINGS, OTHER_IMAGES], ids=str)
@pytest.mark.parametrize("settings", [{}, {"retry_failed": True}], ids=str)
def test_a_part_of_another_job_is_refused_by_name(photos, out, other, settings):
    for number in range(4):
        shutil.copy(photos / f"{number:03}.jpg", photos / f"{number:03}.png")
    run(job_config(photos, out.with_name("other"), **other))
    run(job_config(photos, out, input={"extensions": [".jpg"]}))
    # As a worker does that outlived the output it worked for.
    shutil.copy(out.with_name("other") / "annotations/part-00000.parquet", out / "annotations/part-00000.parquet")
    before = result_files(out)
    report = run(job_config(photos, out, input={"extensions": [".jpg"]}, run=settings))
    assert report.exit_code == 1
    assert f"{out}/annotations/part-00000.parquet: is of another job" in report.error
    assert result_files(out) == before


def test_a_part_of_no_planned_shard_is_refused(photos, out):
    run(job_config(photos, out))
    shutil.copy(out / "annotations/part-00001.parquet", out / "annotations/part-00002.parquet")
    assert "part-00002.parquet: is of another job" in run(job_config(photos, out)).error


def test_a_refused_part_that_was_deleted_is_made_again(photos, out):
    run(job_config(photos, out))
    clean = result_files(out)
    (out / "annotations/part-00001.parquet").write_bytes((out / "annotations/part-00000.parquet").read_bytes())
    assert run(job_config(photos, out)).exit_code == 1
    (out / "annotations/part-00001.parquet").unlink()
    assert run(job_config(photos, out)).exit_code == 0
    assert result_files(out) == clean


def test_overwrite_wants_the_output_named_and_starts_afresh(photos, out):
    run(job_config(photos, out))
    other = job_config(photos, out, generator={"points_per_side": 2})
    with pytest.raises(ConfigError, match="name the output itself"):
        run(other, overwrite="out")
    (out / "mine.txt").write_text("kept")
    assert run(other, overwrite=str(out)).worked == 6
    assert (out / "mine.txt").read_text() == "kept"


def test_overwrite_leaves_a_folder_alone_that_is_no_output(photos, out):
    out.mkdir()
    (out / "annotations").mkdir()
    (out / "annotations/part-00000.parquet").write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="holds no plan"):
        run(job_config(photos, out), overwrite=str(out))
    assert (out / "annotations/part-00000.parquet").read_bytes() == b"somebody's"


def test_an_output_that_is_somebody_elses_is_refused_and_stays_as_it_is(photos, out):
    (out / "coco").mkdir(parents=True)
    (out / "coco/annotations.json").write_text("mine")
    with pytest.raises(OutputError, match=r"holds coco/annotations\.json, but no plan of a job"):
        run(job_config(photos, out))
    assert [path.name for path in out.rglob("*")] == ["coco", "annotations.json"]


def test_a_data_sets_root_is_no_output_for_its_images(photos):
    before = sorted(photos.parent.rglob("*"))
    with pytest.raises(InputError, match=r"lies in the output"):
        run(job_config(photos, photos.parent))
    assert sorted(photos.parent.rglob("*")) == before


def test_an_output_that_is_a_file_is_refused(photos, out):
    out.write_text("mine")
    with pytest.raises(OutputError, match=r"output\.uri"):
        run(job_config(photos, out))


def test_files_that_were_put_into_an_output_stay(photos, out):
    run(job_config(photos, out))
    for name in ("coco/reviewed.json", "annotations/mine.csv", "segments/000.jpg/mine.png", ".tmp/mine"):
        (out / name).write_text("mine")
    draw_photographs(photos, 1, first=50)
    assert run(job_config(photos, out)).exit_code == 0
    assert run(job_config(photos, out), overwrite=f"{out}/").worked == 7
    mine = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and path.stat().st_size == 4}
    assert mine == {"coco/reviewed.json", "annotations/mine.csv", "segments/000.jpg/mine.png", ".tmp/mine"}


def test_new_images_never_take_a_name_that_is_in_use(photos, out):
    run(job_config(photos, out))
    (out / "color_masks/new.jpg.png").write_text("mine")
    draw_photographs(photos, 1, first=50)
    (photos / "050.jpg").rename(photos / "new.jpg")
    with pytest.raises(OutputError, match=r"color_masks/new\.jpg\.png is not of this job"):
        run(job_config(photos, out))
    assert len(rows(out)) == 6
    (out / "color_masks/new.jpg.png").unlink()
    assert run(job_config(photos, out)).done == 7


def test_a_configuration_that_was_edited_stays_with_a_warning(photos, out):
    run(job_config(photos, out))
    edited = (out / "config.yaml").read_text() + "# mine\n"
    (out / "config.yaml").write_text(edited)
    report = run(job_config(photos, out))
    assert (out / "config.yaml").read_text() == edited
    assert report.notes == [f"{out}/config.yaml: is not as this program wrote it, and is left as it is"]


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_missing_or_empty_folder_is_refused_before_anything_is_written(tmp_path, out, make):
    make(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"input\.uri"):
        run(job_config(tmp_path / "nothing", out))
    assert not out.exists()


def test_an_output_in_use_is_refused(photos, out):
    config = job_config(photos, out)
    storage = open_storage(config.output.uri, config.storage)
    held = lease.acquire(storage)
    with pytest.raises(LeaseError, match="in use"):
        run(config)
    held.release()


@pytest.fixture
def overtaken(monkeypatch, out):
    """After the first shard another driver takes the output over, and puts what it is given in it."""
    put = {"lease.json": lease.Holder.this_process().to_bytes()}

    def overtake(executor, job, shards, **options):
        for number, receipt in enumerate(inline_run(executor, job, shards, **options)):
            if number == 0:
                for name, content in put.items():
                    (out / name).write_bytes(content)
            yield receipt

    inline_run = InlineExecutor.run
    monkeypatch.setattr(InlineExecutor, "run", overtake)
    return put


def test_an_output_lost_on_the_way_is_a_failed_job_with_a_summary(photos, out, overtaken):
    report = run(job_config(photos, out))
    assert (report.exit_code, report.worked) == (1, 6)
    assert "another driver has taken this output over" in report.error
    assert json.loads((out / "summary.json").read_text())["exit_code"] == 1
    assert (out / "lease.json").read_bytes() == overtaken["lease.json"]
    assert not (out / "coco").exists()


def test_work_stops_once_the_loss_is_known(photos, out, overtaken, monkeypatch):
    check = lease.Lease.check
    monkeypatch.setattr(lease.Lease, "check", lambda held: (held._renew_once(), check(held)))
    assert run(job_config(photos, out)).worked == 0
    assert [row["image_id"] for row in rows(out)] == [0, 1, 2, 3]


def test_the_summary_of_the_other_driver_stays(photos, out, overtaken):
    overtaken["summary.json"] = b'{"exit_code": 0, "images": {}, "run": {}, "versions": {}}'
    assert run(job_config(photos, out)).exit_code == 1
    assert (out / "summary.json").read_bytes() == overtaken["summary.json"]


@pytest.fixture
def dear(monkeypatch):
    """What comes last because it is dear: the weights and Ray; returns which of them were asked for."""
    asked = []
    monkeypatch.setattr(checkpoints, "resolve_checkpoint", lambda *_: asked.append("weights") or FAKE)
    monkeypatch.setattr(cluster, "connected", lambda *_: asked.append("Ray"))
    return asked


def job_with_engine(tmp_path, **sections):
    real = {"kind": "torch", "device": "cpu"} | sections.pop("engine", {})
    return job_config(tmp_path / "photos", tmp_path / "out", engine=real, **sections)


def test_what_can_be_seen_for_nothing_is_refused_before_weights_and_ray(tmp_path, dear):
    draw_photographs(tmp_path / "photos", 1)
    run(job_config(tmp_path / "photos", tmp_path / "out"))
    dear.clear()
    with pytest.raises(ConfigError, match="--overwrite elsewhere: is not the output"):
        run(job_with_engine(tmp_path), overwrite="elsewhere")
    with pytest.raises(FingerprintError, match=r"generator\.points_per_side"):
        run(job_with_engine(tmp_path, generator={"points_per_side": 7}))
    assert dear == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_gpu_that_is_missing_shows_before_weights_are_fetched(tmp_path, dear, executor):
    draw_photographs(tmp_path / "photos", 1)
    with pytest.raises(ConfigError, match="no GPU was found"):
        run(job_with_engine(tmp_path, engine={"device": "cuda"}, run={"executor": executor}))
    assert dear == []


def test_an_output_that_is_held_is_refused_before_weights_and_ray(tmp_path, dear):
    draw_photographs(tmp_path / "photos", 1)
    config = job_with_engine(tmp_path)
    held = lease.acquire(open_storage(config.output.uri, config.storage))
    with pytest.raises(LeaseError):
        run(config)
    held.release()
    assert dear == []
