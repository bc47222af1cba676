import errno
import shutil
import sys
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from support.graphs import MAX_TOKENS, decode, encode_prompts, random_prompts, reference_decode, run, scaled_error
from support.pictures import picture
from support.small_sam import random_vit_b, small_sam

from sam_batch.engine.onnx import export as exporting
from sam_batch.engine.onnx.export import export, graph_faults
from sam_batch.engine.onnx.graph_set import GRAPHS, read_graphs
from sam_batch.errors import ConfigError, OutputError
from sam_batch.model.load import load_model
from sam_batch.model.sam.family import SAM

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2}  # sums in another order: up to 7e-5 of a processor with AVX-512
OPERATOR = {"opset": 23, "attention": True}


def export_sam(sam, folder, **options):
    return export(sam, SAM, folder=folder, **{"model": "demo", "checkpoint_sha256": "", "precision": "fp32"} | options)


class Exported:
    """A model, its graphs, and one embedding of it."""

    def __init__(self, export, sam, folder, precision, *, trained=False, **options):
        self.sam, self.folder, self.precision, self.trained = sam, folder, precision, trained
        options |= {"precision": precision, "max_tokens": MAX_TOKENS}
        self.graphs = export(sam, SAM, model="demo", checkpoint_sha256="ab", folder=folder, **options)
        self.tolerance = TOLERANCE[precision]

    def load(self, name):
        return onnx.load(self.folder / f"{name}.onnx", load_external_data=False)

    def operators(self, name):
        return {node.op_type for node in self.load(name).graph.node}

    def images(self, count):
        side = self.sam.image_encoder.img_size
        return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))

    @cached_property
    @torch.no_grad()
    def embedding(self):
        """Of a picture for the demo model: a trained decoder magnifies what noise it was not made for."""
        encoder, prompts = self.sam.image_encoder, self.sam.prompt_encoder
        if self.trained:
            image = torch.tensor(picture(encoder.img_size, encoder.img_size)).permute(2, 0, 1)
            return encoder(self.sam.preprocess(image[None]))
        shape = 1, prompts.embed_dim, *prompts.image_embedding_size
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))


