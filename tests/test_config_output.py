import pytest
from pydantic import ValidationError

from sam_batch.config_output import OutputConfig


def test_each_format_is_exported_once_and_coco_can_be_switched_off():
    assert OutputConfig(uri="out", exports=("yolo", "coco", "yolo")).formats == ("yolo", "coco")
    assert OutputConfig(uri="out", coco={"enabled": False}).formats == ()


@pytest.mark.parametrize("opacity", [-0.1, 1.1])
def test_an_opacity_lies_between_none_and_all(opacity):
    with pytest.raises(ValidationError, match="opacity"):
        OutputConfig(uri="out", color_masks={"opacity": opacity})
