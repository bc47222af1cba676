import os
import signal
import threading
import time

import pytest
from rich.console import Console
from rich.progress import Progress
from support.little_graphs import write_onnx
from support.tensorrt_standin.knobs import KNOBS

from sam_batch.engine.tensorrt.build import build_plan, options
from sam_batch.errors import EngineError

PROFILES = {"x": ((1, 4), (8, 4), (8, 4))}


@pytest.fixture
def progress():
    return Progress(console=Console(quiet=True))


@pytest.fixture
def build(host, tmp_path, progress):
    def call(onnx=None, profiles=PROFILES, timing_cache=b"", workspace_bytes=1 << 30):
        onnx = onnx or write_onnx(tmp_path / "little.onnx")
        return build_plan(host, onnx, profiles, options(workspace_bytes), timing_cache, progress)

    return call


def test_a_graph_becomes_a_plan_and_a_bar_reaches_its_end(build, progress):
    assert build().plan
    (task,) = progress.tasks
    assert (task.description, task.completed, task.total) == ("little", KNOBS.steps, KNOBS.steps)


class TestTimingCache:
    def test_measurements_of_earlier_builds_are_used_and_grow(self, build):
        first = build().timing_cache
        assert build(timing_cache=first).timing_cache.startswith(first)
        assert KNOBS.timing_caches == [b"", first]

    def test_a_timing_cache_of_another_gpu_is_left_aside(self, build):
        KNOBS.timing_caches_fit = False
        assert build(timing_cache=b"of another GPU").timing_cache == b"measured"


def test_an_operator_that_tensorrt_lacks_is_named_with_its_node(build, tmp_path):
    with pytest.raises(EngineError, match=r"node 0 Bogus node_Bogus: .*; export it anew"):
        build(write_onnx(tmp_path / "odd.onnx", operator="Bogus"))


def test_a_file_without_a_graph_is_exported_anew(build, tmp_path):
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(EngineError, match=r"the graph: it has no outputs; export it anew: .*--force$"):
        build(tmp_path / "empty.onnx")


def test_a_missing_profile_is_an_error_with_tensorrts_own_reason(build):
    with pytest.raises(EngineError, match=r"could not build it: .*Network has dynamic .* no optimization profile"):
        build(profiles={})


@pytest.mark.parametrize(("limit", "set_limits"), [(None, []), (1 << 30, [1 << 30])])
def test_scratch_memory_is_limited_only_on_request(build, limit, set_limits):
    build(workspace_bytes=limit)
    assert KNOBS.pool_limits == set_limits


def test_too_little_memory_names_what_to_lower(build):
    KNOBS.builds = False
    with pytest.raises(
        EngineError, match=r"Out of memory: .*end what else uses the GPU, or lower engine\.tensorrt\.max_images"
    ):
        build()


def test_a_failure_says_nothing_of_those_before(build):
    for error in ("of an earlier build", "of this one"):
        KNOBS.builds, KNOBS.build_error = False, error
        with pytest.raises(EngineError, match=f"could not build it: {error};"):
            build()


@pytest.mark.parametrize(
    "reason",
    [
        "Could not find any implementation for node {ForeignNode[a...b]}",
        "due to insufficient workspace",
        "Tactic Selection: no tactics to implement the operation within workspace limit.",
        "Error Code 2: OutOfMemory (Requested size was 286183440 bytes.)",
    ],
)
def test_too_little_scratch_memory_names_the_limit_to_raise(build, reason):
    KNOBS.builds, KNOBS.build_error = False, reason
    with pytest.raises(
        EngineError, match=r"raise engine\.tensorrt\.workspace_bytes .*or lower engine\.tensorrt\.max_images"
    ):
        build()


def test_a_driver_that_is_too_old_is_no_want_of_memory(build):
    KNOBS.builds, KNOBS.build_error = False, "cudaError 35: CUDA driver version is insufficient for CUDA runtime"
    with pytest.raises(EngineError, match="see whether nvidia-smi works"):
        build()


def test_a_library_that_complains_as_it_starts_is_not_used(host, build, monkeypatch):
    """Classic returns an object then, whose first use ends the process."""

    def complain(logger):
        logger.log(host.trt.ILogger.ERROR, "CUDA initialization failure with error: 35")
        return object()

    monkeypatch.setattr(host.trt, "Builder", complain)
    with pytest.raises(EngineError, match=r"does not start: CUDA initialization failure with error: 35; see whether"):
        build()


def test_a_library_that_does_not_start_is_an_error(host, build, monkeypatch):
    def nothing(logger):
        raise TypeError("factory function returned nullptr")

    monkeypatch.setattr(host.trt, "Builder", nothing)
    with pytest.raises(EngineError, match=r"does not start.*driver is new enough"):
        build()


def test_ctrl_c_stops_the_builder_before_it_goes_on(build):
    """The signal arrives while the builder works, in a thread that cannot hear it."""
    threads = set(threading.enumerate())
    KNOBS.steps = 10_000

    def interrupt_once():
        KNOBS.on_step = lambda: time.sleep(0.001)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    KNOBS.on_step = interrupt_once
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            build()
    finally:
        signal.signal(signal.SIGINT, before)
    assert set(threading.enumerate()) <= threads


class TestTheStandInIsStrict:
    """What the real bindings refuse, it refuses: else these tests would show nothing."""

    @pytest.fixture
    def config(self, host):
        return host.trt.Builder(host.trt.Logger()).create_builder_config()

    def test_unknown_members(self, config, host):
        with pytest.raises(AttributeError, match="has no IBuilderConfig"):
            config.max_workspace_size = 1
        with pytest.raises(AttributeError, match=r"has no Builder\.build_cuda_engine"):
            host.trt.Builder(host.trt.Logger()).build_cuda_engine()
        with pytest.raises(AttributeError):
            host.trt.build_everything()

    def test_wrong_arguments(self, config, host):
        pool = host.trt.MemoryPoolType.WORKSPACE
        for arguments, named in (((pool,), {}), ((pool,), {"size": 1}), ((pool, "1"), {}), ((1, pool), {})):
            with pytest.raises(TypeError, match="set_memory_pool_limit"):
                config.set_memory_pool_limit(*arguments, **named)
        config.set_memory_pool_limit(pool=pool, pool_size=1)

    def test_writing_what_is_read_only(self, config):
        with pytest.raises(AttributeError, match="read-only"):
            config.num_optimization_profiles = 3

    def test_a_network_of_weak_types(self, host):
        with pytest.raises(AssertionError, match="strongly typed"):
            host.trt.Builder(host.trt.Logger()).create_network(1 << 5)
