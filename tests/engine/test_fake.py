import pytest
import torch
import torch.nn.functional as F
from engine.contract import EngineContract, pictures, point_prompts
from segment_anything.utils.amg import calculate_stability_score

from sam_batch.engine import fake
from sam_batch.engine.fake import FakeEngine
from sam_batch.engine.protocol import Prompts


class TestFakeEngine(EngineContract):
    atol = 0.0

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls):
        return FakeEngine()


def view_of(rgb, height=256, width=256):
    """(1, 3, 256, 256): a view of one colour, normalised and padded."""
    mean, std = torch.tensor(fake.PIXEL_MEAN), torch.tensor(fake.PIXEL_STD)
    plane = ((torch.tensor(rgb) - mean) / std)[:, None, None].expand(3, height, width)
    return F.pad(plane, (0, 256 - width, 0, 256 - height))[None]


def grid():
    line = torch.arange(8, 256, 16.0)
    points = torch.cartesian_prod(line, line)[:, None]
    return Prompts(points, torch.ones(len(points), 1, dtype=torch.int32))


def test_default_thresholds_keep_some_masks_and_drop_others():
    engine = FakeEngine()
    scored = engine.score(engine.embed(pictures(engine, 1))[0], grid())
    confident = scored.iou >= 0.88
    assert 0.2 < confident.float().mean() < 0.8
    logits = F.interpolate(engine.finish(scored, confident.nonzero())[:, None], scale_factor=4, mode="bilinear")
    assert (calculate_stability_score(logits, 0.0, 1.0) >= 0.95).all()


def test_a_point_lies_in_its_mask():
    engine = FakeEngine()
    prompts = point_prompts(engine)
    scored = engine.score(engine.embed(pictures(engine, 1))[0], prompts)
    masks = engine.finish(scored, torch.tensor([[i, 0] for i in range(5)])) > 0
    for mask, (x, y) in zip(masks, (prompts.points[:, 0] / 4).int().tolist(), strict=True):
        assert mask[y, x]


def test_a_box_bounds_its_smallest_mask():
    engine = FakeEngine()
    scored = engine.score(
        engine.embed(pictures(engine, 1))[0], Prompts(boxes=torch.tensor([[40.0, 80.0, 120.0, 100.0]]))
    )
    rows, columns = (engine.finish(scored, torch.tensor([[0, 0]]))[0] > 0).nonzero().unbind(dim=1)
    assert (columns.min() * 4, columns.max() * 4 + 4) == (40, 120)
    assert (rows.min() * 4, rows.max() * 4 + 4) == (80, 100)


def test_nothing_is_found_on_black():
    engine = FakeEngine()
    assert (engine.score(engine.embed(view_of((0, 0, 0)))[0], grid()).iou == 0).all()


class TestKiller:
    @pytest.fixture
    def exits(self, monkeypatch):
        codes = []
        monkeypatch.setattr(fake.os, "_exit", codes.append)
        return codes

    @pytest.mark.parametrize(("height", "width"), [(256, 256), (17, 256), (256, 100)])
    def test_a_view_of_the_killer_colour_ends_the_process(self, exits, height, width):
        FakeEngine().embed(torch.cat([view_of((9, 9, 9)), view_of(FakeEngine.KILLER_RGB, height, width)]))
        assert exits == [1]

    @pytest.mark.parametrize("rgb", [(255, 0, 250), (250, 0, 254), (255, 8, 254), (0, 0, 0), (255, 255, 255)])
    def test_other_colours_do_not(self, exits, rgb):
        FakeEngine().embed(view_of(rgb))
        assert exits == []

    def test_one_other_pixel_saves_it(self, exits):
        view = view_of(FakeEngine.KILLER_RGB)
        view[0, :, 100, 100] = 1.0
        FakeEngine().embed(view)
        assert exits == []
