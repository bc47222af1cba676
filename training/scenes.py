"""Scenes: pictures drawn from a seed, with the exact layer of every pixel.

A scene is a stack of layers, each a row of numbers (`describe`): backgrounds first, then objects from large to small,
each of parts behind its body, the body, and parts on it. `draw` paints the stack with the same code for one scene on
a CPU, where each layer touches only its own window, and for a batch on a GPU. Camera effects and augmentation are in
`samples`; no picture is read from anywhere.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from training.noise import TILES, tiles, uniform

BACKGROUNDS = 4
OBJECTS = 12
BEHIND = 2  # parts behind the body, sticking out: limbs, handles
INSIDE = 2  # parts on the body: marks, windows
SLOTS = BEHIND + 1 + INSIDE
LAYERS = BACKGROUNDS + OBJECTS * SLOTS
FEATURES = 40
SHADOW_REACH = 1.9

Scene = dict[str, Tensor]


def levels(device: torch.device | str = "cpu") -> Tensor:
    """What belongs together: int64 (3, LAYERS), the id of each layer's part, body (with its marks) and object."""
    layer = torch.arange(LAYERS)
    thing = (layer - BACKGROUNDS).clamp(min=0)
    obj, slot = thing // SLOTS, thing % SLOTS
    first = BACKGROUNDS + obj * SLOTS
    is_object = layer >= BACKGROUNDS
    body = torch.where(is_object & (slot >= BEHIND), first + BEHIND, layer)
    whole = torch.where(is_object, first + BEHIND, layer)
    return torch.stack((layer, body, whole)).to(device)


def describe(seeds_N: Tensor) -> Scene:
    """The numbers of each layer: a table of float32 (N, LAYERS) or (N, LAYERS, 3), lengths in units of the side."""
    backgrounds = _backgrounds(seeds_N)
    objects = _objects(seeds_N)
    scene = {name: torch.cat((backgrounds[name], objects[name]), 1) for name in backgrounds}
    whole = uniform(seeds_N + 77_000_003, 1, 8)[:, 0]
    scene["defocus"] = ((whole[:, 0] < 0.4) * whole[:, 1])[:, None]
    scene["light"] = (whole[:, 2] * 2 * math.pi)[:, None]
    return scene


def _palette(u: Tensor) -> Tensor:
    """Colours (..., 3) in 0 to 1 from uniform numbers (..., 4): any lightness, mostly of little saturation."""
    hue = u[..., 0:1] * 2 * math.pi + torch.tensor([0.0, 2.1, 4.2], device=u.device)
    saturation = 0.5 * u[..., 1:2] ** 2
    lightness = 0.06 + 0.88 * u[..., 2:3]
    return (lightness + saturation * torch.cos(hue) * (1 - (2 * lightness - 1) ** 2 * 0.6)).clamp(0, 1)


def _surface(u: Tensor) -> Scene:
    """The look of each layer, from uniform numbers (..., 40)."""
    rich = u[..., 24] ** 2
    return {
        "colour": _palette(u[..., 20:24]),
        "grain": 0.02 + 0.22 * rich,
        "tint": (u[..., 25:28] - 0.5) * 0.4 * u[..., 28:29],
        "zoom": 2 ** (3.5 * u[..., 29] - 2.0),
        "tile": (u[..., 30] * TILES).floor().clamp(max=TILES - 1),
        "offset_x": u[..., 31],
        "offset_y": u[..., 32],
        "stripes": (u[..., 33] < 0.15) * (0.05 + 0.25 * u[..., 34]),
        "period": 2 ** (-1.0 - 3.5 * u[..., 35]),
        "hard": (u[..., 36] < 0.5).float(),
        "slope": (u[..., 37] - 0.5) * 0.5,
        "bulge": (u[..., 38] - 0.25) * 0.4,
        "soft": 0.8 + 1.6 * u[..., 39] ** 3,
    }


