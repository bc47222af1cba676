import json

import pytest

from sam_batch.engine.onnx.graph_set import (
    GRAPHS,
    MANIFEST,
    VERSION,
    GraphSet,
    read_graphs,
    sha256_of_graph,
    write_manifest,
)
from sam_batch.errors import ConfigError, EngineError
from sam_batch.model.family import Traits
from sam_batch.model.sam.models import PIXEL_MEAN, PIXEL_STD


@pytest.fixture
def folder(tmp_path):
    """A folder like an exported one; what the graphs hold does not matter here."""
    for name in GRAPHS:
        (tmp_path / f"{name}.onnx").write_bytes(name.encode())
    (tmp_path / "encoder.onnx.data").write_bytes(b"weights")
    write_manifest(described(tmp_path), tmp_path)
    return tmp_path


def described(folder):
    return GraphSet(
        version=VERSION,
        model="demo",
        precision="fp16",
        checkpoint_sha256="ab",
        opset=20,
        attention=False,
        positions="written",
        traits=Traits(256, 64, PIXEL_MEAN, PIXEL_STD, mask_threshold=0.0),
        inputs={name: {"images": ("images", 3, 256, 256)} for name in GRAPHS},
        sha256={name: sha256_of_graph(folder, name) for name in GRAPHS},
        scratch_bytes=dict.fromkeys(GRAPHS, 1 << 20),
    )


def test_what_is_written_is_read(folder):
    assert read_graphs(folder) == described(folder)


@pytest.mark.parametrize("name", ["score.onnx", "encoder.onnx.data"])
def test_a_changed_byte_is_noticed(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(EngineError, match=r"damaged or not the one that was exported; run `sam-batch engine export`"):
        read_graphs(folder)


@pytest.mark.parametrize(("name", "reason"), [("finish.onnx", "is missing"), ("encoder.onnx.data", "is damaged")])
def test_a_missing_file_is_noticed(folder, name, reason):
    (folder / name).unlink()
    with pytest.raises(EngineError, match=reason):
        read_graphs(folder)


def test_a_folder_without_its_manifest_is_not_finished(folder):
    (folder / MANIFEST).unlink()
    with pytest.raises(ConfigError, match="no finished export"):
        read_graphs(folder)


def test_no_folder_is_no_export(tmp_path):
    with pytest.raises(ConfigError, match="no finished export"):
        read_graphs(tmp_path / "nowhere")


def without(name):
    return lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != name})


def of_another_version(text):
    return json.dumps({**json.loads(text), "version": VERSION + 1})


@pytest.mark.parametrize(
    "damage", [lambda text: text[:40], lambda text: "[]", without("opset"), without("version"), of_another_version]
)
def test_a_damaged_manifest_or_one_of_another_version_is_refused(folder, damage):
    path = folder / MANIFEST
    path.write_text(damage(path.read_text()))
    with pytest.raises(EngineError, match=r"graphs\.json: is damaged or of another version"):
        read_graphs(folder)


def test_a_folder_in_place_of_the_manifest_is_refused(tmp_path):
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_graphs(tmp_path)
