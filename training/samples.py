"""From scenes to what a training step sees: camera effects, prompts and their right answers.

A prompt has up to three right answers, nested: the part under the click, the body it lies on, the whole object; each is
the connected region around the click. Everything is tensors on one device and drawn from one generator; nothing here
knows the model.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.scenes import levels

MIN_CELLS = 8  # regions of fewer cells of 4 x 4 pixels are not asked for
STRIDE = 4  # image pixels per mask pixel


class Prompts(NamedTuple):
    """What is asked about N pictures, K times each, and the answers; lengths in pixels of the picture."""

    points: Tensor  # float (N, K, 2), x y
    boxes: Tensor  # float (N, K, 4), x0 y0 x1 y1, jittered, of the answer `level`
    level: Tensor  # int64 (N, K), a random valid answer
    targets: Tensor  # float (N, K, 3, s, s), the covered fraction of each mask pixel, for part, body, object
    valid: Tensor  # bool (N, K, 3), False where an answer repeats the one before
    regions: Tensor  # int64 (3, N, s * s), the connected region of each mask pixel at each level


def _rand(like: Tensor, *shape: int, generator: torch.Generator) -> Tensor:
    return torch.rand(*shape, device=like.device, generator=generator)


def augment(image: Tensor, top: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random crop, turn and exposure of each scene.

    Args:
        image: Float (N, 3, S, S) in 0 to 1.
        top: Uint8 (N, S, S), the topmost layers.
        side: Side of the results in pixels.
        generator: Source of all randomness, on the tensors' device.

    Returns:
        Pictures (N, 3, side, side) in 0 to 255, and their layers (N, side, side).
    """
    u = _rand(image, len(image), 8, generator=generator)
    grid = _crops(u, side)
    image = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    top = F.grid_sample(top[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return _expose(image, generator), top[:, 0].to(torch.uint8)


def _crops(u: Tensor, side: int) -> Tensor:
    """Sampling grids (N, side, side, 2): 55 to 100 % of the scene, mirrored, in a quarter turn half of the time."""
    zoom = 0.55 + 0.45 * u[:, 0]
    centre = (2 * u[:, 1:3] - 1) * (1 - zoom)[:, None]
    flip = torch.where(u[:, 3] < 0.5, -1.0, 1.0)
    turn = (u[:, 4] < 0.3).float()
    zero = torch.zeros_like(zoom)
    upright = torch.stack((torch.stack((zoom * flip, zero), -1), torch.stack((zero, zoom), -1)), 1)
    theta = torch.cat((torch.where(turn[:, None, None] > 0, upright.flip(1), upright), centre[..., None]), -1)
    return F.affine_grid(theta, [len(u), 1, side, side], align_corners=False)


def _expose(image: Tensor, generator: torch.Generator) -> Tensor:
    """Focus, saturation, contrast, exposure, channel order and sensor noise of each picture; 0 to 255."""
    n = len(image)
    u = _rand(image, n, 10, generator=generator)[..., None, None, None]
    order = torch.argsort(_rand(image, n, 3, generator=generator), 1)
    image = image.gather(1, order[..., None, None].expand_as(image))
    blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    image = torch.lerp(image, blurred, (u[:, 0] * 1.6 - 0.6).clamp(min=0))
    grey = image.mean(1, keepdim=True)
    image = torch.lerp(image, grey.expand_as(image), torch.where(u[:, 1] < 0.12, 1.0, 0.5 * u[:, 2]))
    image = image.clamp(0.001, 1) ** (0.7 + 0.7 * u[:, 3])
    mean = image.mean((1, 2, 3), keepdim=True)
    image = mean + (image - mean) * (0.6 + 0.7 * u[:, 4]) + (u[:, 5] - 0.5) * 0.2
    cast = 0.9 + 0.2 * _rand(image, n, 3, 1, 1, generator=generator)
    noise = torch.randn(image.shape, device=image.device, generator=generator)
    return ((image * cast + noise * 0.03 * u[:, 6] ** 2) * 255).clamp(0, 255)


def components(ids: Tensor) -> Tensor:
    """Connected regions (4 neighbours) of equal ids: int64 (N, h * w), one index of a cell of the region for each cell.

    Args:
        ids: Integers (N, h, w).
    """
    n, h, w = ids.shape
    region = torch.arange(h * w, device=ids.device).expand(n, -1).clone()
    while True:
        grown = _hook(ids, region.view(n, h, w)).view(n, -1)
        grown = grown.gather(1, grown)
        if torch.equal(grown, region):
            return region
        region = grown


def _hook(ids: Tensor, region: Tensor) -> Tensor:
    """Each cell takes the largest region index among itself and its like neighbours."""
    region = region.clone()
    for near, far in (
        (np.s_[:, :, 1:], np.s_[:, :, :-1]),
        (np.s_[:, :, :-1], np.s_[:, :, 1:]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:, :-1], np.s_[:, 1:]),
    ):
        like = ids[near] == ids[far]
        region[near] = torch.where(like, torch.maximum(region[near], region[far]), region[near])
    return region


def ask(top: Tensor, count: int, generator: torch.Generator) -> Prompts:
    """Random prompts for pictures, with their answers.

    Args:
        top: Uint8 (N, S, S), the topmost layers.
        count: K, prompts for each picture.
        generator: Source of all randomness.
    """
    n, side = len(top), top.shape[-1]
    table = levels(top.device)
    cells = table[:, top[:, 2::STRIDE, 2::STRIDE].long()]  # (3, N, s, s)
    regions = torch.stack([components(ids) for ids in cells])  # (3, N, s * s)
    clicked = _click(regions[0], count, generator)  # (N, K)
    targets = _targets(top, table, cells, regions, clicked)
    area = targets.sum((3, 4))
    valid = torch.ones_like(area, dtype=torch.bool)
    valid[..., 1:] = area[..., :-1] < 0.9 * area[..., 1:]
    level = (valid * (0.1 + _rand(area, *valid.shape, generator=generator))).argmax(2)
    s = side // STRIDE
    cell = torch.stack((clicked % s, clicked // s), -1)
    points = cell * STRIDE + 2 + _rand(area, n, count, 2, generator=generator)
    chosen = targets.gather(2, level[..., None, None, None].expand(-1, -1, 1, s, s))[:, :, 0]
    return Prompts(points, _jitter(_boxes(chosen), side, generator), level, targets, valid, regions)


def _click(region: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Cells (N, K) to click: small regions less often than large ones, but more often than their area alone gives."""
    size = torch.zeros_like(region).scatter_add_(1, region, torch.ones_like(region)).gather(1, region)
    weight = torch.where(size >= MIN_CELLS, size.float() ** -0.6, 0.0) + 1e-9
    return torch.multinomial(weight, count, replacement=True, generator=generator)


def _targets(top: Tensor, table: Tensor, cells: Tensor, regions: Tensor, clicked: Tensor) -> Tensor:
    """The answers, float (N, K, 3, s, s): the region around the click, its edge from four pixels of each mask pixel."""
    n, k = clicked.shape
    s = cells.shape[-1]
    middle = torch.arange(2 * s, device=top.device) // 2 * STRIDE + 1 + torch.arange(2 * s, device=top.device) % 2
    fine = top[:, middle][:, :, middle].long()
    answers = []
    for level in range(3):
        ids = table[level][fine][:, None]
        wanted = cells[level].reshape(n, -1).gather(1, clicked)[..., None, None]
        covered = F.avg_pool2d((ids == wanted).float(), 2)
        region = regions[level]
        around = (region[:, None] == region.gather(1, clicked)[..., None]).view(n, k, s, s).float()
        answers.append(covered * F.max_pool2d(around, 3, stride=1, padding=1))
    return torch.stack(answers, 2)


def _boxes(mask: Tensor) -> Tensor:
    """Boxes x0 y0 x1 y1 in picture pixels, (N, K, 4), of masks (N, K, s, s)."""
    s = mask.shape[-1]
    inside = mask >= 0.5
    index = torch.arange(s, device=mask.device)
    ends = []
    for axis in (2, 3):
        line = inside.any(axis)
        low = torch.where(line, index, s).amin(-1)
        high = torch.where(line, index + 1, 0).amax(-1)
        ends.append((torch.minimum(low, high), torch.maximum(low, high)))
    (x0, x1), (y0, y1) = ends
    return torch.stack((x0, y0, x1, y1), -1).float() * STRIDE


def _jitter(boxes: Tensor, side: int, generator: torch.Generator) -> Tensor:
    extent = (boxes[..., 2:] - boxes[..., :2]).repeat(1, 1, 2)
    noise = torch.randn(boxes.shape, device=boxes.device, generator=generator)
    return (boxes + noise * (0.04 * extent + 1)).clamp(0, side)
