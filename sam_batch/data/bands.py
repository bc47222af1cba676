"""Which bands of an image are its colours, and which one is transparency. It knows numbers of bands, no pixels."""

from dataclasses import dataclass

from sam_batch.config import InputConfig
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind


@dataclass(frozen=True, slots=True)
class Bands:
    """What a file says of its bands, which are numbered from 1.

    Attributes:
        count: How many there are.
        colour: One band that is shown as grey, or three that are red, green and blue.
        alpha: The band that the format calls transparency, if any.
        alpha_is_sure: False where software is known to call any fourth band so, whatever it holds: in a GeoTIFF.
    """

    count: int
    colour: tuple[int, ...]
    alpha: int | None = None
    alpha_is_sure: bool = True


def choose(bands: Bands, settings: InputConfig) -> tuple[tuple[int, ...], int | None]:
    """Which bands are shown, and which one, if any, says how far they are laid on white.

    Args:
        bands: What the file says.
        settings: What the user says, which counts more.

    Returns:
        One or three numbers, and the number of the alpha band or None.

    Raises:
        ImageError: Of kind missing_bands: the file has fewer than `input.bands` names.
    """
    colour = settings.bands or bands.colour
    if max(colour) > bands.count:
        there = f"{bands.count} band{'s' * (bands.count > 1)}"
        raise ImageError(FailureKind.MISSING_BANDS, f"it has {there}; input.bands asks for band {max(colour)}")
    by_the_file = settings.alpha == "auto" and settings.bands is None and bands.alpha_is_sure
    lay = (by_the_file or settings.alpha == "blend") and bands.alpha not in colour
    return colour, bands.alpha if lay else None
