"""Which listed image a source means by a name: exactly, or by a path that ends alike and no other does.

Sources name files by their base name, by paths from other folders or machines, with backslashes, or as URLs. It reads
nothing.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sam_batch.data.storage import Entry
from sam_batch.errors import ConfigError


class AmbiguousError(ConfigError):
    """A name stands for several images, or several names for one."""


class Match(NamedTuple):
    """The image that a name means.

    Attributes:
        place: Its place in the listing.
        doubt: 0 for its key, 1 for the end of its address, 2 for a name that ends with its key.
    """

    place: int
    doubt: int


class Names:
    """The listed images by their names.

    Args:
        images: As they were listed.
    """

    def __init__(self, images: Sequence[Entry]) -> None:
        self._images = images
        self._by_key = {image.key: place for place, image in enumerate(images)}
        self._by_base: dict[str, list[int]] = defaultdict(list)
        self._by_stem: dict[str, list[int]] = defaultdict(list)
        for place, image in enumerate(images):
            base = posixpath.basename(image.key)
            self._by_base[base].append(place)
            self._by_stem[posixpath.splitext(base)[0]].append(place)

    def find(self, name: str, *, is_stem: bool = False) -> Match | None:
        """The one image that a name means, or None.

        First the image whose key it is; then the one whose address or key ends with the name; then the one with whose
        key the name ends, the longest of several.

        Args:
            name: With forward slashes or backslashes.
            is_stem: It has no extension.

        Raises:
            AmbiguousError: It means several; names them.
        """
        name = name.replace("\\", "/").removeprefix("./").strip("/")
        if not is_stem and name in self._by_key:
            return Match(self._by_key[name], 0)
        base = posixpath.basename(name)
        places = (self._by_stem if is_stem else self._by_base).get(base, [])
        for doubt, candidates in enumerate(self._tiers(name, places, is_stem)):
            if len(candidates) > 1:
                raise AmbiguousError(f"{name!r} may be {self._shown(candidates)}")
            if candidates:
                return Match(candidates[0], doubt)
        return None

    def _tiers(self, name: str, places: Sequence[int], is_stem: bool) -> Iterator[list[int]]:
        keys = {place: self._bare(self._images[place].key, is_stem) for place in places}
        addresses = {place: self._bare(self._images[place].uri, is_stem) for place in places}
        yield [place for place in places if keys[place] == name]
        yield [place for place in places if ends_with(addresses[place], name) or ends_with(keys[place], name)]
        inside = [place for place in places if ends_with(name, keys[place])]
        longest = max((len(keys[place]) for place in inside), default=0)
        yield [place for place in inside if len(keys[place]) == longest]

    @staticmethod
    def _bare(path: str, is_stem: bool) -> str:
        return posixpath.splitext(path)[0] if is_stem else path

    def _shown(self, places: Sequence[int]) -> str:
        return " or ".join(repr(self._images[place].key) for place in places[:4])


def ends_with(path: str, name: str) -> bool:
    """Whether a path ends with a name, by whole folders."""
    return path == name or path.endswith(f"/{name}")
