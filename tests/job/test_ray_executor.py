"""The job on a local Ray: the same files as in a plain loop, and an answer to workers that die."""

import io
import os
import platform
from functools import partial
from types import SimpleNamespace

import pyarrow as pa
import pytest
from rich.console import Console
from support.corpus import corpus
from support.jobs import draw_killer, draw_photographs, job_config, result_files, rows, run

from sam_batch.engine.choice import FakeChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.errors import EngineError, JobError, StorageError
from sam_batch.job import cluster, outage
from sam_batch.job.spec import JobSpec
from sam_batch.output import schema

# Ray leaves sockets and log files to its processes' end.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
RAY = {"executor": "ray"}


@pytest.fixture
def environment():
    """What Ray reads at its import, for tests that import it before the job does."""
    with cluster.environment(verbose=False, is_local=True):
        yield


def test_ray_leaves_the_same_files_as_a_plain_loop(tmp_path):
    draw_photographs(tmp_path / "photos", 10)
    (tmp_path / "photos" / "pages.tif").write_bytes(corpus()["tiff_pages.tif"][0])
    (tmp_path / "photos/bad.jpg").write_bytes(b"no picture")
    loose = {"max_failure_rate": 1.0}
    inline = run(job_config(tmp_path / "photos", tmp_path / "inline", run=loose))
    ray = run(job_config(tmp_path / "photos", tmp_path / "ray", run=RAY | loose))
    assert (ray.exit_code, ray.done, ray.status) == (0, 12, inline.status)
    assert ray.pixel_notes == inline.pixel_notes == {"pages_dropped": 1}
    assert result_files(tmp_path / "ray") == result_files(tmp_path / "inline")


def test_an_image_that_kills_its_worker_costs_one_row(tmp_path):
    draw_photographs(tmp_path / "photos", 8)
    draw_killer(tmp_path / "photos/003-killer.png")
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY | {"max_failure_rate": 0.2}))
    assert (report.exit_code, report.failures) == (0, {"worker_crash": 1})
    assert [row["key"] for row in rows(tmp_path / "out") if row["status"] == "failed"] == ["003-killer.png"]


@pytest.mark.slow
def test_a_shard_of_images_that_kill_their_worker_costs_their_rows_alone(tmp_path):
    draw_photographs(tmp_path / "photos", 2)
    for name in ("a-killer.png", "b-killer.png"):
        draw_killer(tmp_path / "photos" / name)
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY | {"shard_size": 2}))
    assert (report.exit_code, report.failures) == (3, {"worker_crash": 2})
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok", "ok", "failed", "failed"]


@pytest.mark.slow
def test_an_image_that_kills_its_writer_costs_one_row(tmp_path, monkeypatch, environment):
    def die_of_one_image():
        from sam_batch.output import render

        draw = render.color_mask

        def color_mask(image, masks, height, width):
            return os._exit(1) if width == 99 else draw(image, masks, height, width)

        render.color_mask = color_mask

    draw_photographs(tmp_path / "photos", 3)
    draw_photographs(tmp_path / "photos", 1, size=(99, 48), first=3)
    import ray

    hook = {"worker_process_setup_hook": die_of_one_image}
    monkeypatch.setattr(ray, "init", partial(ray.init, runtime_env=hook))
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY))
    assert (report.exit_code, report.failures) == (3, {"worker_crash": 1})
    assert [row["error"] and row["error"]["stage"] for row in rows(tmp_path / "out")] == [None, None, None, "write"]
    assert [path.name for path in sorted((tmp_path / "out/color_masks").iterdir())] == [
        f"{number:03}.jpg.png" for number in range(3)
    ]


