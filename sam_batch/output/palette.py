"""Which colour a mask has in pictures: a fixed table, by the mask's number alone.

Each colour of the table lies as far as possible in CIE Lab from all before it, so that those of the first masks differ
most: at least 24 between any two of the first 50, 11 among all. `tests/support/farthest_points.py` made it. An output
that was planned before there was a table keeps the hues that it began with.
"""

import colorsys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final, TypeAlias

Color: TypeAlias = tuple[int, int, int]
"""RGB, 0 to 255."""

Colors: TypeAlias = Callable[[int], Color]
"""From a mask_id to its colour."""

_TABLE: Final = bytes.fromhex("""
    ff3c3c 00ff00 5a2dff 1ec3e1 ffd200 ff96f0 5aa54b ffc3a5 0087ff ff0ff0 a53c5a b46900 00ffd2 ff0096 c3ff5a 7878a5
    873cb4 d2ffe1 00f078 f0d2ff fff087 a5964b 00a587 f07869 b4ffa5 ff6900 96a500 3cb400 2da5f0 3c5af0 a57869 f096b4
    b4a5ff e11e5a d22db4 87a587 ffb45a b43cf0 f0ff00 a54b96 5affff 5a5ab4 b43c0f b4e1ff ff69a5 96ff00 e178ff d2d296
    ff9600 3c87a5 3cd287 c39600 a56987 a54b3c ff874b ff0000 b4d269 9678f0 b40f78 78ff5a 0069a5 e1e13c 87e1b4 d2875a
    d296d2 87c3c3 78e169 c31e2d 87c300 a500b4 a5c3ff 00b44b b400ff c30000 b478d2 e15ab4 ffd287 b496b4 965af0 ffc3d2
    00d200 005ad2 6987d2 78b478 ff5af0 004bff 1ea5a5 e1c34b 00d2c3 d24b5a 9669a5 69a51e ff00c3 c3a587 e1ffb4 f05a2d
    d27878 ffffd2 ffb400 a5782d 78b4d2 4bffa5 b4ffff 0fa569 e178b4 f0ff78 87a54b 00c3ff c32d69 ff3c87 d2a569 e16987
    b4f000 ffa5a5 96a569 0069c3 c35ac3 a5961e 783cf0 b4a5e1 2dd2a5 c3b400 b45a2d ff004b 874ba5 a5d2b4 87d278 00ff5a
    7887f0 d2c369 78ffe1 b4d23c ffa587 e1780f ff5a5a b4f078 e11eff 87e1d2 ff4bc3 e1a5ff 78e11e c34be1 5a78ff a5784b
    69b496 a52d96 78e1f0 87ffb4 ff78f0 d29696 e1ff96 d2a54b fff01e d20fd2 ff5a78 2dd24b ffa569 ffb4e1 d28700 fff0a5
    c34b87 ffe1b4 d2873c b4e1a5 78d23c 6996c3 c3e11e a55a5a c34b3c 69ff2d b469e1 f03c00 e12d96 69a5ff e1b400 d2d25a
    2da5d2 8778c3 f0694b 87ff96 ffc34b ffe14b d25a0f f04bff 694bc3 78d2ff a57800 a5c378 8700ff 96b43c b4ffc3 ff7887
    c36987 5ac387 d29678 b4694b 00e1f0 872dd2 78ff78 ff87b4 3ca52d 78c34b a5ff78 a54b78 f0ff4b 0087e1 a54b00 9600e1
    4ba5b4 0087c3 b4b487 e1784b 4be178 ff78c3 e187f0 ff0069 96a5f0 a5ff4b a51ea5 00fff0 d296b4 a59669 f0963c 5a69a5
    c378a5 c35a5a f000a5 785aa5 ff782d c3c3f0 ff5ab4 ffb4ff e10fc3 e1c387 c396ff a5e14b 3c69d2 e13c87 785aff c3003c
    b4b469 c369ff d2e187 9696c3 4b78a5 f08796 f0001e 5ac3c3 4ba578 d23c00 d2b4ff b4c300 b4b44b e1b4d2 a587c3 4bc3a5
""")
_GOLDEN: Final = 0.6180339887498949  # steps of the golden ratio never come close to an earlier hue soon


def color(mask_id: int) -> Color:
    """The table's colour of a mask; the 257th begins it anew."""
    start = 3 * mask_id % len(_TABLE)
    red, green, blue = _TABLE[start : start + 3]
    return red, green, blue


@cache
def golden_hue(mask_id: int) -> Color:
    """Colours before there was a table: hues step by the golden ratio, every third is darker, every other one paler."""
    hue = (mask_id * _GOLDEN) % 1.0
    saturation = 0.9 if mask_id % 2 == 0 else 0.65
    value = 0.75 if mask_id % 3 == 2 else 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def colors_of(fingerprint: Mapping[str, str]) -> Colors:
    """The colours of an output's pictures, by the fingerprint that it was planned with; empty before there is one."""
    return color if not fingerprint or "output.color_masks.opacity" in fingerprint else golden_hue
