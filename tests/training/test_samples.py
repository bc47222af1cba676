import cv2
import numpy as np
import pytest
import torch

from training.samples import ask, augment, components
from training.scenes import describe, draw, levels


@pytest.fixture(scope="module")
def scenes():
    return draw(describe(torch.arange(4)), 128)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_components_are_those_of_opencv():
    ids = (torch.rand(2, 24, 31, generator=seeded()) < 0.6).int()
    found = components(ids)
    for one, region in zip(ids.numpy(), found.view(2, 24, 31).numpy(), strict=True):
        for value in (0, 1):
            _, expected = cv2.connectedComponents((one == value).astype(np.uint8), connectivity=4)
            pairs = set(zip(region[one == value].tolist(), expected[one == value].tolist(), strict=True))
            assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_augmentation_keeps_ranges_layers_and_sizes(scenes):
    image, top = augment(*scenes, 64, seeded())
    assert image.shape == (4, 3, 64, 64)
    assert top.shape == (4, 64, 64)
    assert image.min() >= 0
    assert image.max() <= 255
    assert all(set(a.unique().tolist()) <= set(b.unique().tolist()) for a, b in zip(top, scenes[1], strict=True))


def test_one_generator_gives_one_augmentation(scenes):
    first, second = (augment(*scenes, 64, seeded(5)) for _ in range(2))
    assert torch.equal(first[0], second[0])


def test_clicks_lie_on_their_answers(scenes):
    asked = ask(scenes[1], 8, seeded())
    x, y = (asked.points.long() // 4).unbind(-1)
    for n in range(4):
        for k in range(8):
            assert (asked.targets[n, k, :, y[n, k], x[n, k]] > 0).all()


def test_answers_are_nested_and_valid_ones_differ(scenes):
    asked = ask(scenes[1], 8, seeded())
    area = asked.targets.sum((3, 4))
    assert (asked.targets[:, :, 0] <= asked.targets[:, :, 1] + 1e-6).all()
    assert (asked.targets[:, :, 1] <= asked.targets[:, :, 2] + 1e-6).all()
    assert asked.valid[..., 0].all()
    assert (area[..., :-1] < 0.9 * area[..., 1:])[asked.valid[..., 1:]].all()


def test_answers_cover_their_layers_exactly(scenes):
    """Summed over a picture whose layers are all connected, covered fractions are pixel counts."""
    top = torch.zeros(1, 64, 64, dtype=torch.uint8)
    top[:, 8:40, 12:52] = 4 + 2
    asked = ask(top, 4, seeded())
    on = asked.points[0, :, 0].ge(12) & asked.points[0, :, 0].lt(52) & asked.points[0, :, 1].ge(8)
    on &= asked.points[0, :, 1].lt(40)
    area = asked.targets[0, :, 0].sum((1, 2)) * 16
    assert torch.equal(area, torch.where(on, 32.0 * 40, 64.0 * 64 - 32 * 40))


def test_boxes_enclose_the_answer_they_are_of(scenes):
    asked = ask(scenes[1], 8, seeded())
    area = (asked.targets.sum((3, 4)) * 16).gather(2, asked.level[..., None])[..., 0]
    x0, y0, x1, y1 = asked.boxes.unbind(-1)
    assert ((x1 - x0) * (y1 - y0) > 0.5 * area).all()
    assert asked.boxes.min() >= 0
    assert asked.boxes.max() <= 128


def test_levels_chosen_are_valid(scenes):
    asked = ask(scenes[1], 32, seeded())
    assert asked.valid.gather(2, asked.level[..., None]).all()
    assert levels().shape[0] == asked.valid.shape[-1]
