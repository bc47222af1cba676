"""The job on a local Ray: the same files as in a plain loop, and an answer to workers that die."""

import shutil
from types import SimpleNamespace

import pyarrow as pa
import pytest
from support.corpus import corpus
from support.jobs import FATAL_WIDTH, draw_hanging, draw_killer, draw_photographs, job_config, result_files, rows, run
from support.prompts import dataset, write

from sam_batch.data import listing
from sam_batch.engine.choice import FakeChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.errors import EngineError, JobError, StorageError
from sam_batch.job import outage
from sam_batch.job.executor import Lost
from sam_batch.job.pack import pack
from sam_batch.job.ray import cluster
from sam_batch.job.spec import JobSpec
from sam_batch.output import schema

# Ray leaves sockets and log files to its processes' end.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_here"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
RAY = {"executor": "ray"}


def test_ray_leaves_the_same_files_as_a_plain_loop(tmp_path, monkeypatch):
    monkeypatch.setattr("sam_batch.job.ray.executor.SHARDS_PER_ACTOR", 3)  # so that there are several streams
    draw_photographs(tmp_path / "photos", 10)
    (tmp_path / "photos" / "pages.tif").write_bytes(corpus()["tiff_pages.tif"][0])
    (tmp_path / "photos/bad.jpg").write_bytes(b"no picture")
    loose = {"max_failure_rate": 1.0}
    boxes = write(tmp_path / "boxes.json", dataset(6))  # of some of the images
    inline = run(job_config(tmp_path / "photos", tmp_path / "inline", run=loose, prompts=boxes))
    ray = run(job_config(tmp_path / "photos", tmp_path / "ray", run=RAY | loose, prompts=boxes))
    assert (ray.exit_code, ray.done, ray.status) == (0, 12, inline.status)
    assert ray.prompts == inline.prompts == {"ok": 12}
    assert ray.pixel_notes == inline.pixel_notes == {"pages_dropped": 1}
    assert result_files(tmp_path / "ray") == result_files(tmp_path / "inline")


def test_ray_draws_what_was_switched_on_as_a_plain_loop_does(tmp_path, monkeypatch):
    monkeypatch.setattr("sam_batch.job.ray.executor.SHARDS_PER_ACTOR", 1)  # so that there are two streams
    draw_photographs(tmp_path / "photos", 6)
    later = {"label_masks": {"enabled": True}, "color_masks": {"over_image": True}}
    for name, how in (("inline", {}), ("ray", RAY)):
        run(job_config(tmp_path / "photos", tmp_path / name, output={"color_masks": {"enabled": False}}))
        summary = run(job_config(tmp_path / "photos", tmp_path / name, output=later, run=how))
        assert (summary.exit_code, summary.worked) == (0, 0)
    assert result_files(tmp_path / "ray") == result_files(tmp_path / "inline")


@pytest.fixture
def single_try(ray_here, monkeypatch):
    """Ray gives up on a shard at once: each worker that is started anew takes seconds to import torch."""
    from sam_batch.job.ray import executor

    monkeypatch.setattr(executor, "RETRIES", 0)
    monkeypatch.setitem(executor._TASK, "max_retries", 0)


@pytest.mark.slow  # each death costs the import of torch in another worker
@pytest.mark.usefixtures("single_try")
def test_an_image_that_kills_its_worker_costs_one_row(tmp_path):
    draw_photographs(tmp_path / "photos", 4)
    draw_killer(tmp_path / "photos/003-killer.png")
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY | {"max_failure_rate": 0.3}))
    assert (report.exit_code, report.failures) == (0, {"worker_crash": 1})
    assert [row["key"] for row in rows(tmp_path / "out") if row["status"] == "failed"] == ["003-killer.png"]


@pytest.mark.slow
@pytest.mark.usefixtures("single_try")
def test_a_shard_of_images_that_kill_their_worker_costs_their_rows_alone(tmp_path):
    draw_photographs(tmp_path / "photos", 2)
    for name in ("a-killer.png", "b-killer.png"):
        draw_killer(tmp_path / "photos" / name)
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY | {"shard_size": 2}))
    assert (report.exit_code, report.failures) == (3, {"worker_crash": 2})
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok", "ok", "failed", "failed"]


