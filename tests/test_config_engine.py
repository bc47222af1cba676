import pytest
from pydantic import ValidationError

from sam_batch.config_engine import EngineConfig, TensorRTConfig


def test_tensorrt_needs_a_gpu():
    with pytest.raises(ValidationError, match="set device to cuda or auto, or kind to torch"):
        EngineConfig(kind="tensorrt", device="cpu")


def test_tiled_positions_are_for_one_image_at_a_time():
    assert TensorRTConfig(positions="tiled").max_images == 1
    with pytest.raises(ValidationError, match="set folded or auto, or max_images to 1"):
        TensorRTConfig(positions="tiled", max_images=2)
