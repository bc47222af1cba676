"""What readers are put to: masks, sizes, names and orientations that some of them get wrong.

Each image is drawn as its masks say, red on white, so that a picture that lies askew to its masks shows it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sam_batch.data.pixels import turned
from support.results import random_masks

HEIGHT, WIDTH = 97, 131
_ORIENTATION = 0x0112  # EXIF's tag
_BACK = {6: 8, 8: 6}  # what undoes an orientation; the others undo themselves


class Photo(NamedTuple):
    """An image with its masks, each boolean (H, W), in the frame of the image as it is shown."""

    key: str
    masks: list[np.ndarray]
    size: tuple[int, int] = (HEIGHT, WIDTH)
    orientation: int = 1

    @property
    def drawn_HW(self) -> np.ndarray:
        """Where it is red."""
        return np.logical_or.reduce([np.zeros(self.size, bool), *self.masks])

    def save(self, folder: Path) -> Path:
        """Write it as its key says."""
        path = folder / self.key
        path.parent.mkdir(parents=True, exist_ok=True)
        shown_HW3 = np.where(self.drawn_HW[..., None], np.uint8((255, 0, 0)), np.uint8(255))
        stored_HW3 = turned(shown_HW3, _BACK.get(self.orientation, self.orientation))
        exif = Image.Exif()
        exif[_ORIENTATION] = self.orientation
        exact = {"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}
        Image.fromarray(np.ascontiguousarray(stored_HW3)).save(path, exif=exif, **exact)
        return path


def _rectangle(top: int, left: int, height: int, width: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    mask_HW = np.zeros(size, bool)
    mask_HW[top : top + height, left : left + width] = True
    return mask_HW


def _disk(radius: float, y: int = 48, x: int = 65) -> np.ndarray:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def _every(step: int, axis: int) -> np.ndarray:
    mask_HW = _rectangle(10, 10, 60, 90)
    mask_HW.swapaxes(0, axis)[12:70:step] = False
    return mask_HW


def _noise(seed: int) -> np.ndarray:
    return _rectangle(20, 30, 50, 60) & (np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.5)


def _photo(*masks: np.ndarray) -> list[Photo]:
    return [Photo("photo.jpg", list(masks))]


def _named(*keys: str) -> list[Photo]:
    """Each with masks of its own, whose sides are those of JPEG's blocks, so that the picture is exact."""
    size = 64, 128
    return [
        Photo(key, [_rectangle(8, 16 * place, 24, 40, size), _rectangle(40, 8, 16, 8 + 8 * place, size)], size)
        for place, key in enumerate(keys)
    ]


def _sizes() -> Iterator[Photo]:
    for height, width in [(1, 1), (1, 500), (500, 1), (3, 2), (3000, 4000)]:
        mask_HW = np.zeros((height, width), bool)
        mask_HW[height // 3 :, width // 4 : width // 4 + width // 2 + 1] = True
        yield Photo(f"{height}x{width}.png", [mask_HW, np.ones((height, width), bool)], (height, width))


def _orientations() -> Iterator[Photo]:
    for orientation in range(1, 9):
        yield Photo(f"{orientation}.jpg", _named("")[0].masks, (64, 128), orientation)


_ISLAND = (_disk(40) & ~_disk(25)) | (_disk(15) & ~_disk(5))
CASES: dict[str, list[Photo]] = {
    "blobs": _photo(*random_masks(HEIGHT, WIDTH, 6)),
    "holes": _photo(_disk(40) & ~_disk(20), _rectangle(5, 5, 80, 110) & ~_disk(6) & ~_disk(9, 30, 30)),
    "islands in holes": _photo(_ISLAND),
    "several parts": _photo(
        _disk(9) | _disk(9, 20, 20), _disk(4) | _rectangle(2, 3, 9, 9) | _rectangle(90, 100, 3, 20)
    ),
    "touching corners": _photo(_rectangle(10, 10, 20, 20) | _rectangle(30, 30, 20, 20), np.eye(HEIGHT, WIDTH) > 0),
    "one pixel": _photo(_rectangle(40, 50, 1, 1), _rectangle(0, 0, 1, 1), _rectangle(HEIGHT - 1, WIDTH - 1, 1, 1)),
    "one row": _photo(
        _rectangle(30, 0, 1, WIDTH), _rectangle(40, 20, 1, 9), _rectangle(0, 60, HEIGHT, 1), _rectangle(50, 90, 7, 1)
    ),
    "whole image": _photo(_rectangle(0, 0, HEIGHT, WIDTH), ~_rectangle(40, 50, 1, 1)),
    "borders": _photo(
        ~_rectangle(1, 1, HEIGHT - 2, WIDTH - 2),
        ~_rectangle(3, 3, HEIGHT - 6, WIDTH - 6),
        _rectangle(0, 0, 40, WIDTH),
        _rectangle(0, 90, HEIGHT, WIDTH - 90),
    ),
    "combs": _photo(_every(2, 0), _every(3, 1), _every(2, 0) & _every(2, 1)),
    "noise": _photo(_noise(0), _noise(1)),
    "no masks": [Photo("none.jpg", []), *_photo(_disk(30))],
    "sizes": list(_sizes()),
    "names": _named("two  spaces.jpg", "ünï 😀.jpg", "it's #1 & 50%,;.jpg", "sub folder/b/a.jpg", "a.b.jpg"),
    "equal stems": _named("a.jpg", "a.png", "sub/a.jpg"),
    "EXIF 1 to 8": list(_orientations()),
}
