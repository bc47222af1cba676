"""A family of models that is nothing like SAM takes one new file and one line: then everything knows it."""

import pytest
import safetensors.torch
import torch
from engine.contract import pictures, point_prompts
from pydantic import ValidationError
from support.jobs import draw_photographs, job_config, rows, run
from support.toy_family import SIDE, ToyFamily

from sam_batch.config import ModelConfig
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.errors import ConfigError
from sam_batch.model import families
from sam_batch.model.load import load_model


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    """The line, and a file of weights."""
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, ToyFamily()))
    torch.manual_seed(0)
    state = {name: tensor.contiguous() for name, tensor in ToyFamily().build("toy").state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "toy.safetensors")
    return tmp_path / "toy.safetensors"


def test_it_can_be_configured_by_name():
    assert ModelConfig(name="toy").name == "toy"
    with pytest.raises(ValidationError, match="should be one of demo, vit_b, vit_l, vit_h, toy, auto"):
        ModelConfig(name="toys")


def test_its_weights_are_recognised_and_loaded(toy):
    assert load_model(toy)["stem"].weight.shape == (3, 3, 4, 4)


def test_the_torch_engine_embeds_scores_and_finishes(toy):
    engine = TorchEngine(load_model(toy), ToyFamily(), model="toy", precision="fp32", device="cpu")
    embeddings = engine.embed(pictures(engine))
    assert [len(embeddings), len(embeddings.features)] == [2, 2]
    scored = engine.score(embeddings[1], point_prompts(engine))
    assert engine.finish(scored, torch.tensor([[4, 2], [0, 0]])).shape == (2, SIDE // 4, SIDE // 4)


def test_a_job_labels_images_with_it(toy, tmp_path):
    draw_photographs(tmp_path / "photos", 2)
    model, engine = {"name": "auto", "checkpoint": str(toy)}, {"kind": "torch", "precision": "fp32"}
    config = job_config(tmp_path / "photos", tmp_path / "out", model=model, engine=engine)
    assert run(config).error == ""
    assert all(row["masks"] for row in rows(tmp_path / "out"))


def test_it_has_no_tensorrt_engines_and_says_so(toy):
    with pytest.raises(ConfigError, match=r"no TensorRT engines of Toy models; set engine\.kind=torch"):
        ToyFamily().graphs(load_model(toy), "fp32", attention=False, positions="written", max_tokens=None)
