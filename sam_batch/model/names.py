"""The models known by name: where their weights are and what they hash to. Values only; imports no torch."""

from dataclasses import dataclass
from pathlib import Path

_META = "https://dl.fbaipublicfiles.com/segment_anything"


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that Meta published; see segment-anything's README."""

    url: str
    sha256: str


PUBLISHED = {
    "vit_b": Published(
        f"{_META}/sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"
    ),
    "vit_l": Published(
        f"{_META}/sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"
    ),
    "vit_h": Published(
        f"{_META}/sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"
    ),
}

DEMO_PATH = Path(__file__).parent / "weights" / "demo.safetensors"
DEMO_SHA256 = "8a4079e750143e328b45f03ac588f57b45f472f4102055570190ee8759a61bdd"


@dataclass(frozen=True, slots=True)
class ResolvedCheckpoint:
    """Weights that were found and checked on the driver, as every worker is told of them; picklable.

    Attributes:
        name: What the weights are: demo, vit_b, vit_l, vit_h, or fake for no weights.
        path: Where the driver has them.
        sha256: Of the file, hexadecimal; empty for no weights.
        image_side: S, the side of the square model input in pixels.
        url: Where a worker on another machine gets them; None for a path, which must exist there too.
    """

    name: str
    path: str
    sha256: str
    image_side: int
    url: str | None = None


# The fake engine reads no weights; this is its model.
FAKE = ResolvedCheckpoint(name="fake", path="", sha256="", image_side=256)
