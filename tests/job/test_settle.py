import errno
import io
import platform
import shutil
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from support.jobs import draw_photographs, job_config
from support.tensorrt_engines import CHECKPOINT

from sam_batch.engine import factory
from sam_batch.engine.choice import FakeChoice, TorchChoice
from sam_batch.engine.tensorrt.plans import Record
from sam_batch.errors import (
    ConfigError,
    EngineError,
    EngineFileError,
    InputError,
    JobError,
    NotFoundError,
    PermissionDeniedError,
    UnverifiedError,
)
from sam_batch.job import settle
from sam_batch.job.executor import Answer, InlineExecutor
from sam_batch.job.settle import Verdict
from sam_batch.prompts.needs import Needs

TORCH = TorchChoice("fp16", "cuda")


@pytest.fixture
def config(tmp_path):
    draw_photographs(tmp_path / "photos", 4)

    def make(**engine):
        tensorrt = {"folder": str(tmp_path / "engines")} | engine.pop("tensorrt", {})
        engine = {"kind": "auto", "tensorrt": tensorrt} | engine
        return job_config(tmp_path / "photos", tmp_path / "out", engine=engine)

    return make


@pytest.fixture
def console():
    return Console(record=True, width=500, file=io.StringIO())


FIGURES = "2 photographs: embedding cosine 1"
FOUND = SimpleNamespace(to_text=lambda: FIGURES)


