"""The stand-in and the real library agree in what both can show: one contract, run on both.

On the stand-in over the bindings of every version, which `test_versions` does.
"""

import threading

import onnx
import pytest
from rich.console import Console
from rich.progress import Progress
from support.little_graphs import write_onnx
from support.tensorrt_library import needs_library, target

from sam_batch.engine.tensorrt.flavour import CLASSIC
from sam_batch.engine.tensorrt.log import get_logger, make_monitor, start

SHAPES = ((1, 4), (8, 4), (8, 4))


@pytest.fixture(params=["stand-in", pytest.param("RTX", marks=needs_library)])
def on(request):
    return request.getfixturevalue("host") if request.param == "stand-in" else target()


@pytest.fixture
def said(on):
    """What was said at the level of errors."""
    _, errors = get_logger(on.trt)
    errors.clear()
    return errors


@pytest.fixture
def builder(on):
    return start(on.trt, "Builder")


class Parsed:
    """A network, what became of the file it is of, and a configuration for it."""

    def __init__(self, on, builder, path):
        self.network = builder.create_network(1 << int(on.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self.parser = on.trt.OnnxParser(self.network, get_logger(on.trt)[0])
        self.understood = self.parser.parse_from_file(str(path))
        self.config = builder.create_builder_config()
        on.flavour.configure(on.trt, self.config, "8.9")


def add_profile(builder, config, smallest, usual, largest, name="x"):
    profile = builder.create_optimization_profile()
    profile.set_shape(name, smallest, usual, largest)
    return config.add_optimization_profile(profile)


@pytest.fixture
def parse(on, builder, tmp_path):
    def call(data=None, operator="MatMul"):
        path = write_onnx(tmp_path / "little.onnx", operator)
        if data is not None:
            path.write_bytes(data)
        return Parsed(on, builder, path)

    return call


def test_a_plan_is_a_buffer(parse, builder):
    parsed = parse()
    assert parsed.understood
    assert add_profile(builder, parsed.config, *SHAPES) == 0
    plan = builder.build_serialized_network(parsed.network, parsed.config)
    assert len(memoryview(plan).cast("B")) > 100


def test_sizes_may_not_be_negative(parse, builder):
    with pytest.raises(RuntimeError):
        add_profile(builder, parse().config, (-1, 4), (8, 4), (8, 4))


def test_contradicting_sizes_are_refused_when_the_profile_is_added(parse, builder, said):
    assert add_profile(builder, parse().config, (9, 4), (8, 4), (8, 4)) == -1
    assert "MIN<=OPT<=MAX" in said.text()


def test_an_unknown_input_and_a_size_of_nothing_are_taken(parse, builder):
    config = parse().config
    assert add_profile(builder, config, (1, 4), (1, 4), (1, 4), name="nobody") >= 0
    assert add_profile(builder, config, (0, 4), (1, 4), (1, 4)) >= 0


def test_without_a_profile_nothing_is_built(parse, builder, said):
    parsed = parse()
    assert builder.build_serialized_network(parsed.network, parsed.config) is None
    assert "no optimization profile has been defined" in said.text()


def test_an_empty_file_is_understood_and_not_built(parse, builder, said):
    parsed = parse(b"")
    assert (parsed.understood, parsed.network.num_outputs) == (True, 0)
    assert builder.build_serialized_network(parsed.network, parsed.config) is None
    assert "at least one output" in said.text()


def test_a_damaged_file_is_not_understood_and_of_no_node(parse):
    parsed = parse(b"\x08\x0ajunk" * 9)
    assert not parsed.understood
    assert parsed.parser.get_error(0).node() == -1


def test_an_unknown_operator_is_named_with_its_node(parse):
    parsed = parse(operator="Bogus")
    assert not parsed.understood
    error = parsed.parser.get_error(0)
    assert (error.node(), error.node_operator(), error.node_name()) == (0, "Bogus", "node_Bogus")


def test_rtx_alone_lacks_nonzero(on, parse, tmp_path):
    model = onnx.load(write_onnx(tmp_path / "odd.onnx", "NonZero"))
    del model.graph.node[0].input[1], model.graph.initializer[:]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [2, "found"]))
    parsed = parse(model.SerializeToString())
    assert parsed.understood == (on.flavour is CLASSIC)
    assert parsed.network.num_outputs == int(parsed.understood)


def test_types_that_do_not_match_are_refused_by_the_parser(parse, tmp_path):
    model = onnx.load(write_onnx(tmp_path / "odd.onnx"))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert not parse(model.SerializeToString()).understood


def test_a_build_that_is_cancelled_returns_nothing(on, parse, builder, said):
    parsed, cancelled = parse(), threading.Event()
    add_profile(builder, parsed.config, *SHAPES)
    cancelled.set()
    progress = Progress(console=Console(quiet=True))
    parsed.config.progress_monitor = make_monitor(on.trt, progress, "little", cancelled)
    assert builder.build_serialized_network(parsed.network, parsed.config) is None
    assert "BuildCanceled" in said.text()


def test_progress_has_one_outermost_phase_and_names_others_below_it(on, parse, builder):
    parsed, phases = parse(), []

    class Monitor(on.trt.IProgressMonitor):
        def __init__(self):
            on.trt.IProgressMonitor.__init__(self)

        def phase_start(self, name, parent, steps):
            phases.append((name, parent, steps))

        def step_complete(self, name, step):
            return True

        def phase_finish(self, name):
            pass

    add_profile(builder, parsed.config, *SHAPES)
    parsed.config.progress_monitor = Monitor()
    assert builder.build_serialized_network(parsed.network, parsed.config) is not None
    assert [steps > 0 for _, parent, steps in phases if parent is None] == [True]
    assert any(parent == phases[0][0] for _, parent, _ in phases)


def test_the_log_of_a_build_ends_with_its_layers(parse, builder, said, on):
    parsed = parse()
    add_profile(builder, parsed.config, *SHAPES)
    parsed.config.profiling_verbosity = on.trt.ProfilingVerbosity.DETAILED
    builder.build_serialized_network(parsed.network, parsed.config)
    assert said.layers.startswith("Layers:\nName: ")


@pytest.mark.parametrize("plan", [b"junk", b""])
def test_what_is_no_plan_is_nothing_with_a_reason(on, said, plan):
    assert start(on.trt, "Runtime").deserialize_cuda_engine(plan) is None
    assert said