def test_a_store_that_goes_away_is_waited_for_and_makes_no_rows(tmp_path, monkeypatch, environment):
    gone = tmp_path / "gone"

    def read_nothing_while_it_is_gone():
        from sam_batch.data.storage_local import LocalFiles

        read = LocalFiles.read

        def read_or_fail(self, name, max_bytes=None):
            if gone.exists() and name.endswith(".jpg"):
                raise OSError(5, "injected")
            return read(self, name, max_bytes)

        LocalFiles.read = read_or_fail

    draw_photographs(tmp_path / "photos", 40)
    gone.touch()
    import ray

    hook = {"worker_process_setup_hook": read_nothing_while_it_is_gone}
    monkeypatch.setattr(ray, "init", partial(ray.init, runtime_env=hook))
    monkeypatch.setattr(outage.Patience, "wait", lambda *_: gone.unlink())
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY))
    assert (report.exit_code, report.done, report.status) == (0, 40, {"ok": 40})


def test_if_no_image_survives_the_job_says_so(tmp_path):
    (tmp_path / "photos").mkdir()
    draw_killer(tmp_path / "photos/a.png")
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run=RAY))
    assert report.exit_code == 1
    assert "every worker died" in report.error


@pytest.fixture
def with_gpu(monkeypatch, environment):
    """A Ray of this machine that believes in a GPU."""
    import ray

    monkeypatch.setattr(ray, "init", partial(ray.init, num_gpus=1))
    return ray


@pytest.fixture
def executor(with_gpu):
    with cluster.connected() as resources:
        from sam_batch.job.ray_executor import RayExecutor

        yield RayExecutor(resources)


def test_work_on_gpus_runs_once_on_each_node_that_has_one(with_gpu, executor):
    def place(greeting, console):
        assert console is None
        return f"{greeting} {with_gpu.get_runtime_context().get_node_id()} {len(with_gpu.get_gpu_ids())}"

    (node,) = with_gpu.nodes()
    found = executor.on_gpus(place, "on", console=Console(quiet=True), wait_seconds=60)
    assert found == [(node["NodeManagerHostname"], f"on {node['NodeID']} 1")]


def test_work_on_gpus_that_raises_names_the_node(executor):
    def fail(console):
        raise EngineError("it is broken")

    with pytest.raises(JobError, match=f"^{platform.node()}: it is broken$"):
        executor.on_gpus(fail, console=Console(quiet=True), wait_seconds=60)


def test_a_gpu_that_another_job_holds_is_waited_for_and_not_for_ever(with_gpu, executor, monkeypatch):
    from sam_batch.job import ray_executor

    monkeypatch.setattr(ray_executor, "SOON", 0.1)
    console = Console(file=io.StringIO(), width=500)
    other = with_gpu.remote(num_gpus=1, num_cpus=0)(ray_executor._OnGpu).remote()
    with_gpu.get(other.__ray_ready__.remote())
    with pytest.raises(JobError, match=f"no GPU came free within 1 s on {platform.node()}; .*stall_timeout_seconds"):
        executor.on_gpus(lambda console: "", console=console, wait_seconds=1)
    assert f"waiting for a GPU, which another job may hold: {platform.node()}" in console.file.getvalue()
    with_gpu.kill(other)
    (answer,) = executor.on_gpus(lambda console: "it is ours", console=console, wait_seconds=60)
    assert answer.text == "it is ours"


def test_one_node_of_each_kind_of_gpu_goes_first(with_gpu, monkeypatch):
    from sam_batch.job import ray_executor

    waves = []

    def node(name, alive=True, **resources):
        return {"NodeID": name, "Alive": alive, "Resources": resources}

    def answers(asked, console, wait_seconds):
        waves.append(sorted(asked))
        return asked

    h100, a100 = {"GPU": 8.0, "accelerator_type:H100": 1.0}, {"GPU": 1.0, "accelerator_type:A100": 1.0}
    nodes = [node("a", **h100), node("b", CPU=4.0), node("c", **h100), node("d", **a100), node("e", False, **h100)]
    monkeypatch.setattr(with_gpu, "nodes", lambda: nodes)
    monkeypatch.setattr(ray_executor, "_Asked", lambda node, work, arguments: node["NodeID"])
    monkeypatch.setattr(ray_executor, "_answers", answers)
    executor = ray_executor.RayExecutor(cluster.Resources(4, 9, 4, is_local=False))
    found = executor.on_gpus(str.upper, "on", console=Console(quiet=True), wait_seconds=60)
    assert waves == [["a", "d"], ["c"]]
    assert sorted(found) == ["a", "c", "d"]