@pytest.mark.slow
def test_an_image_that_kills_its_writer_costs_one_row(tmp_path):
    draw_photographs(tmp_path / "photos", 3)
    draw_photographs(tmp_path / "photos", 1, size=(FATAL_WIDTH, 48), first=3)
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY))
    assert (report.exit_code, report.failures) == (3, {"worker_crash": 1})
    assert [row["error"] and row["error"]["stage"] for row in rows(tmp_path / "out")] == [None, None, None, "write"]
    assert [path.name for path in sorted((tmp_path / "out/color_masks").iterdir())] == [
        f"{number:03}.jpg.png" for number in range(3)
    ]


def test_a_store_that_goes_away_is_waited_for_and_makes_no_rows(tmp_path, monkeypatch):
    photos, away = tmp_path / "photos", tmp_path / "away"
    list_images = listing.list_images

    def list_and_lose(*arguments, **options):
        listed = list_images(*arguments, **options)
        photos.rename(away)
        return listed

    draw_photographs(photos, 40)
    monkeypatch.setattr(listing, "list_images", list_and_lose)
    monkeypatch.setattr(outage.Patience, "wait", lambda *_: away.rename(photos))
    report = run(job_config(photos, tmp_path / "out", run=RAY))
    assert (report.exit_code, report.done, report.status) == (0, 40, {"ok": 40})


@pytest.mark.slow  # four workers are waited for and replaced
def test_an_image_that_workers_hang_on_costs_one_row(tmp_path, monkeypatch):
    from sam_batch.job.ray import executor

    monkeypatch.setattr(executor, "RETRIES", 1)
    draw_photographs(tmp_path / "photos", 5)
    draw_hanging(tmp_path / "photos/003-hanging.png")
    short = {"max_failure_rate": 0.2, "image_timeout_seconds": 5}
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY | short))
    assert (report.exit_code, report.failures) == (0, {"timed_out": 1})
    (failed,) = [row for row in rows(tmp_path / "out") if row["status"] == "failed"]
    assert (failed["key"], failed["error"]["stage"], failed["height"]) == ("003-hanging.png", "segment", 48)


@pytest.mark.parametrize(
    ("local", "cpus", "actors", "slots"), [(True, 8, 1, 0), (False, 8, 2, 1), (False, 4, 2, 1), (False, 2, 2, 0)]
)
def test_engines_leave_two_cpus_to_loaders_and_writers(local, cpus, actors, slots):
    from sam_batch.job.ray.executor import RayExecutor

    assert RayExecutor(cluster.Resources(cpus, 0, 2, local))._slots(actors) == slots


@pytest.mark.parametrize(("memory", "asked"), [(0, {}), (1 << 30, {"memory": 1 << 30})])
def test_tasks_ask_for_the_memory_of_their_pixels(memory, asked):
    from sam_batch.job.ray.executor import _TASK, RayExecutor

    on_cluster = RayExecutor(cluster.Resources(8, 0, 2, is_local=False, task_memory=memory))
    assert on_cluster._task() == _TASK | asked


@pytest.mark.parametrize(
    ("actors", "most", "pool"), [("auto", None, (2, 2)), ("auto", 8, (2, 8)), (3, None, (3, 3)), (1, 4, (1, 4))]
)
def test_a_pool_has_a_least_and_a_most(actors, most, pool):
    from sam_batch.job.ray.executor import RayExecutor

    config = job_config("in", "out", run={"actors": actors, "max_actors": most})
    job = JobSpec(config, FAKE, FakeChoice())
    assert RayExecutor(cluster.Resources(8, 0, 2, is_local=False))._pool(job) == pool


@pytest.mark.slow
@pytest.mark.usefixtures("single_try")
def test_if_no_image_survives_the_job_says_so(tmp_path):
    (tmp_path / "photos").mkdir()
    draw_killer(tmp_path / "photos/a.png")
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY))
    assert report.exit_code == 1
    assert "every worker died" in report.error