def _backgrounds(seeds_N: Tensor) -> Scene:
    """A full first layer, then optional half-planes with wavy borders: horizons, walls, tables."""
    u = uniform(seeds_N, BACKGROUNDS, FEATURES)
    look = _surface(u)
    first = torch.arange(BACKGROUNDS, device=u.device) == 0
    angle = u[..., 0] * 2 * math.pi
    level = (u[..., 1] < 0.6) & (u[..., 2] < 0.9)
    angle = torch.where(level, math.pi / 2 + (u[..., 3] - 0.5) * 0.2, angle)
    radius = torch.full_like(angle, 1.5)
    shift = radius + (u[..., 4] - 0.4) * 0.7
    look |= {
        "present": torch.where(first, 1.0, (u[..., 5] < 0.4).float()),
        "x": torch.where(first, 0.5, 0.5 + shift * torch.cos(angle)),
        "y": torch.where(first, 0.5, 0.5 + shift * torch.sin(angle)),
        "radius": torch.where(first, 4.0, radius),
        "aspect": torch.ones_like(angle),
        "angle": angle,
        "corners": torch.full_like(angle, 4.0),
        "square": torch.where(u[..., 6] < 0.6, 1.0, 0.3),
        "wobble": torch.where(first, 0.0, 0.04 * u[..., 7] ** 2),
        "phase": u[..., 8] * 2 * math.pi,
        "bend": torch.zeros_like(angle),
        "rough": torch.where(first, 0.0, (u[..., 9] < 0.3) * 0.02 * u[..., 10]),
        "ring": torch.zeros_like(angle),
        "keep": torch.zeros_like(angle),
        "shadow": torch.zeros_like(angle),
    }
    look["grain"] = look["grain"] * 1.3
    look["bulge"] = torch.zeros_like(angle)
    return look


def _leaders(copies_NO: Tensor) -> Tensor:
    """For each object, itself or the earlier object that it repeats: int64 (N, OBJECTS)."""
    index = torch.arange(OBJECTS, device=copies_NO.device).expand_as(copies_NO)
    return torch.where(copies_NO, 0, index).cummax(1).values


def _objects(seeds_N: Tensor) -> Scene:
    """Objects from large to small, some repeated in groups, each of SLOTS layers: (N, OBJECTS * SLOTS)."""
    n = len(seeds_N)
    whole = uniform(seeds_N + 31_000_003, 1, 8)
    own = uniform(seeds_N + 57_000_017, OBJECTS, FEATURES)
    parts = uniform(seeds_N + 91_000_033, OBJECTS * SLOTS, FEATURES).reshape(n, OBJECTS, SLOTS, FEATURES)
    copies = (own[..., 19] < 0.6 * (whole[..., 0] < 0.35)) & (torch.arange(OBJECTS, device=own.device) > 0)
    leader = _leaders(copies)
    led = own.gather(1, leader[..., None].expand_as(own))
    led = torch.cat((own[..., :2], led[..., 2:]), -1)  # a repeated object has its own place only
    parts = parts.gather(1, leader[..., None, None].expand_as(parts))
    layer = _join(_bodies(led, own, copies, whole, leader), parts)
    return {name: value.flatten(1, 2) for name, value in layer.items()}


