import pytest
import torch
from support.small_sam import SmallFamily, small_sam
from support.threads import one_thread

from sam_batch.model import families

__all__ = ["one_thread"]


@pytest.fixture
def small_models(monkeypatch):
    """Small models in the place of real ones, under their names."""
    monkeypatch.setattr(families, "FAMILIES", (SmallFamily(),))


@pytest.fixture
def weights(tmp_path, small_models):
    """A file of a small `vit_b`."""
    path = tmp_path / "weights.pth"
    torch.save(small_sam().state_dict(), path)
    return path