def test_a_worker_that_dies_answers_nothing_and_leaves_its_last_words(tmp_path):
    draw_photographs(tmp_path / "photos", 1)
    job = JobSpec(job_config(tmp_path / "photos", tmp_path / "out"), FAKE, FakeChoice())
    planned = {"shard": 0, "image_id": 5, "key": "000.jpg", "uri": str(tmp_path / "photos/000.jpg")}
    with cluster.connected() as resources:
        from sam_batch.job import ray_executor

        def break_down(row, last_words):
            actor = ray_executor._SegmentActor(job, 1, last_words)
            actor._segment = Broken()
            actor(row)

        class Broken:
            def __call__(self, table):
                raise EngineError("cuda failed")

        executor = ray_executor.RayExecutor(resources)
        image = pa.Table.from_pylist([planned], schema=schema.PLAN_SCHEMA)
        (segmented,) = executor.segment_one_by_one(job, [image])
        assert executor.last_words() == {}
        assert ray_executor._in_a_worker(job, break_down, ray_executor._pack(image), executor._last_words) is None
        assert executor.last_words() == {5: "EngineError: cuda failed"}
        assert executor.can_draw(job, segmented)
        assert not (tmp_path / "out").exists()
        assert executor.write(job, segmented, again=False).ok == 1
        (tmp_path / "out/annotations/part-00000.parquet").unlink()
        with pytest.raises(StorageError):
            executor.write(job, segmented, again=True)


@pytest.mark.slow
def test_an_actor_outlives_every_death_its_images_can_cause(tmp_path, monkeypatch):
    draw_photographs(tmp_path / "photos", 3, first=1)
    draw_killer(tmp_path / "photos/000.jpg")
    alone = {"actors": 1, "stall_timeout_seconds": 90}
    config = job_config(tmp_path / "photos", tmp_path / "out", run=alone)
    job = JobSpec(config, FAKE, FakeChoice())
    images = [
        {"shard": 0, "image_id": number, "key": f"{number}", "uri": str(tmp_path / f"photos/{number:03}.jpg")}
        for number in range(4)
    ]
    with cluster.connected() as resources:
        from sam_batch.job import ray_executor

        monkeypatch.setattr(ray_executor, "WORKER_RESTARTS", 0)
        tables = [pa.Table.from_pylist([image], schema=schema.PLAN_SCHEMA) for image in images]
        segmented = ray_executor.RayExecutor(resources).segment_one_by_one(job, tables)
        assert sorted(table["image_id"][0].as_py() for table in segmented) == [1, 2, 3]


@pytest.fixture
def ended_by(monkeypatch, environment):
    """The answer of a task that ends with an error of Ray's, without a Ray."""
    from sam_batch.job import ray_executor

    def end(error):
        def get(task, timeout):
            raise error

        monkeypatch.setattr(ray_executor.ray, "get", get)
        monkeypatch.setattr(ray_executor.ray, "remote", lambda **options: lambda work: SimpleNamespace(remote=work))
        return ray_executor._in_a_worker(JobSpec(job_config("in", "out"), FAKE, None), lambda: None)

    return end


def test_a_task_without_memory_has_no_answer_and_one_that_hangs_ends_the_job(ended_by):
    from ray.exceptions import GetTimeoutError, OutOfMemoryError

    assert ended_by(OutOfMemoryError("killed")) is None
    with pytest.raises(JobError, match="stall_timeout_seconds"):
        ended_by(GetTimeoutError("not ready"))


def test_a_stream_in_which_nothing_moves_ends_the_job_in_one_sentence(environment):
    from ray.data.exceptions import ExecutionTimeoutError

    from sam_batch.job import ray_executor

    with pytest.raises(JobError, match=r"no shard moved within run\.stall_timeout_seconds"), ray_executor._explained():
        raise ExecutionTimeoutError("no progress")
