"""One model for all: embeddings are made once, another model replaces it whole, one that cannot be used leaves it."""

import pytest
from support.jobs import job_config
from support.pictures import picture

from sam_batch.app import model as module
from sam_batch.app.model import Model
from sam_batch.app.photograph import Photograph
from sam_batch.errors import CheckpointError
from sam_batch.library.segmenter import Segmenter
from sam_batch.model import weights


def photograph(number):
    return Photograph(f"{number}.jpg", f"{number}.jpg", str(number), picture(30, 40, number))


@pytest.fixture
def counted(monkeypatch):
    """The images that were embedded."""
    made, embed = [], Segmenter.embed

    def count(self, image):
        made.append(image[0, 0].tolist())
        return embed(self, image)

    monkeypatch.setattr(Segmenter, "embed", count)
    return made


def test_an_image_is_embedded_once_for_both_tabs_and_all_visitors(counted):
    model = Model(job_config("photos", "out"))
    for _ in range(2):
        model.predict(photograph(1), points=(5, 5))
        model.explore(photograph(1), model.config.generator, lambda share: None)
    assert len(counted) == 1


def test_the_embeddings_that_are_kept_are_bounded(counted, monkeypatch):
    monkeypatch.setattr(module, "MOST_EMBEDDINGS", 2)
    model = Model(job_config("photos", "out"))
    for number in (1, 2, 1, 3, 1, 2):  # 2 is the one that was used longest ago when 3 comes
        model.predict(photograph(number), points=(5, 5))
    assert len(counted) == 4


def test_a_model_is_loaded_by_its_name_or_by_its_files_name(tmp_path, demo_file):
    model = Model(job_config("photos", "out", engine={"kind": "torch", "device": "cpu", "precision": "fp32"}))
    before = model.origin
    model.load(str(demo_file))
    assert (model.config.model.name, model.config.model.checkpoint) == ("auto", str(demo_file))
    assert model.origin == before
    model.load("demo")
    assert (model.config.model.name, model.config.model.checkpoint) == ("demo", "auto")


@pytest.fixture
def demo_file():
    from importlib.resources import files

    (found,) = [path for path in files(weights).iterdir() if path.name.endswith(".safetensors")]
    return found


@pytest.mark.parametrize("name", ["nowhere.pth", "vit_x", ""])
def test_one_that_cannot_be_used_leaves_the_model(name, demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        demo.load(name)
    assert demo.config.model.name == "demo"
    assert len(demo.predict(photograph(1), points=(5, 5))[0]) == 1