def _bodies(led: Tensor, own: Tensor, copies: Tensor, whole: Tensor, leader: Tensor) -> Scene:
    """The body of each object, (N, OBJECTS)."""
    rank = (leader + led[..., 2] * 3 - 1.5).clamp(min=0) / OBJECTS
    tumble = torch.where(copies & (whole[..., 1] < 0.5), own[..., 3], led[..., 3])
    upright = led[..., 4] < 0.4
    thin = led[..., 5] < 0.12
    look = _surface(led)
    return look | {
        "present": (own[..., 6] < 0.25 + 0.75 * whole[..., 2]).float(),
        "x": 0.04 + 0.92 * own[..., 0],
        "y": 0.04 + 0.92 * own[..., 1],
        "radius": 0.42 * 2 ** (-4.0 * rank) * (0.8 + 0.4 * led[..., 7]),
        "aspect": torch.where(thin, 0.06 + 0.15 * led[..., 8], 0.3 + 0.7 * led[..., 8] ** 0.7),
        "angle": torch.where(upright, (led[..., 4] < 0.2) * math.pi / 2 + 0.0 * tumble, tumble * 2 * math.pi),
        "corners": 3 + (led[..., 9] ** 1.5 * 5).floor(),
        "square": (led[..., 10] < 0.45) * led[..., 11] ** 0.3,
        "wobble": (led[..., 12] < 0.5) * 0.5 * led[..., 13] ** 1.5,
        "phase": led[..., 14] * 2 * math.pi,
        "bend": (led[..., 15] < 0.3) * (led[..., 16] - 0.5) * 1.6,
        "rough": (led[..., 17] < 0.25) * 0.1 * led[..., 18],
        "ring": (led[..., 18] > 0.95).float(),
        "keep": 0.4 * led[..., 24] * (led[..., 33] < 0.5),
        "shadow": (whole[..., 3] < 0.65) * (0.15 + 0.5 * whole[..., 4]) * torch.ones_like(led[..., 0]),
    }


def _join(body: Scene, u: Tensor) -> Scene:
    """Bodies (N, OBJECTS) and uniform numbers of their slots -> layers (N, OBJECTS, SLOTS), parts on their bodies."""
    slot = torch.arange(SLOTS, device=u.device)
    is_body, inside = slot == BEHIND, slot > BEHIND
    wide = {name: value.unsqueeze(2).expand(*value.shape[:2], SLOTS, *value.shape[2:]) for name, value in body.items()}
    part = _parts(wide, u, inside)
    return {name: torch.where(is_body[:, None] if value.ndim == 4 else is_body, value, part[name])
            for name, value in wide.items()}  # fmt: skip


def _parts(body: Scene, u: Tensor, inside: Tensor) -> Scene:
    """The parts of each body: placed, turned and sized relative to it, coloured like it to a random degree."""
    mirrored = (u[..., 1:2, 0] < 0.5) & ~inside  # two limbs of one kind, on opposite sides
    u = torch.where((inside & (u[..., 3:4, 1] < 0.4))[..., None], u[..., 3:4, :], u)  # two marks of one kind
    u = torch.where(mirrored[..., None], u[..., 0:1, :], u)
    side = torch.where(torch.arange(SLOTS, device=u.device) % 2 == 1, -1.0, 1.0)
    around = u[..., 2] * 2 * math.pi + (side < 0) * torch.where(mirrored, 0.6 + u[..., 3], 0.0)
    out = torch.where(inside, 0.75 * u[..., 4].sqrt(), 0.85 + 0.25 * u[..., 4])
    a, b = out * torch.cos(around), out * torch.sin(around) * body["aspect"]
    twin = inside & (u[..., 1] < 0.4)
    a = torch.where(twin, a * side, a)
    cos, sin = torch.cos(body["angle"]), torch.sin(body["angle"])
    reach = body["radius"] * body["aspect"].sqrt()
    size = torch.where(inside, 0.12 + 0.5 * u[..., 5], 0.25 + 0.5 * u[..., 5])
    look = _surface(u)
    own = (u[..., 6] ** 0.6)[..., None]
    return look | {
        "colour": torch.where(inside[:, None], 0.25 + 0.75 * own, own) * (look["colour"] - body["colour"])
        + body["colour"],
        "tile": torch.where(u[..., 7] < 0.6, body["tile"], look["tile"]),
        "grain": torch.where(u[..., 7] < 0.6, body["grain"], look["grain"]),
        "present": body["present"] * (u[..., 8] < torch.where(inside, 0.45, 0.4)),
        "x": body["x"] + body["radius"] * (a * cos - b * sin),
        "y": body["y"] + body["radius"] * (a * sin + b * cos),
        "radius": reach * size,
        "aspect": torch.where(inside, 0.4 + 0.6 * u[..., 9], 0.2 + 0.6 * u[..., 9]),
        "angle": torch.where(inside & (u[..., 10] < 0.7), body["angle"], body["angle"] + around),
        "corners": 3 + (u[..., 11] * 5).floor(),
        "square": (u[..., 12] < 0.4) * u[..., 13],
        "wobble": (u[..., 14] < 0.4) * 0.35 * u[..., 15],
        "phase": u[..., 16] * 2 * math.pi,
        "bend": (u[..., 17] < 0.3) * (u[..., 18] - 0.5) * 1.5,
        "rough": body["rough"],
        "ring": (~inside & (u[..., 19] < 0.12)).float(),
        "keep": torch.where(inside, 0.0, body["keep"]),
        "shadow": torch.where(inside, 0.0, body["shadow"]),
        "soft": body["soft"],
    }


