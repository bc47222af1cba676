"""What drivers and workers do alike; runs as a whole are in test_run and test_worker."""

import pytest
from rich.console import Console
from support.jobs import draw_photographs, job_config

from sam_batch.errors import OutputError, PermissionDeniedError
from sam_batch.job import steps
from sam_batch.job.ray.cluster import Resources


def test_an_output_that_cannot_be_held_is_refused():
    def refuse():
        raise PermissionDeniedError("cannot create /out/lease.json: Permission denied")

    with pytest.raises(OutputError, match=r"output\.uri: cannot be written: cannot create"), steps.held(refuse):
        pytest.fail("it is held")


def test_what_a_run_begins_with_is_opened_without_a_trace(tmp_path, capsys):
    draw_photographs(tmp_path / "photos", 2)
    storage, images, plan = steps.opened(job_config(tmp_path / "photos", tmp_path / "out"), Console())
    assert (len(images.listed.images), plan, storage.root) == (2, None, str(tmp_path / "out"))
    assert capsys.readouterr().out.startswith("input: 2 images")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("segments", "is_told"), [({}, True), ({"pack": "tar"}, False), ({"enabled": False}, False)], ids=str
)
def test_a_job_of_many_cutouts_is_told_how_to_have_fewer_files(tmp_path, monkeypatch, caplog, segments, is_told):
    monkeypatch.setattr(steps, "MANY_IMAGES", 2)
    draw_photographs(tmp_path / "photos", 2)
    config = job_config(tmp_path / "photos", tmp_path / "out", output={"segments": segments})
    steps.opened(config, Console(quiet=True))
    assert ("pack=tar makes one of a shard" in caplog.text) is is_told


@pytest.mark.parametrize(
    ("device", "most", "is_local", "waits"),
    [("cuda", 8, False, True), ("cuda", None, False, False), ("auto", 8, False, False), ("cuda", 8, True, False)],
)
def test_only_a_cluster_that_may_grow_is_asked_for_gpus_that_it_has_not(device, most, is_local, waits):
    config = job_config("in", "out", engine={"device": device}, run={"max_actors": most})
    assert steps._waits_for_gpus(config, Resources(8, 0, 2, is_local)) is waits
