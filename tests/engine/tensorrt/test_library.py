"""What the real library makes of our graphs, and what it says where it refuses. The stand-in shows neither."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from functools import cache

import pytest
import torch
from support.little_graphs import write_attention, write_onnx
from support.small_sam import small_sam
from support.tensorrt_bindings import LEAN, OLDER_LEAN, fetch_lean
from support.tensorrt_engines import settings
from support.tensorrt_library import attention_profiles, build, needs_library, target

from sam_batch.engine.onnx import export as exporting
from sam_batch.engine.onnx.graph_set import read_graphs
from sam_batch.engine.tensorrt import build as tensorrt_build
from sam_batch.engine.tensorrt.plan_set import profiles
from sam_batch.engine.tensorrt.run import load_plan
from sam_batch.errors import EngineError
from sam_batch.model.family import Graph
from sam_batch.model.load import load_model
from sam_batch.model.sam.encoder_graph import EncoderGraph
from sam_batch.model.sam.family import SAM

pytestmark = needs_library

CAPABILITIES = ("8.6", "8.9", "12.0")
GRAPHS = ("encoder", "score", "finish", "prompted")
BLOCKS = {"small": 2, "demo": 8, "vit_b": 12, "vit_l": 24, "vit_h": 32}
MODELS = ("demo", "vit_b", "vit_l", "vit_h")
LITTLE = {"x": ((1, 4), (8, 4), (8, 4))}


@pytest.fixture
def silence(caplog):
    """That nothing was said above the level of INFO: warnings of TensorRT are of the package's own INFO."""
    caplog.set_level(logging.INFO, "sam_batch")
    yield
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.INFO] == []


@cache
def build_graph(folder, name, capability):
    graphs = read_graphs(folder)
    shapes = profiles(graphs, settings(folder, max_prompts=64, max_images=1))
    return build(folder / f"{name}.onnx", shapes[name], capability=capability).inside


def attentions(model, precision, graph, capability):
    """How many of a graph are fused, and how many are not."""
    there = {"encoder": BLOCKS[model], "finish": 0}.get(graph, 7)
    fused = {"encoder": there, "finish": 0}.get(graph, 2 if capability == "8.6" else 3)
    return (fused, there - fused) if precision == "fp16" else (0, there)


def most_scratch(graphs, name):
    """What is said before a build that its plan will need."""
    return graphs.scratch_bytes[name] * (1 if name == "encoder" else 64)