class Answers:
    """In the place of an executor: the answers of its nodes, gpu-0 and so on."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    def on_gpus(self, work, *arguments, console, wait_seconds):
        self.asked += 1
        assert wait_seconds == 7200  # run.stall_timeout_seconds
        return [Answer(f"gpu-{number}", Verdict(fault, FIGURES)) for number, fault in enumerate(self.answers)]


@pytest.fixture
def built(tmp_path):
    """Some plan lies in the folder."""
    (tmp_path / "engines/plans").mkdir(parents=True)
    (tmp_path / "engines/plans/a.json").write_text('{"name":"a","key":{},"sha256":"","size":1,"seconds":1}')
    return Record("a", {}, "", 1, 1)


class TestSettle:
    def test_auto_is_tensorrt_where_every_node_is_ready_and_says_so(self, config, console, built):
        choice = settle.settle(config(), CHECKPOINT, TORCH, Answers("", ""), console)
        assert (choice.kind, choice.precision, choice.device) == ("tensorrt", "fp16", "cuda")
        assert choice.verified == FIGURES
        assert "engine: TensorRT" in console.export_text()

    def test_a_job_with_prompts_is_for_engines_that_take_any(self, config, console, built):
        asked = config()
        prompts = asked.prompts.model_copy(update={"uri": "boxes.json"})
        asked = asked.model_copy(update={"prompts": prompts})
        assert settle.settle(asked, CHECKPOINT, TORCH, Answers(""), console).prompts
        assert not settle.settle(config(), CHECKPOINT, TORCH, Answers(""), console).prompts

    def test_auto_is_torch_where_one_node_is_not_and_says_why(self, config, console, built):
        choice = settle.settle(config(), CHECKPOINT, TORCH, Answers("", "not verified"), console)
        assert choice == TORCH
        assert "engine: torch, since TensorRT cannot be used: gpu-1: not verified" in console.export_text()

    def test_tensorrt_stops_where_one_node_is_not_ready(self, config, console):
        asked = config(kind="tensorrt")
        with pytest.raises(EngineFileError, match=r"^gpu-1: no plan$"):
            settle.settle(asked, CHECKPOINT, factory.resolve(asked.engine, False), Answers("", "no plan"), console)

    def test_tensorrt_stops_where_no_node_has_a_gpu(self, config, console):
        asked = config(kind="tensorrt")
        with pytest.raises(EngineFileError, match="no GPU was found"):
            settle.settle(asked, CHECKPOINT, factory.resolve(asked.engine, False), Answers(), console)

    @pytest.mark.parametrize(
        ("engine", "choice"),
        [
            ({"kind": "torch"}, TORCH),
            ({"kind": "fake"}, FakeChoice()),
            ({}, TorchChoice("fp32", "cpu")),
            ({"precision": "bf16"}, TorchChoice("bf16", "cuda")),
        ],
    )
    def test_no_node_is_asked_where_tensorrt_cannot_be_meant(self, config, console, built, engine, choice):
        executor = Answers("")
        assert settle.settle(config(**engine), CHECKPOINT, choice, executor, console) == choice
        assert (executor.asked, console.export_text()) == (0, "")

    def test_prompts_that_tensorrt_cannot_take_are_a_reason_for_torch_or_refused_by_key(self, config, console, built):
        asked, many = config(kind="tensorrt"), Needs(2, 19, masks=False)
        assert settle.settle(config(), CHECKPOINT, TORCH, Answers(""), console, many) == TORCH
        assert (
            "engine: torch, since tensorrt engines take prompts of 2 tokens, these have 2 to 19"
            in console.export_text()
        )
        with pytest.raises(ConfigError, match=r"^engine\.kind: .* these have 2 to 19.*set prompts\.use=\[box\]"):
            settle.settle(asked, CHECKPOINT, factory.resolve(asked.engine, False), Answers(""), console, many)
        few = Needs(2, 2, masks=False)
        assert settle.settle(config(), CHECKPOINT, TORCH, Answers(""), console, few).kind == "tensorrt"

    def test_auto_asks_no_node_before_anything_was_built_unless_it_may_build(self, config, console):
        for build, asked in (("never", 0), ("on_start", 1)):
            executor = Answers("")
            settle.settle(config(tensorrt={"build": build}), CHECKPOINT, TORCH, executor, console)
            assert executor.asked == asked

    def test_a_plain_loop_asks_this_machine(self, config, console, monkeypatch):
        def none(flavour):
            raise ConfigError("no GPU here")

        monkeypatch.setattr(settle.tensorrt_host, "find_host", none)
        asked = config(kind="tensorrt")
        with pytest.raises(EngineFileError, match="no GPU here"):
            settle.settle(asked, CHECKPOINT, factory.resolve(asked.engine, False), InlineExecutor(pytest.fail), console)

    def test_what_the_disk_refuses_is_a_reason_for_torch(self, config, console, built, monkeypatch):
        def refuse(*_):
            raise PermissionError(errno.EACCES, "Permission denied", "engines")

        monkeypatch.setattr(settle, "engine_set", refuse)
        assert settle.settle(config(), CHECKPOINT, TORCH, InlineExecutor(pytest.fail), console) == TORCH
        assert f"{platform.node()}: [Errno 13] Permission denied: 'engines'" in console.export_text()


class TestPhotographs:
    def test_the_first_readable_ones_at_the_models_side(self, config, tmp_path):
        (tmp_path / "photos/0-broken.jpg").write_bytes(b"no picture")
        found = settle.photographs(config(tensorrt={"verify": {"images": 3}}), image_side=128)
        assert [one.shape for one in found] == [(96, 128, 3)] * 3
        assert len({one.tobytes() for one in found}) == 3
        assert found[0].dtype == np.uint8

    @pytest.mark.parametrize("error", [NotFoundError, PermissionDeniedError])
    def test_one_that_vanished_or_is_closed_to_us_is_passed_over(self, config, monkeypatch, error):
        read = settle.read_uri

        def refuse_the_first(uri, *arguments):
            if uri.endswith("000.jpg"):
                raise error(uri)
            return read(uri, *arguments)

        monkeypatch.setattr(settle, "read_uri", refuse_the_first)
        assert len(settle.photographs(config(tensorrt={"verify": {"images": 9}}), image_side=128)) == 3

    def test_where_none_can_be_read_it_gives_up_after_some(self, config, monkeypatch):
        tried = []

        def refuse(uri, *_):
            tried.append(uri)
            raise PermissionDeniedError(uri)

        monkeypatch.setattr(settle, "TRIED", 2)
        monkeypatch.setattr(settle, "read_uri", refuse)
        with pytest.raises(InputError, match="none of its first 2 images can be read"):
            settle.photographs(config(), image_side=128)
        assert len(tried) == 2

    def test_fewer_than_asked_for_are_enough_and_none_is_an_error(self, config, tmp_path):
        assert len(settle.photographs(config(tensorrt={"verify": {"images": 9}}), image_side=128)) == 4
        for path in (tmp_path / "photos").iterdir():
            path.write_bytes(b"")
        with pytest.raises(InputError, match="verified on some"):
            settle.photographs(config(), image_side=128)


def test_an_input_without_photographs_shows_before_anything_is_built(config, console, tmp_path, monkeypatch, host):
    monkeypatch.setattr(settle.tensorrt_host, "find_host", lambda flavour: host)
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
    with pytest.raises(InputError):
        settle.build(config(), CHECKPOINT, console)
    assert not (tmp_path / "engines").exists()


class TestBuild:
    """What is asked of engines that are imagined."""

    @pytest.fixture
    def imagined(self, monkeypatch):
        """Builds nothing; `answers` is what `require_verified` returns or raises, one after the other."""
        made = SimpleNamespace(answers=[], build=lambda console, rebuild: [])

        def require_verified():
            answer = made.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        made.require_verified = require_verified
        monkeypatch.setattr(settle, "engine_set", lambda *_: made)
        return made

    def test_engines_that_are_ready_need_no_input(self, config, console, imagined, tmp_path):
        shutil.rmtree(tmp_path / "photos")
        imagined.answers = ["ready"]
        assert settle.build(config(), CHECKPOINT, console) == "ready"
        with pytest.raises(InputError):
            settle.build(config(), CHECKPOINT, console, rebuild="again")

    @pytest.mark.parametrize(
        "fault", [EngineFileError("no plans"), ConfigError("no graphs"), EngineError("damaged graphs")]
    )
    def test_what_another_has_built_and_verified_meanwhile_is_taken(self, config, console, imagined, fault):
        imagined.answers = [fault, "ready"]
        assert settle.build(config(), CHECKPOINT, console) == "ready"


class TestFirstUse:
    """Engines that were built elsewhere, or by a build that was cut off."""

    @pytest.fixture
    def imagined(self, monkeypatch):
        made = SimpleNamespace(verified=False, pictures=0)

        def require_verified():
            if not made.verified:
                raise UnverifiedError("not verified on Stand-in")
            return FOUND

        def verify(pictures, thresh):
            made.verified, made.pictures = True, len(pictures)
            return FOUND

        made.require_verified, made.verify = require_verified, verify
        monkeypatch.setattr(settle, "engine_set", lambda *_: made)
        return made

    def test_they_are_verified_once_before_a_job_uses_them(self, config, console, imagined):
        asked = config(kind="tensorrt")
        for pictures in (2, 0):
            imagined.pictures = 0
            choice = factory.resolve(asked.engine, False)
            settled = settle.settle(asked, CHECKPOINT, choice, InlineExecutor(pytest.fail), console)
            assert (settled.kind, settled.verified) == ("tensorrt", FIGURES)
            assert imagined.pictures == pictures
        assert "compared with torch in float32 before its first use" in console.export_text()

    def test_those_that_fail_are_not_used(self, config, console, imagined, monkeypatch):
        def fail(pictures, thresh):
            raise EngineFileError("differ too much from torch")

        monkeypatch.setattr(imagined, "verify", fail)
        asked = config(kind="tensorrt")
        with pytest.raises(EngineFileError, match="differ too much"):
            settle.settle(asked, CHECKPOINT, factory.resolve(asked.engine, False), InlineExecutor(pytest.fail), console)


class TestCluster:
    @pytest.fixture
    def nodes(self, monkeypatch):
        """What the nodes of an imagined cluster answer."""
        executor = Answers()
        monkeypatch.setattr(settle, "connected", lambda *_: nullcontext())
        imagined = SimpleNamespace(RayExecutor=lambda resources: executor)
        monkeypatch.setitem(sys.modules, "sam_batch.job.ray.executor", imagined)
        return executor.answers

    def test_all_nodes_ready_is_success(self, config, nodes, console):
        nodes += ["", ""]
        settle.build_on_cluster(config(), CHECKPOINT, console)

    def test_a_node_that_is_not_ready_is_named_with_its_reason(self, config, nodes, console):
        nodes += ["", "out of memory"]
        with pytest.raises(JobError, match="1 of 2 nodes cannot use TensorRT: gpu-1: out of memory"):
            settle.build_on_cluster(config(), CHECKPOINT, console)

    def test_all_nodes_take_part_in_one_rebuild(self, config, nodes, console, monkeypatch):
        def call_twice(executor, work, *arguments, **_):
            return [Answer(node, work(*arguments, console=None)) for node in ("gpu-0", "gpu-1")]

        told = []

        def build(*_, rebuild):
            told.append(rebuild)
            return FOUND

        monkeypatch.setattr(Answers, "on_gpus", call_twice)
        monkeypatch.setattr(settle, "build", build)
        settle.build_on_cluster(config(), CHECKPOINT, console, rebuild="again")
        assert told == ["again"] * 2

    def test_no_gpu_at_all_is_a_mistake_of_the_configuration(self, config, nodes, console):
        with pytest.raises(ConfigError, match="no node of the cluster has one"):
            settle.build_on_cluster(config(), CHECKPOINT, console)
