from pathlib import Path

from sam_batch.model import families
from sam_batch.model.sam.family import SAM
from sam_batch.model.sam.models import DEMO, VIT_H


def test_every_model_has_a_name_a_hash_and_a_signature_of_its_own():
    models = list(families.models())
    for tell_apart in ({one.name for one in models}, {one.sha256 for one in models}, {one.source for one in models}):
        assert len(tell_apart) == len(models)
    assert families.names() == ["demo", "vit_b", "vit_l", "vit_h"]


def test_what_is_known_of_a_model_is_found_by_name_and_by_hash():
    assert families.family_of("vit_h") is SAM
    assert families.published(DEMO.sha256) is families.model_of("demo")
    assert families.published("0" * 64) is None


def test_a_published_files_name_tells_its_hash():
    assert families.expected_sha256(f"/weights/{Path(VIT_H.source).name}") == VIT_H.sha256
    assert families.expected_sha256("/weights/my_vit_h.pth") is None
    assert families.expected_sha256("runs/demo.safetensors") is None  # it is published in the package alone


def test_views_of_a_model_whose_name_is_open_may_be_the_largest():
    assert families.view_bytes("demo") == 256 * 256 * 3
    assert families.view_bytes("auto") == families.view_bytes("vit_h") == 1024 * 1024 * 3
