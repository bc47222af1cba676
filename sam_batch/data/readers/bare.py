"""What a PNG or a JPEG is without what does not make its pixels: what the walks over their parts hand out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bare:
    """A file reduced to its pixels and their orientation.

    Attributes:
        data: The file, still of its format, without the rest.
        has_more: Whether it holds further pictures.
        profile: The ICC profile, as much of it as was unpacked; empty if there is none.
    """

    data: bytes
    has_more: bool = False
    profile: bytes = b""