class TestGraphs:
    """In half precision those of the demo model; in float32 those of a small one, which are exported for others too.

    Those of the demo model in float32 are among the slow tests: nothing else needs that export, of half a minute.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def folders(cls, export_once, tmp_path_factory):
        made = tmp_path_factory.mktemp("graphs")
        export_model(export_once, made / "fp16", "demo", "fp16", "tiled")
        export_model(export_once, made / "fp32", "small", "fp32", "folded")
        return {precision: made / precision for precision in ("fp16", "fp32")}

    @pytest.mark.parametrize("graph", GRAPHS)
    @pytest.mark.parametrize("precision", ["fp16", "fp32"])
    @pytest.mark.parametrize("capability", CAPABILITIES)
    def test_every_graph_builds_with_long_attentions_fused_in_half_precision(
        self, folders, capability, precision, graph, silence
    ):
        inside = build_graph(folders[precision], graph, capability)
        model = "demo" if precision == "fp16" else "small"
        assert (inside.fused_attention, inside.softmax) == attentions(model, precision, graph, capability)
        assert 0 < inside.scratch_bytes < most_scratch(read_graphs(folders[precision]), graph)

    def test_without_streams_of_their_own_there_is_less_to_wait_for(self, folders):
        shapes = profiles(read_graphs(folders["fp16"]), settings(folders["fp16"], max_prompts=64))["score"]
        with_streams = build_graph(folders["fp16"], "score", "8.9")
        alone = build(folders["fp16"] / "score.onnx", shapes, max_aux_streams=0).inside
        assert alone.layers == with_streams.layers  # signals and waits between streams are none
        assert (alone.fused_attention, alone.softmax) == (with_streams.fused_attention, with_streams.softmax)
        assert alone.scratch_bytes <= with_streams.scratch_bytes


@pytest.mark.parametrize(
    ("positions", "images"), [("folded", 2), pytest.param("tiled", 1, marks=pytest.mark.slow)]
)  # each is exported for this
def test_attention_over_the_whole_image_is_fused_without_writing_its_biases(tmp_path, positions, images):
    encoder = EncoderGraph(small_sam(image_side=1024), torch.float16, positions=positions)
    sizes = {"images": ((images, 3, 1024, 1024), torch.float32)}
    exporting._save(exporting._program(Graph(lambda: encoder, sizes, ("y",), 0), 20), tmp_path / "encoder.onnx")
    inside = build(tmp_path / "encoder.onnx", {}).inside
    assert (inside.fused_attention, inside.softmax) == (2, 0)
    biases = 2 * images * 2 * 4096**2  # of two heads, in half precision
    assert inside.scratch_bytes < biases / 2


@pytest.mark.slow  # exports of half a minute and more
class TestModels:
    @pytest.mark.parametrize("precision", ["fp16", "fp32"])
    @pytest.mark.parametrize("model", MODELS)
    def test_every_graph_builds_for_every_kind_of_gpu(self, export_once, tmp_path, model, precision, silence):
        positions = "tiled" if precision == "fp16" else "written"
        folder = export_model(export_once, tmp_path, model, precision, positions)
        for capability in CAPABILITIES:
            graphs = read_graphs(folder)
            inside = {name: build_graph(folder, name, capability) for name in graphs.inputs}
            for name, one in inside.items():
                most = most_scratch(graphs, name)
                least = 0.0 if model == "demo" else 0.8 * most  # of so little memory, much is what rounds sizes up
                assert least < one.scratch_bytes < most
                assert (one.fused_attention, one.softmax) == attentions(model, precision, name, capability)


def export_model(export_once, folder, model, precision, positions):
    """With random weights where there are none in the package."""
    if model == "small":
        module = small_sam(lively=False)
    else:
        module = load_model("demo") if model == "demo" else SAM.build(model).eval()
    options = {"precision": precision, "positions": positions, "max_tokens": 19}
    export_once(module, SAM, model=model, checkpoint_sha256="0" * 64, folder=folder, **options)
    return folder


@pytest.mark.parametrize(
    ("half", "operator", "fused", "apart"), [(True, False, 1, 0), (True, True, 1, 0), (False, False, 0, 1)]
)
def test_what_is_fused_and_what_is_not_is_counted(tmp_path, half, operator, fused, apart):
    path = write_attention(tmp_path / "attention.onnx", half=half, operator=operator)
    inside = build(path, attention_profiles(4)).inside
    assert (inside.fused_attention, inside.softmax) == (fused, apart)
    assert inside.scratch_bytes > 0


class TestRefusals:
    """In its own words, with our advice."""

    @pytest.mark.parametrize(("mebibytes", "reason"), [(1, "workspace limit"), (32, "Requested size was")])
    def test_too_little_workspace_says_to_raise_it(self, tmp_path, mebibytes, reason):
        onnx = write_attention(tmp_path / "attention.onnx", half=False, cells=1024)
        with pytest.raises(EngineError, match=rf"{reason}.*raise engine\.tensorrt\.workspace_bytes"):
            build(onnx, attention_profiles(4, 1024), workspace_bytes=mebibytes << 20)

    def test_the_attention_operator_is_not_taken_apart_in_float32(self, tmp_path):
        """So the export of such graphs is refused."""
        onnx = write_attention(tmp_path / "attention.onnx", half=False, operator=True)
        with pytest.raises(EngineError, match="Attention operation was not supported by a dedicated kernel"):
            build(onnx, attention_profiles(4))

    def test_a_plan_without_a_driver_says_to_look_at_the_driver(self, tmp_path):
        plan = build(write_onnx(tmp_path / "little.onnx"), LITTLE).plan
        with pytest.raises(EngineError, match=r"does not load the plan: .*CUDA driver version is insufficient"):
            load_plan(target(), bytes(plan), "little")
        reason = "cudaError 35: CUDA driver version is insufficient for CUDA runtime version"
        assert "nvidia-smi" in tensorrt_build._cure(reason, {"workspace_bytes": None})

    @pytest.mark.parametrize(
        ("operator", "reason"), [("Bogus", r"node 0 Bogus node_Bogus: .*"), ("NonZero", r"node 0 NonZero .*")]
    )
    def test_an_operator_it_lacks_is_named_in_one_line(self, tmp_path, operator, reason):
        with pytest.raises(EngineError, match=f"^[^\n]*does not understand the graph: {reason}; export it anew"):
            build(write_onnx(tmp_path / "odd.onnx", operator=operator), LITTLE)

    def test_a_damaged_file_is_exported_anew_and_not_in_another_opset(self, tmp_path):
        path = write_onnx(tmp_path / "little.onnx")
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(EngineError, match=r"does not understand the graph: .*--force$") as refused:
            build(path, LITTLE)
        assert "node -1" not in str(refused.value)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("data", [b"", b"hello"])
    def test_what_it_takes_for_a_graph_without_outputs_is_a_damaged_file(self, tmp_path, data):
        (tmp_path / "empty.onnx").write_bytes(data)
        with pytest.raises(EngineError, match=r"does not understand the graph: .*no outputs.*--force$"):
            build(tmp_path / "empty.onnx", {})

    def test_shapes_that_contradict_each_other_come_with_its_reason(self, tmp_path):
        with pytest.raises(EngineError, match=r"refuses the shapes .*MIN<=OPT<=MAX"):
            build(write_onnx(tmp_path / "little.onnx"), {"x": ((9, 4), (8, 4), (8, 4))})

    def test_a_missing_profile_is_named(self, tmp_path):
        with pytest.raises(EngineError, match="no optimization profile has been defined"):
            build(write_onnx(tmp_path / "little.onnx"), {})

    def test_a_failure_says_nothing_of_those_before(self, tmp_path):
        attention = write_attention(tmp_path / "attention.onnx", half=False, operator=True)
        with pytest.raises(EngineError, match="optimization profile"):
            build(write_onnx(tmp_path / "little.onnx"), {})
        with pytest.raises(EngineError) as refused:
            build(attention, attention_profiles(4))
        assert "optimization profile" not in str(refused.value)

    @pytest.mark.parametrize("plan", [b"", b"short", bytes(5000)])
    def test_what_is_no_plan_is_refused(self, plan):
        with pytest.raises(EngineError, match=r"does not load the plan: .+"):
            load_plan(target(), plan, "broken")


def interrupt_when(monkeypatch, name):
    """Send this process Ctrl-C as a step of the build begins, in the thread that builds."""
    real = getattr(tensorrt_build, name)

    def interrupt(*arguments):
        assert threading.current_thread() is not threading.main_thread()
        time.sleep(0.1)  # until that one waits
        os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(tensorrt_build, name, interrupt)


@pytest.mark.parametrize("step", ["_parse", "_configure"])
def test_ctrl_c_is_heard_while_a_graph_is_parsed_and_while_it_is_built(tmp_path, monkeypatch, step):
    onnx = write_attention(tmp_path / "attention.onnx", half=True)
    interrupt_when(monkeypatch, step)
    threads = set(threading.enumerate())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            build(onnx, attention_profiles(4))
    finally:
        signal.signal(signal.SIGINT, before)
    assert set(threading.enumerate()) <= threads


CLASSIC = """
import sys
sys.path.insert(0, sys.argv[1])
import tensorrt_lean_bindings as trt
from sam_batch.engine.tensorrt.log import start
try:
    start(trt, "Runtime")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a driver")
@pytest.mark.parametrize(
    "requirement",
    [LEAN, *(pytest.param(one, marks=pytest.mark.slow) for one in OLDER_LEAN)],
    ids=lambda one: one.partition("==")[2],
)
def test_classic_without_a_driver_is_a_message_and_no_crash(requirement):
    """It returns an object that ends the process, which only a process of its own can show."""
    folder = fetch_lean(requirement)
    command = [sys.executable, "-c", CLASSIC, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"EngineError TensorRT {requirement.partition('==')[2]}")
    assert "CUDA initialization failure with error: 35" in done.stdout
