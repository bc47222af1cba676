"""What every node is asked before any work, and what is said where one cannot do it."""

import io
import shutil
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from support.jobs import draw_photographs, job_config, run

from sam_batch.data.storage import open_storage
from sam_batch.data.storage_local import LocalFiles
from sam_batch.engine.choice import FakeChoice, TorchChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.errors import ConfigError, OutputError
from sam_batch.job import preflight
from sam_batch.job.decoders import Sandboxes
from sam_batch.job.executor import Answer
from sam_batch.job.spec import JobSpec
from sam_batch.model.checkpoints import ResolvedCheckpoint


@pytest.fixture
def job(tmp_path):
    draw_photographs(tmp_path / "photos", 2)
    return JobSpec(job_config(tmp_path / "photos", tmp_path / "out"), FAKE, FakeChoice())


@pytest.fixture
def check(job, tmp_path):
    """The preflight of a cluster whose nodes are this machine, but for what `looks` does before each looks."""

    def check(*looks, job=job):
        def on_nodes(work, asked, failed):
            return [Answer(f"node-{number}", look(work, asked)) for number, look in enumerate(looks)]

        cluster = SimpleNamespace(is_cluster=bool(looks), on_nodes=on_nodes)
        storage = open_storage(str(tmp_path / "out"), job.config.storage)
        images = sorted(map(str, (tmp_path / "photos").iterdir()))
        console = Console(file=io.StringIO(), width=500)
        preflight.check(job, storage, images, cluster, console)
        return console.file.getvalue()

    return check


def well(work, asked):
    return work(asked, 0)


def test_nodes_that_have_all_leave_nothing_behind(check, tmp_path):
    assert check(well, well) == "2 nodes can read, write and load what this job needs\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".tmp"]


def test_a_driver_of_its_own_machine_reads_back_what_it_writes(check, monkeypatch):
    assert check() == ""
    monkeypatch.setattr(LocalFiles, "read", lambda *_: b"another's")
    with pytest.raises(OutputError, match="out does not give back what is written into it"):
        check()


def test_a_node_that_sees_another_output_is_named(check, tmp_path):
    def elsewhere(work, asked):
        output = asked.job.config.output.model_copy(update={"uri": str(tmp_path / "own")})
        config = asked.job.config.model_copy(update={"output": output})
        return work(replace(asked, job=replace(asked.job, config=config)), 0)

    with pytest.raises(ConfigError, match=r"^1 of 2 nodes cannot .*: node-1: does not see what the driver writes into"):
        check(well, elsewhere)


def test_a_relative_output_is_shown_with_the_place_that_it_is_on_the_node(check, monkeypatch, tmp_path):
    def in_another_folder(work, asked):
        output = asked.job.config.output.model_copy(update={"uri": "out"})
        (tmp_path / "session").mkdir()
        monkeypatch.chdir(tmp_path / "session")
        config = asked.job.config.model_copy(update={"output": output})
        return work(replace(asked, job=replace(asked.job, config=config)), 0)

    with pytest.raises(ConfigError, match=rf"into out, which is {tmp_path}/session/out there; name an absolute path"):
        check(in_another_folder)


def test_a_node_whose_writes_do_not_arrive_is_named(check, tmp_path):
    def in_vain(work, asked):
        seen = work(asked, 0)
        (tmp_path / "out" / seen.probe).unlink()
        return seen

    with pytest.raises(ConfigError, match=r"node-0: what it writes into .*out does not come to the driver"):
        check(in_vain)


def test_a_node_without_the_input_is_named(check, tmp_path):
    def unmounted(work, asked):
        shutil.rmtree(tmp_path / "photos")
        return work(asked, 0)

    with pytest.raises(ConfigError, match=r"node-0: cannot read .*000\.jpg: No such file"):
        check(unmounted)


def test_a_node_on_which_nothing_can_be_decoded_is_named(check, monkeypatch):
    with closing(Sandboxes("support.decoding:nothing_of_that_name")) as broken:
        monkeypatch.setattr(preflight, "sandboxes", lambda: broken)
        with pytest.raises(ConfigError, match="node-0: the process that decodes images ended with exit code 1"):
            check(well)


def test_a_node_with_another_input_of_the_same_name_is_named(check, tmp_path):
    def other(work, asked):
        (tmp_path / "photos/000.jpg").write_bytes(b"another")
        return work(asked, 0)

    with pytest.raises(ConfigError, match=r"000\.jpg is another file than on the driver"):
        check(other)


def test_images_that_the_driver_cannot_read_are_asked_of_no_node(check, tmp_path):
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
        path.symlink_to("nowhere")
    assert check(well)


def test_a_node_without_the_weights_is_named(check, job, tmp_path):
    missing = ResolvedCheckpoint("vit_b", str(tmp_path / "vit_b.pth"), "0" * 64, 1024)
    with pytest.raises(ConfigError, match=r"node-0: .*vit_b\.pth: no such file"):
        check(well, job=replace(job, checkpoint=missing))


def test_a_node_with_another_package_is_named(check, monkeypatch):
    def outdated(work, asked):
        monkeypatch.setattr(preflight, "package_digest", lambda: "another")
        return work(asked, 0)

    with pytest.raises(ConfigError, match="node-1: has another sam-batch than the driver"):
        check(well, outdated)


def test_a_node_that_does_not_see_its_gpus_is_named(check, job, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    on_gpu = replace(job, engine=TorchChoice("fp16", "cuda"))
    assert check(lambda work, asked: work(asked, 1), job=on_gpu)
    with pytest.raises(ConfigError, match="node-0: Ray counts 2 GPUs and torch sees 1"):
        check(lambda work, asked: work(asked, 2), job=on_gpu)


def test_of_many_nodes_that_cannot_five_are_named(check):
    with pytest.raises(ConfigError, match=r"^7 of 7 nodes .*node-4: broken; and 2 more$"):
        check(*[lambda work, asked: preflight.Seen("broken")] * 7)


def test_probes_of_killed_runs_are_removed_and_refuse_no_output(job, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.preflight-0123").touch()
    assert run(job.config).exit_code == 0
    assert not list((tmp_path / "out").glob(".preflight-*"))
