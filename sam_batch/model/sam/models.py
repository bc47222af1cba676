"""Segment Anything by name: where the weights of each model are, what they hash to, and the colours they expect.

Values only; imports no torch.
"""

from pathlib import Path

from sam_batch.model.family import Color, Model

PIXEL_MEAN: Color = (123.675, 116.28, 103.53)
PIXEL_STD: Color = (58.395, 57.12, 57.375)

_META = "https://dl.fbaipublicfiles.com/segment_anything"
DEMO = Model(
    name="demo",
    image_side=256,
    signature=(192, 8),
    sha256="8a4079e750143e328b45f03ac588f57b45f472f4102055570190ee8759a61bdd",
    source=str(Path(__file__).parents[1] / "weights" / "demo.safetensors"),
)
VIT_B = Model(
    name="vit_b",
    image_side=1024,
    signature=(768, 12),
    sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    source=f"{_META}/sam_vit_b_01ec64.pth",
)
VIT_L = Model(
    name="vit_l",
    image_side=1024,
    signature=(1024, 24),
    sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    source=f"{_META}/sam_vit_l_0b3195.pth",
)
VIT_H = Model(
    name="vit_h",
    image_side=1024,
    signature=(1280, 32),
    sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    source=f"{_META}/sam_vit_h_4b8939.pth",
)
