"""Makes the table of `sam_batch.output.palette`: `python -m support.farthest_points`, in tests/.

Beginning with a red, each colour is the one that lies farthest in CIE Lab (D65) from all before it, out of a grid over
sRGB without what is dark, grey or hard to tell from white.
"""

import sys

import numpy as np

COUNT = 256
STEP = 15  # of 255, between the colours to choose from
FIRST = (255, 60, 60)


def lab(rgb_N3):
    """sRGB, 0 to 255, to CIE Lab."""
    share_N3 = np.asarray(rgb_N3, np.float64) / 255
    linear_N3 = np.where(share_N3 <= 0.04045, share_N3 / 12.92, ((share_N3 + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [(0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)]
    )
    xyz_N3 = linear_N3 @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    x_N, y_N, z_N = np.where(xyz_N3 > 216 / 24389, np.cbrt(xyz_N3), (24389 / 27 * xyz_N3 + 16) / 116).T
    return np.stack([116 * y_N - 16, 500 * (x_N - y_N), 200 * (y_N - z_N)], axis=1)


def farthest_points():
    """The (256, 3) colours."""
    values = np.arange(0, 256, STEP)
    rgb_N3 = np.stack(np.meshgrid(values, values, values, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness_N, *chroma = lab(rgb_N3).T
    rgb_N3 = rgb_N3[(lightness_N >= 40) & (np.hypot(*chroma) >= 20) & (rgb_N3.max(axis=1) > 150)]
    lab_N3 = lab(rgb_N3)

    chosen = [int((rgb_N3 == FIRST).all(axis=1).argmax())]
    nearest_N = np.full(len(rgb_N3), np.inf)
    while len(chosen) < COUNT:
        nearest_N = np.minimum(nearest_N, np.linalg.norm(lab_N3 - lab_N3[chosen[-1]], axis=1))
        chosen.append(int(nearest_N.round(6).argmax()))  # rounded: no machine decides a tie
    return rgb_N3[chosen]


if __name__ == "__main__":
    words = ["".join(f"{value:02x}" for value in color) for color in farthest_points().tolist()]
    sys.stdout.writelines(" ".join(words[start : start + 16]) + "\n" for start in range(0, COUNT, 16))
