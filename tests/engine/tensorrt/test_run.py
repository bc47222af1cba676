import onnx
import pytest
import torch
from onnx import numpy_helper
from rich.console import Console
from rich.progress import Progress
from support.little_graphs import write_onnx
from support.tensorrt_standin.knobs import KNOBS

from sam_batch.engine.tensorrt.build import build_plan, options
from sam_batch.engine.tensorrt.run import PlanRunner
from sam_batch.errors import EngineError

LARGEST = 10


@pytest.fixture
def build(host, tmp_path):
    """A plan of `y = x w`, and w."""

    def little(largest):
        path = write_onnx(tmp_path / "little.onnx")
        profiles = {"x": ((1, 4), (largest, 4), (largest, 4))}
        built = build_plan(host, path, profiles, options(None), b"", Progress(console=Console(quiet=True)))
        weights = numpy_helper.to_array(onnx.load(path).graph.initializer[0])
        return bytes(built.plan), torch.tensor(weights)

    return little


@pytest.fixture
def little(build):
    return build(LARGEST)


@pytest.fixture
def runner(host, little):
    return PlanRunner(host, little[0], "little")


def test_numbers_are_those_of_the_graph_for_every_count(runner, little):
    for count in (1, 2, 3, LARGEST, 5, 1):
        x = torch.randn(count, 4)
        torch.testing.assert_close(runner({"x": x}, count)["y"], x @ little[1])


@pytest.mark.parametrize("largest", [1, 2])
def test_any_count_is_run_in_rounds(host, build, largest):
    plan, weights = build(largest)
    x = torch.randn(5, 4)
    torch.testing.assert_close(PlanRunner(host, plan, "little").run({"x": x}, 5)["y"], x @ weights)


def test_each_bucket_is_recorded_once(runner, host):
    for count in (1, 2, 3, 4, 4, 3, 9, 10, 1):
        runner({"x": torch.zeros(count, 4)}, count)
    assert host.gpu.recorded == 4  # 1, 2, 4 and, for 9 and 10, the largest


def test_inputs_of_any_layout_and_precision_are_taken(runner, little):
    x = torch.randn(4, 3, dtype=torch.float64).T
    torch.testing.assert_close(runner({"x": x}, 3)["y"], x.float() @ little[1])


def test_plans_may_share_scratch_memory(runner, host, little):
    other = PlanRunner(host, little[0], "other")
    scratch = torch.empty(max(runner.scratch_bytes, other.scratch_bytes), dtype=torch.uint8)
    for one in (runner, other):
        one.use_scratch(scratch)
        assert one({"x": torch.ones(2, 4)}, 2)["y"].shape == (2, 3)


def test_scratch_memory_that_is_too_small_is_an_error(runner):
    runner.use_scratch(torch.empty(1, dtype=torch.uint8))
    with pytest.raises(EngineError, match="the plan little: TensorRT does not run"):
        runner({"x": torch.ones(1, 4)}, 1)


@pytest.mark.parametrize("count", [0, LARGEST + 1])
def test_more_than_the_plan_was_built_for_is_an_error(runner, count):
    with pytest.raises(EngineError, match="takes 1 to 10 at once"):
        runner({"x": torch.zeros(count, 4)}, count)


def test_a_wrong_shape_or_name_is_an_error(runner):
    with pytest.raises(EngineError, match=r"takes x as \(2, 4\), not \(2, 5\)"):
        runner({"x": torch.zeros(2, 5)}, 2)
    with pytest.raises(EngineError, match="has no input z, but x"):
        runner({"z": torch.zeros(2, 4)}, 2)


@pytest.mark.parametrize("plan", [b"junk", b""])
def test_what_is_no_plan_is_an_error_with_tensorrts_reason(host, plan):
    with pytest.raises(EngineError, match="does not load the plan: Magic tag does not match"):
        PlanRunner(host, plan, "broken")


def test_a_plan_of_another_version_is_an_error(host, little):
    other = little[0].replace(host.trt.__version__.encode(), b"9" * len(host.trt.__version__))
    with pytest.raises(EngineError, match="Version tag does not match"):
        PlanRunner(host, other, "old")


@pytest.mark.parametrize(("knob", "message"), [("contexts", "makes no context"), ("runs", "does not run")])
def test_what_tensorrt_refuses_later_is_an_error_too(runner, knob, message):
    setattr(KNOBS, knob, False)
    with pytest.raises(EngineError, match=message):
        runner({"x": torch.zeros(1, 4)}, 1)


def test_memory_that_torch_keeps_for_later_is_given_to_tensorrt(runner, monkeypatch):
    KNOBS.contexts = False
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: setattr(KNOBS, "contexts", True))
    assert runner({"x": torch.zeros(1, 4)}, 1)["y"].shape == (1, 3)


def test_a_refusal_says_nothing_of_those_before(host, runner):
    with pytest.raises(EngineError, match="Magic tag"):
        PlanRunner(host, b"junk", "broken")
    KNOBS.runs = False
    with pytest.raises(EngineError, match="does not run: TensorRT gave no reason"):
        runner({"x": torch.zeros(1, 4)}, 1)


def test_a_runtime_that_does_not_start_is_an_error(host, little, monkeypatch):
    def nothing(logger):
        raise TypeError("factory function returned nullptr")

    monkeypatch.setattr(host.trt, "Runtime", nothing)
    with pytest.raises(EngineError, match="does not start"):
        PlanRunner(host, little[0], "little")


def test_a_closed_plan_holds_no_memory(runner):
    runner({"x": torch.zeros(1, 4)}, 1)
    runner.close()
    assert not any(isinstance(value, torch.Tensor) or value for value in (runner._scratch, runner._buffers))
