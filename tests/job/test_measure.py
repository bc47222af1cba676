"""What a job would cost, by a few of its images; nothing of the trial stays."""

import pytest
from rich.console import Console
from support.jobs import draw_photographs, job_config, run

from sam_batch.errors import ConfigError
from sam_batch.job import measure as module
from sam_batch.job.measure import measure
from sam_batch.job.status import dry_run


@pytest.fixture
def photos(tmp_path):
    draw_photographs(tmp_path / "photos", 12)
    return tmp_path / "photos"


def estimate(config, count=3, price=None):
    return measure(config, dry_run(config), count, price, Console(quiet=True))


def test_it_foresees_the_files_and_bytes_of_the_run(photos, tmp_path):
    config = job_config(photos, tmp_path / "out", generator={"max_masks_per_image": 2})
    found = estimate(config)
    assert (found.measured, found.failed, (tmp_path / "out").exists()) == (3, 0, False)
    run(config)
    for name in ("color_masks", "segments", "annotations", "metrics"):
        files = [path.stat().st_size for path in (tmp_path / "out" / name).rglob("*") if path.is_file()]
        assert found.files[name] == len(files)
    assert found.bytes["color_masks"] == pytest.approx(
        sum(path.stat().st_size for path in (tmp_path / "out/color_masks").iterdir()), rel=0.3
    )


@pytest.mark.parametrize(
    ("how", "engines", "seconds"),
    [({"executor": "inline"}, 1, 6.0), ({"executor": "ray"}, 1, 4.0), ({"executor": "ray", "actors": 4}, 4, 1.0)],
    ids=["inline", "ray", "four"],
)
def test_hours_are_those_of_all_stages_in_a_loop_and_of_the_engines_on_ray(
    photos, tmp_path, monkeypatch, how, engines, seconds
):
    receipt = module.Receipt(0, ok=1, load_seconds=1.5, segment_seconds=4.0, write_seconds=0.5)
    monkeypatch.setattr(module, "_label", lambda *_: [receipt] * 4)
    found = estimate(job_config(photos, tmp_path / "out", run=how), price=2.0)
    assert (found.engines, found.hours) == (engines, pytest.approx(12 * seconds / 3600))
    assert found.price == pytest.approx(found.hours * engines * 2.0)
    assert f"with {engines} engine{'s' * (engines > 1)} as here, price" in found.to_text()


def test_what_is_done_costs_nothing_more(photos, tmp_path):
    config = job_config(photos, tmp_path / "out")
    run(config)
    draw_photographs(photos, 1, first=12)
    assert estimate(config, count=2).files["color_masks"] == 1


def test_images_that_fail_are_said_and_if_all_do_there_is_no_estimate(photos, tmp_path):
    (photos / "000.jpg").write_bytes(b"")
    config = job_config(photos, tmp_path / "out")
    assert "measured on 2 images, 1 of which failed" in estimate(config, count=2).to_text()
    with pytest.raises(ConfigError, match="none of the images"):
        estimate(config, count=1)
