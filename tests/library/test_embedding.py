import pickle
from dataclasses import replace

import pytest
import torch

from sam_batch.engine.protocol import Embeddings
from sam_batch.errors import CheckpointError
from sam_batch.library.embedding import Embedding, Origin

ORIGIN = Origin("demo", "5a" * 32, "fp32", 256)
EMBEDDING = Embedding(Embeddings((torch.rand(1, 4, 8, 8), torch.rand(1, 2, 16, 16))), 60, 80, ORIGIN)


def assert_same(one, other):
    assert (one.height, one.width, one.origin) == (other.height, other.width, other.origin)
    for part, same in zip(one.embeddings.features, other.embeddings.features, strict=True):
        assert torch.equal(part, same)


def test_it_survives_pickling_and_a_file(tmp_path):
    EMBEDDING.save(tmp_path / "a.safetensors")
    assert_same(Embedding.load(tmp_path / "a.safetensors"), EMBEDDING)
    assert_same(pickle.loads(pickle.dumps(EMBEDDING)), EMBEDDING)


def test_half_precision_stays(tmp_path):
    half = replace(EMBEDDING, embeddings=Embeddings((torch.rand(1, 4, 8, 8).bfloat16(),)))
    half.save(tmp_path / "a.safetensors")
    assert_same(Embedding.load(tmp_path / "a.safetensors"), half)


@pytest.mark.parametrize("content", [None, b"", b"no embedding at all", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_none_is_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is no embedding that can be read"):
        Embedding.load(path)