def draw(scene: Scene, side: int) -> tuple[Tensor, Tensor]:
    """Paint the scenes.

    Args:
        scene: From `describe`, on the device to draw on.
        side: Side of the square pictures in pixels.

    Returns:
        Pictures, float32 (N, 3, side, side) in 0 to 1, and the topmost layer of each pixel, uint8 (N, side, side).
    """
    n, device = len(scene["x"]), scene["x"].device
    image = torch.zeros(n, 3, side, side, device=device)
    top = torch.zeros(n, side, side, dtype=torch.uint8, device=device)
    windows = _windows(scene, side)
    for layer in range(LAYERS):
        if layer == BACKGROUNDS:
            image = _defocus(image, scene["defocus"])
        x0, y0, x1, y1 = windows[layer]
        if x0 < x1 and y0 < y1:
            row = {name: value[:, layer] for name, value in scene.items() if value.shape[1] > 1}
            row["light"] = scene["light"][:, 0]
            _paint(image[..., y0:y1, x0:x1], top[..., y0:y1, x0:x1], row, layer, (x0, y0, side))
    return image, top


def _windows(scene: Scene, side: int) -> list[list[int]]:
    """What each layer can touch, united over the batch: (LAYERS, 4) pixels, x0 y0 x1 y1."""
    grow = (1 + 1.6 * scene["wobble"]) * (1 + scene["bend"].abs()) + 3.5 * scene["rough"]
    shadow = torch.where(scene["shadow"] > 0, 0.45, 0.0)
    reach = (scene["radius"] * (grow + shadow) * math.sqrt(2) + 3 / side) * 1.02
    here = scene["present"] > 0
    low = [torch.where(here, scene[axis] - reach, 2.0).amin(0) for axis in "xy"]
    high = [torch.where(here, scene[axis] + reach, -1.0).amax(0) for axis in "xy"]
    pixels = torch.stack((*low, *high), -1) * side
    pixels = torch.cat((pixels[:, :2].floor(), pixels[:, 2:].ceil()), -1)
    return pixels.clamp(0, side).int().tolist()


def _paint(image: Tensor, top: Tensor, row: Scene, layer: int, frame: tuple[int, int, int]) -> None:
    """One layer onto its window of the pictures, in place: its shadow, then itself."""
    p = {name: value[..., None, None] if value.ndim == 1 else value for name, value in row.items()}
    u, v, distance = _local(p, image.shape[-2:], frame)
    texture, smooth = _noise(p, u, v, frame[2])
    distance = distance + p["rough"] * texture.clamp(-3, 3) * p["radius"] * p["aspect"] * frame[2]
    alpha = (0.5 - distance / p["soft"]).clamp(0, 1) * p["present"]
    slot = (layer - BACKGROUNDS) % SLOTS
    if layer >= BACKGROUNDS and slot > BEHIND:
        alpha = alpha * (top >= layer - slot + BEHIND)  # a mark shows only on its own body
    if layer >= BACKGROUNDS and slot <= BEHIND:
        _shade(image, p, u, v)
    colour = _colours(p, u, v, texture, smooth)
    keep = p["keep"][:, None]
    alpha_shown = alpha[:, None] * (1 - keep)
    image.lerp_(colour.clamp(0, 1), alpha_shown)
    top.copy_(torch.where(alpha > 0.5, torch.full_like(top, layer), top))


