"""What a storage makes of names: not every file system takes every name, or tells any two apart."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SUSPECTS = ':?"<>|*\\'  # what Windows, and file systems that come from there, keep for themselves


@dataclass(frozen=True, slots=True)
class Naming:
    """The names of one storage; as they stand here, of one that takes them all, byte for byte.

    Attributes:
        ignores_case: `A` and `a` are one name.
        ignores_form: A letter with its accent, and a letter and an accent, are one name.
        refused: Characters that no name may hold.
        trims: Dots and blanks at the end of a name are lost.
        longest: Bytes of a name between two slashes.
    """

    ignores_case: bool = False
    ignores_form: bool = False
    refused: str = ""
    trims: bool = False
    longest: int = 255

    def unusable(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The names that cannot be written, each with the reason."""
        for name in names:
            parts = name.split("/")
            if held := [character for character in self.refused if character in name]:
                yield name, f"no name may hold {' '.join(one if one.isprintable() else repr(one) for one in held)}"
            elif self.trims and any(part.endswith((".", " ")) for part in parts):
                yield name, "no name may end in a dot or blank"
            elif max(len(part.encode()) for part in parts) > self.longest:
                yield name, f"no name may have more than {self.longest} bytes"

    def clashes(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Pairs of different names that are one to the storage, where it is not sure that they are two."""
        if not (self.ignores_case or self.ignores_form):
            return
        seen: dict[str, str] = {}
        for name in names:
            other = seen.setdefault(self.folded(name), name)
            if other != name:
                yield other, name

    def folded(self, name: str) -> str:
        """What is equal for names that are one to the storage."""
        folded = name.casefold() if self.ignores_case else name
        return unicodedata.normalize("NFC", folded) if self.ignores_form or self.ignores_case else folded


STRICTEST = Naming(ignores_case=True, ignores_form=True, refused=SUSPECTS, trims=True, longest=143)
"""What no file system falls short of; the shortest names are those of encrypted folders."""