SMALL, DEMO, VIT_B = (lambda: small_sam(lively=False)), (lambda: load_model("demo")), random_vit_b
SETS = [
    pytest.param((SMALL, "fp32", {"positions": "folded"}), id="small-fp32"),
    pytest.param((DEMO, "fp16", {"positions": "tiled"}), id="demo-fp16"),
    pytest.param((DEMO, "fp32", {}), id="demo-fp32", marks=pytest.mark.slow),  # each export takes half a minute
    pytest.param((VIT_B, "fp32", {}), id="vit_b-fp32", marks=pytest.mark.slow),
    pytest.param((VIT_B, "fp16", OPERATOR), id="vit_b-fp16-operator", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=SETS)
def exported(request, export_once, tmp_path_factory):
    build, precision, options = request.param
    folder = tmp_path_factory.mktemp("graphs")
    return Exported(export_once, build(), folder, precision, trained=build is DEMO, **options)


@pytest.mark.parametrize("count", [1, 3])
@torch.no_grad()
def test_the_encoder_graph_embeds_as_segment_anything(exported, count):
    images = exported.images(count)
    found = run(exported.folder / "encoder.onnx", images)[0]
    wanted = torch.cat([exported.sam.image_encoder(image[None]) for image in images])  # of vit_b each takes 3 GB
    assert scaled_error(found, wanted) < exported.tolerance


@pytest.mark.parametrize("count", [1, 2, 7, 64])
@pytest.mark.parametrize("kind", ["points", "boxes", "masks"])
@torch.no_grad()
def test_the_decoder_graphs_decode_as_segment_anything(exported, kind, count):
    sam, prompts = exported.sam, random_prompts(exported.sam, kind, count)
    found = decode(exported.folder, exported.embedding, encode_prompts(sam, prompts)[0], prompts.masks)
    wanted = reference_decode(sam, exported.embedding, prompts)
    assert max(scaled_error(*pair) for pair in zip(found, wanted, strict=True)) < exported.tolerance


@torch.no_grad()
def test_the_attention_operator_may_take_its_place(tmp_path):
    """In the encoder alone, so that no other graph is exported for this."""
    sam = small_sam(lively=False)
    graphs = SAM.graphs(sam, "fp16", attention=True, positions="folded", max_tokens=None)
    exporting._save(exporting._program(graphs["encoder"], 23), tmp_path / "encoder.onnx")
    operators = {node.op_type for node in onnx.load(tmp_path / "encoder.onnx").graph.node}
    assert operators & {"Attention", "Softmax"} == {"Attention"}
    images = torch.randn(2, 3, 128, 128)
    found = run(tmp_path / "encoder.onnx", images)[0]
    assert scaled_error(found, sam.image_encoder(images)) < TOLERANCE["fp16"]


def test_no_size_is_computed_at_run_time(exported):
    assert {name: list(graph_faults(exported.load(name))) for name in GRAPHS} == {name: [] for name in GRAPHS}


def test_inputs_and_outputs_are_those_of_the_contract(exported):
    half = TensorProto.FLOAT16 if exported.precision == "fp16" else TensorProto.FLOAT
    full, graphs, prompts = TensorProto.FLOAT, exported.graphs, exported.sam.prompt_encoder
    channels, (side, _) = prompts.embed_dim, prompts.image_embedding_size
    images = (full, ["images", 3, graphs.traits.image_side, graphs.traits.image_side])
    one = [channels, side, side]
    cells = (half, ["prompts", side**2, channels])
    tokens = (full, ["prompts", graphs.tokens, channels])
    masks = (full, ["prompts", 1, 4 * side, 4 * side])
    of_any_parts = {
        "tokens": (full, ["prompts", MAX_TOKENS, channels]),
        "filling": (full, ["prompts", MAX_TOKENS]),
        "masks": masks,
        "maskless": (full, ["prompts", 1, 1, 1]),
    }
    scored = {"iou": (full, ["prompts", 4]), "mask_tokens": (full, ["prompts", 4, channels]), "cells": cells}
    asked = {"embedding": (half, [1, *one]), "tokens": tokens}
    logits = (full, ["prompts", 4, 4 * side, 4 * side])
    assert declared(exported) == {
        "encoder": {"images": images, "embeddings": (half, ["images", *one])},
        "score": {**asked, **scored},
        "finish": {"mask_tokens": scored["mask_tokens"], "cells": cells, "logits": logits},
        "prompted": {**asked, **of_any_parts, **scored},
    }


def declared(exported):
    return {name: {one.name: described(one) for one in tensors(exported.load(name).graph)} for name in GRAPHS}


def tensors(graph):
    return [*graph.input, *graph.output]


def described(value):
    kind = value.type.tensor_type
    return kind.elem_type, [one.dim_param or one.dim_value for one in kind.shape.dim]


def test_attention_is_an_operator_where_that_is_asked_for(exported):
    assert exported.graphs.attention == (exported.graphs.opset == 23)
    wanted = {"Attention"} if exported.graphs.attention else {"Softmax"}
    assert exported.operators("encoder") & {"Attention", "Softmax"} == wanted


def test_half_precision_normalises_in_float32(exported):
    graph = onnx.shape_inference.infer_shapes(exported.load("encoder")).graph
    types = {one.name: one.type.tensor_type.elem_type for one in graph.value_info}
    normed = [node.input[0] for node in graph.node if node.op_type == "LayerNormalization"]
    assert {types[name] for name in normed} == {TensorProto.FLOAT}


@pytest.mark.parametrize("name", GRAPHS[1:])
def test_half_precision_multiplies_cells_alone(exported, name):
    low = TensorProto.FLOAT16 if exported.precision == "fp16" else TensorProto.FLOAT
    _, count, _ = exported.graphs.inputs["finish"]["cells"]
    cells = {count, 16 * count}  # and pixels of theirs
    found = {(bool(cells & sizes), kind) for kind, sizes in products(exported.load(name))}
    assert found == {(True, low), (False, TensorProto.FLOAT)}


def products(model):
    """Of each matrix product its type and all sizes of its operands and its result."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = {one.name: described(one) for one in (*graph.value_info, *tensors(graph))}
    values |= {one.name: (one.data_type, one.dims) for one in graph.initializer}
    for node in graph.node:
        if node.op_type in {"MatMul", "Gemm"}:
            operands = [values[name] for name in (*node.input, *node.output)]
            yield operands[0][0], {size for _, sizes in operands for size in sizes}


def test_the_manifest_describes_the_model(exported):
    graphs, sam = exported.graphs, exported.sam
    assert read_graphs(exported.folder) == graphs
    assert (graphs.model, graphs.precision, graphs.checkpoint_sha256) == ("demo", exported.precision, "ab")
    assert graphs.traits == SAM.traits(sam)
    assert list(graphs.inputs) == list(graphs.sha256) == list(GRAPHS)
    assert graphs.inputs["score"]["tokens"] == ("prompts", 2, sam.prompt_encoder.embed_dim)


def test_only_graphs_and_their_manifest_are_left(exported):
    names = {path.name for path in exported.folder.iterdir()}
    assert names == {"graphs.json", *(f"{name}.onnx" for name in GRAPHS)}


def program_of(graph):
    """One of a new small model's."""
    graphs = SAM.graphs(small_sam(), "fp32", attention=False, positions="written", max_tokens=None)
    return exporting._program(graphs[graph], opset=20)


@pytest.fixture(scope="module")
def finish():
    return program_of("finish")


def test_the_same_model_exports_to_the_same_bytes_wherever_it_lies(finish, tmp_path):
    for name, program in (("a", finish), ("b", program_of("finish"))):
        exporting._save(program, tmp_path / f"{name}.onnx")
    first, second = ((tmp_path / f"{name}.onnx").read_bytes() for name in ("a", "b"))
    assert first == second
    assert str(Path(exporting.__file__).parent).encode() not in first


def test_weights_too_many_for_one_file_lie_beside_it(finish, tmp_path, monkeypatch):
    exporting._save(finish, tmp_path / "one.onnx")
    monkeypatch.setattr(exporting, "_LARGEST_FILE", 0)
    (tmp_path / "written").mkdir()
    exporting._save(finish, tmp_path / "written" / "finish.onnx")
    shutil.move(tmp_path / "written", tmp_path / "moved")
    moved = tmp_path / "moved" / "finish.onnx"
    assert moved.stat().st_size < (tmp_path / "one.onnx").stat().st_size - 8_000
    inputs = torch.randn(2, 4, 32), torch.randn(2, 64, 32)
    assert torch.equal(run(moved, *inputs)[0], run(tmp_path / "one.onnx", *inputs)[0])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"precision": "bf16"}, "precision bf16 is unknown; use fp32 or fp16"),
        ({"opset": 19}, "opset 19 is not supported; use 20 to 23"),
        ({"opset": 20, "attention": True}, "opset 20 has no Attention operator; use opset 23"),
        (OPERATOR, r"engine\.precision: TensorRT has no kernel for the Attention operator in fp32"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path, options, reason):
    with pytest.raises(ConfigError, match=reason):
        export_sam(small_sam(), tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_what_installs_it(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package} is not installed; pip install 'sam-batch\[tensorrt\]'"):
        export_sam(small_sam(), tmp_path)


@pytest.fixture
def full_disk(monkeypatch):
    """Graphs are written until the third."""

    def save(program, path):
        if path.stem == "finish":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(b"new")

    monkeypatch.setattr(exporting, "_program", lambda *_: None)
    monkeypatch.setattr(exporting, "_save", save)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_named_and_leaves_what_there_was(tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(b"old")
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        export_sam(small_sam(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"encoder.onnx": b"old"}


def test_a_new_set_replaces_the_files_of_the_old_one_and_of_an_export_that_was_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_program", lambda *_: None)
    monkeypatch.setattr(exporting, "_save", lambda program, path: path.write_bytes(b"new"))
    for name in ("encoder.onnx.data", "prompted.onnx"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "notes.txt").write_bytes(b"kept")
    (tmp_path / ".export-killed").mkdir()
    (tmp_path / ".export-killed/encoder.onnx").write_bytes(b"gigabytes")
    export_sam(small_sam(), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"graphs.json", "notes.txt", "encoder.onnx", "score.onnx", "finish.onnx"}


def faults_of(*nodes):
    shape = helper.make_tensor("constant", TensorProto.INT64, [1], [-1])
    graph = helper.make_graph(list(nodes), "graph", [], [], initializer=[shape])
    return [fault.partition(" (")[0] for fault in graph_faults(SimpleNamespace(graph=graph))]


def test_shapes_that_depend_on_data_are_faults():
    assert faults_of(helper.make_node("NonZero", ["x"], ["y"])) == ["NonZero"]
    assert faults_of(helper.make_node("Reshape", ["x", "constant"], ["y"])) == []
    assert faults_of(helper.make_node("Reshape", ["x", "computed"], ["y"])) == ["Reshape to a computed shape"]
