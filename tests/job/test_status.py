"""What a run would do, and how far one has come; neither writes anything."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from support.jobs import draw_photographs, job_config, run

from sam_batch import configfile
from sam_batch.config import StorageConfig
from sam_batch.data.naming import Naming
from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError, FingerprintError, OutputError
from sam_batch.job.run import run_job
from sam_batch.job.status import Watch, dry_run, failed_images, status, would_be_removed
from sam_batch.output import lease
from sam_batch.output.plan import read_plan


@pytest.fixture
def config(tmp_path):
    draw_photographs(tmp_path / "photos", 5)
    return job_config(tmp_path / "photos", tmp_path / "out")  # shards of 4


def test_before_the_first_run_everything_is_to_do(config, tmp_path):
    found = dry_run(config)
    assert (len(found.listed.images), found.planned, found.new, found.shards, found.images_to_do) == (5, 0, 5, 2, 5)
    assert "no job has been planned" in status(config).to_text()
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_of_the_input_is_said_by_both(config, tmp_path):
    (tmp_path / "photos/a.mov").write_text("x")
    said = "input: 5 images, 0.0 MB; left out: 1 by extension (1 mov; input.extensions)"
    assert said in dry_run(config).to_text(None).splitlines()
    console = Console(record=True, quiet=False, file=io.StringIO(), width=60)
    run_job(config, console)
    assert said in console.export_text().splitlines()
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["input"] == {"images": 5, "left_out": {"by_extension": {"mov": 1}}}


def test_it_foresees_the_shards_that_a_run_makes_smaller_because_of_crops(tmp_path, config):
    crops = {"points_per_side": 3, "crop_n_layers": 2}
    large = {"name": "vit_b"}  # its views are; the fake engine needs no weights of it
    config = job_config(tmp_path / "photos", tmp_path / "out", generator=crops, run={"shard_size": 5}, model=large)
    foreseen = dry_run(config).shards
    run(config)
    assert read_plan(Storage(config.output.uri, config.storage)).rows["shard"].to_pylist() == [0, 0, 0, 0, 1]
    assert foreseen == 2


def test_a_rate_gives_the_time(config):
    assert "0.50 hours at 0.00277778 images/s" in dry_run(config).to_text(5 / 1800)
    assert "hours" not in dry_run(config).to_text(None)


def test_after_a_run_nothing_is_to_do_but_new_images(config, tmp_path):
    run(config)
    assert dry_run(config).images_to_do == 0
    draw_photographs(tmp_path / "photos", 1, first=5)
    found = dry_run(config)
    assert (found.planned, found.new, found.shards, found.shards_to_do, found.images_to_do) == (5, 1, 3, 1, 1)


def test_a_lost_part_is_to_do_again(config, tmp_path):
    run(config)
    (tmp_path / "out/annotations/part-00000.parquet").unlink()
    assert dry_run(config).images_to_do == 4
    assert "1 of 5 images, 1 of 2 shards done" in status(config).to_text()


def test_status_counts_what_is_done_and_why_images_failed(config, tmp_path):
    (tmp_path / "photos/bad.jpg").write_bytes(b"no image")
    run(config)
    text = status(config).to_text()
    assert "6 of 6 images" in text
    assert "1 failed\n  failed, not_an_image: 1" in text
    assert text.endswith("not running")


@pytest.fixture
def reads(monkeypatch):
    """The keys of what is read of the output from now on, sorted."""
    keys, read = [], Storage.read
    monkeypatch.setattr(Storage, "read", lambda self, key, *more: keys.append(key) or read(self, key, *more))

    def taken():
        found = sorted(key for key in keys if key.startswith(("plan/part", "metrics/", "annotations/")))
        keys.clear()
        return found

    return taken


def test_a_watch_reads_once_what_does_not_change(config, tmp_path, reads):
    run(config)
    Path(tmp_path, "out/summary.json").unlink()
    last = Path(tmp_path, "out/annotations/part-00001.parquet")
    part, watch = last.read_bytes(), Watch(config)
    last.unlink()
    reads()
    assert (watch.look(price=1.0).counts["ok"], reads()) == (4, ["metrics/part-00000.json", "plan/part-00000.parquet"])
    last.write_bytes(part)
    assert (watch.look().counts["ok"], reads()) == (5, ["metrics/part-00001.json"])
    assert (watch.look(price=1.0).counts["ok"], reads()) == (5, [])


def test_a_watch_sees_what_was_done_again_and_what_counts_no_more(config, tmp_path):
    bad, worse = tmp_path / "photos/bad.jpg", tmp_path / "photos/worse.jpg"
    bad.write_bytes(b"no image")
    worse.write_bytes(b"none either")
    run(config)
    watch = Watch(config)
    assert watch.look(price=1.0).failures == {"not_an_image": 2}
    draw_photographs(tmp_path / "new", 1)
    (tmp_path / "new/000.jpg").replace(bad)
    run(with_settings(config, run={"retry_failed": True}))
    Path(tmp_path, "out/summary.json").unlink()  # else its counts stand
    assert (watch.look().counts["ok"], watch.look().failures) == (6, {"not_an_image": 1})
    worse.unlink()
    run(config)
    Path(tmp_path, "out/summary.json").unlink()
    assert (watch.look().counts["ok"], watch.look().counts["failed"], watch.look().failures) == (6, 0, {})


def test_status_names_who_works_on_it(config, tmp_path):
    run(config)
    holding = lease.acquire(Storage(str(tmp_path / "out"), StorageConfig()))
    assert "running: process" in status(config).to_text()
    holding.release()
    assert status(config).to_text().endswith("not running")


def test_it_refuses_an_output_that_a_run_would_refuse(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds mine\.txt, but no plan"):
        dry_run(config)


def refusals(config):
    """What is said by a dry run, which leaves all as it is, and by a run."""
    for attempt in (dry_run, run):
        before = everything(config)
        with pytest.raises(ConfigError) as caught:
            attempt(config)
        assert attempt is run or everything(config) == before
        yield str(caught.value)


def everything(config):
    return {path: path.is_dir() or path.read_bytes() for path in Path(config.output.uri).parent.rglob("*")}


def put_another_image(config, tmp_path):
    run(config)
    draw_photographs(tmp_path / "new", 1, (30, 40), first=9)
    (tmp_path / "new/009.jpg").rename(tmp_path / "photos/002.jpg")
    return with_settings(config, input={"changed": "refuse"})


def take_a_name(config, tmp_path):
    run(config)
    draw_photographs(tmp_path / "photos", 1, first=9)
    (tmp_path / "out/color_masks/009.jpg.png").write_text("mine")


def name_images_alike(config, tmp_path):
    draw_photographs(tmp_path / "photos/A", 1)
    draw_photographs(tmp_path / "photos/a", 1)


def name_an_image_like_a_folder(config, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "photos/0.png")
    Path(tmp_path / "list.csv").write_text("uri,key\nphotos/000.jpg,a\nphotos/0.png,a/0.png\n")
    return with_settings(config, input={"uri": str(tmp_path / "list.csv")})


def ask_for_other_weights(config, tmp_path):
    run(with_settings(config, engine={"kind": "torch", "device": "cpu"}, input={"limit": 1}))
    (tmp_path / "mine.pth").write_bytes(b"mine")
    return with_settings(config, engine={"kind": "torch"}, model={"checkpoint": str(tmp_path / "mine.pth")})


def lose_the_weights(config, tmp_path):
    return with_settings(config, engine={"kind": "torch"}, model={"checkpoint": str(tmp_path / "gone.pth")})


def ask_for_another_precision(config, tmp_path):
    run(with_settings(config, engine={"kind": "torch", "precision": "fp32"}, input={"limit": 1}))
    return with_settings(config, engine={"kind": "torch", "precision": "bf16"})


def with_settings(config, **sections):
    return configfile.check(
        config.model_dump() | {name: getattr(config, name).model_dump() | section for name, section in sections.items()}
    )


REFUSED = {
    put_another_image: "input.changed: 1 image changed since they were labelled (002.jpg)",
    take_a_name: "color_masks/009.jpg.png is not of this job",
    name_images_alike: "takes for one what differs in upper and lower case",
    name_an_image_like_a_folder: "segments/a/0.png would be both a cut-out and a folder of cut-outs",
    lose_the_weights: "gone.pth: no such file; check model.checkpoint",
    ask_for_another_precision: 'engine.precision: there "fp32", now "bf16"',
}


@pytest.mark.parametrize(("arrange", "words"), REFUSED.items(), ids=[arrange.__name__ for arrange in REFUSED])
def test_it_refuses_what_a_run_refuses_in_the_same_words(config, tmp_path, monkeypatch, arrange, words):
    monkeypatch.setattr(Storage, "naming", lambda self: Naming(ignores_case=True))
    config = arrange(config, tmp_path) or config
    foreseen, said = refusals(config)
    assert words in foreseen
    assert foreseen == said


def test_it_refuses_other_weights_by_their_hash(config, tmp_path):
    with pytest.raises(FingerprintError, match=r"model\.sha256"):
        dry_run(ask_for_other_weights(config, tmp_path))


def test_it_refuses_an_output_that_another_driver_holds(config, tmp_path):
    holding = lease.acquire(Storage(str(tmp_path / "out"), StorageConfig()))
    foreseen, said = refusals(config)
    holding.release()
    assert "in use by process" in foreseen
    assert "in use by process" in said


def test_it_refuses_an_output_that_cannot_be_written(config, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match=r"output\.uri: cannot be written: .*/out: no right to"):
        dry_run(config)


def test_what_an_overwriting_run_refuses_its_list_refuses_too(config, tmp_path):
    run(config)
    take_a_name(config, tmp_path)
    for attempt in (would_be_removed, run):
        with pytest.raises(OutputError, match=r"color_masks/009\.jpg\.png is not of this job"):
            attempt(config, str(tmp_path / "out"))


def test_metrics_are_no_result_and_may_be_missing(config, tmp_path):
    run(config)
    (tmp_path / "out/metrics/part-00000.json").unlink()
    assert "5 of 5 images, 2 of 2 shards done" in status(config).to_text()  # as the run has counted them
    (tmp_path / "out/summary.json").unlink()
    assert "1 of 5 images, 2 of 2 shards done" in status(config).to_text()


def test_failed_images_are_listed_with_their_reasons(config, tmp_path):
    (tmp_path / "photos/bad, too.jpg").write_bytes(b"no image")
    run(config)
    (row,) = csv.DictReader("".join(failed_images(config)).splitlines())
    assert (row["key"], row["stage"], row["kind"]) == ("bad, too.jpg", "load", "not_an_image")