@pytest.fixture
def job(tmp_path):
    draw_photographs(tmp_path / "photos", 3, first=1)
    draw_killer(tmp_path / "photos/000.jpg")
    alone = {"actors": 1, "stall_timeout_seconds": 90}
    return JobSpec(job_config(tmp_path / "photos", tmp_path / "out", run=alone), FAKE, FakeChoice())


@pytest.fixture
def isolated(ray_here, job):
    from sam_batch.job.ray.executor import RayExecutor

    return RayExecutor(ray_here).isolated(job, again=False)


def planned(job, number):
    row = {"shard": 0, "image_id": number, "key": f"{number}", "uri": f"{job.config.input.uri}/{number:03}.jpg"}
    return pa.Table.from_pylist([row], schema=schema.PLAN_SCHEMA)


def test_a_single_image_is_segmented_drawn_and_written_by_workers(job, isolated, tmp_path):
    (segmented,) = isolated.segment([planned(job, 1)])
    assert isolated.can_draw(segmented)
    assert not (tmp_path / "out").exists()
    assert isolated.write(segmented).ok == 1
    shutil.rmtree(tmp_path / "out/annotations")
    (tmp_path / "out/annotations").write_text("no folder")
    with pytest.raises(StorageError):
        isolated.write(segmented)


@pytest.mark.usefixtures("single_try")
def test_a_broken_engine_ends_its_worker_and_leaves_its_last_words(job, ray_here):
    import ray

    from sam_batch.job.ray import executor

    def break_down(row, last_words):
        actor = executor.SegmentActor(job, 1, last_words)
        actor.segment = broken
        actor(row)

    def broken(table, renew):
        raise EngineError("cuda failed")

    last_words = ray.remote(num_cpus=0)(executor.LastWords).remote()
    assert executor.in_a_worker(job, break_down, pack(planned(job, 5)), last_words) is None
    assert ray.get(last_words.all.remote()) == {5: "EngineError: cuda failed"}


@pytest.mark.slow
def test_an_actor_outlives_every_death_its_images_can_cause(job, isolated, monkeypatch):
    from sam_batch.job.ray import executor

    monkeypatch.setattr(executor, "WORKER_RESTARTS", 0)
    *segmented, lost = isolated.segment([planned(job, number) for number in range(4)])
    assert sorted(table["image_id"][0].as_py() for table in segmented) == [1, 2, 3]
    assert lost == Lost(0, "")


@pytest.fixture
def ended_by(monkeypatch):
    """The answer of a task that ends with these errors of Ray's, one after the other; and the living nodes then."""
    from sam_batch.job.ray import executor

    def end(*errors, nodes=()):
        def get(task, timeout):
            raise next(left)

        left, alive = iter(errors), iter(nodes)
        monkeypatch.setattr(executor.ray, "get", get)
        monkeypatch.setattr(executor.ray, "remote", lambda **options: lambda work: SimpleNamespace(remote=work))
        monkeypatch.setattr(executor.ray, "nodes", lambda: [{"NodeID": "a", "Alive": next(alive, False)}])
        return executor.in_a_worker(JobSpec(job_config("in", "out"), FAKE, None), lambda: None)

    return end


def test_a_task_without_memory_has_no_answer_and_one_that_hangs_ends_the_job(ended_by):
    from ray.exceptions import GetTimeoutError, OutOfMemoryError

    assert ended_by(OutOfMemoryError("killed")) is None
    with pytest.raises(JobError, match="stall_timeout_seconds"):
        ended_by(GetTimeoutError("not ready"))


def test_a_task_that_is_lost_with_its_node_is_tried_again_and_not_for_ever(ended_by):
    from ray.exceptions import NodeDiedError, WorkerCrashedError

    lost = [NodeDiedError("gone"), WorkerCrashedError()]  # and the second is dead afterwards, as Ray says
    assert ended_by(*lost, WorkerCrashedError(), nodes=[True, True, False]) is None
    with pytest.raises(JobError, match="nodes were lost 20 times in a row"):
        ended_by(*[NodeDiedError("gone")] * 20)