def _local(p: Scene, size: torch.Size, frame: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates along the layer's axes in units of its radii, and the distance to its outline in pixels."""
    x0, y0, side = frame
    h, w = size
    dx = (torch.arange(w, device=p["x"].device) + (x0 + 0.5)) / side - p["x"]
    dy = ((torch.arange(h, device=p["x"].device) + (y0 + 0.5)) / side)[:, None] - p["y"]
    cos, sin = torch.cos(p["angle"]), torch.sin(p["angle"])
    u = (dx * cos + dy * sin) / p["radius"]
    v = (dy * cos - dx * sin) / (p["radius"] * p["aspect"])
    v = v + p["bend"] * (u * u - 0.3)
    angle = torch.atan2(v, u)
    sector = 2 * math.pi / p["corners"]
    folded = torch.remainder(angle + sector / 2, sector) - sector / 2
    polygon = torch.cos(folded) / torch.cos(sector / 2)
    waves = torch.cos(2 * angle + p["phase"]) + 0.7 * torch.cos(3 * angle + 2.3 * p["phase"])
    waves = waves + 0.4 * torch.cos(5 * angle + 4.1 * p["phase"])
    norm = torch.sqrt(u * u + v * v) * torch.lerp(torch.ones_like(polygon), polygon, p["square"])
    edge = norm / (1 + 0.7 * p["wobble"] * waves) - 1
    edge = torch.where(p["ring"] > 0, (edge + 0.25).abs() - 0.25, edge)
    return u, v, edge * p["radius"] * p["aspect"].clamp(max=1) * side


def _noise(p: Scene, u: Tensor, v: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Texture and smooth noise at each pixel, fixed to the layer's own axes, (N, h, w) each."""
    bank = tiles(str(u.device))[p["tile"][:, 0, 0].long()]
    scale = p["zoom"] * p["radius"].clamp(max=0.5) * 2
    grid = torch.stack((u * scale + p["offset_x"] * 2 - 1, v * p["aspect"] * scale + p["offset_y"] * 2 - 1), -1)
    found = F.grid_sample(bank, grid, padding_mode="reflection", align_corners=False)
    return found[:, 0], found[:, 1]


def _shade(image: Tensor, p: Scene, u: Tensor, v: Tensor) -> None:
    """A soft elliptic shadow beside the layer, away from the light, on what is already painted."""
    turn = p["light"] - p["angle"]
    su, sv = u - 0.3 * torch.cos(turn), v - 0.3 * torch.sin(turn)
    depth = (1.4 - torch.sqrt(su * su + sv * sv)).clamp(0, 0.6) / 0.6
    image.mul_((1 - p["shadow"] * p["present"] * depth * depth)[:, None])


def _colours(p: Scene, u: Tensor, v: Tensor, texture: Tensor, smooth: Tensor) -> Tensor:
    """The layer's colour at each pixel, (N, 3, h, w): base, light from one side, texture, stripes."""
    turn = p["light"] - p["angle"]
    light = 1 - p["slope"].abs() * (u * torch.cos(turn) + v * torch.sin(turn)).clamp(-1.5, 1.5)
    light = light + p["bulge"] * (0.5 - (u * u + v * v).clamp(max=1.5))
    wave = torch.sin((u + 0.15 * smooth) * (2 * math.pi) / p["period"])
    wave = torch.where(p["hard"] > 0, (4 * wave).clamp(-1, 1), wave)
    light = light + p["grain"] * texture + p["stripes"] * wave
    tone = p["colour"][..., None, None] + p["tint"][..., None, None] * smooth[:, None]
    return tone * light[:, None]


def _defocus(image: Tensor, amount_N1: Tensor) -> Tensor:
    """Backgrounds out of focus by the given amount, 0 to 1."""
    small = F.interpolate(image, scale_factor=0.125, mode="area")
    blurred = F.interpolate(small, size=image.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)
    return torch.lerp(image, blurred, amount_N1[:, :, None, None])
