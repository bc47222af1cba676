"""What a listing of a storage asks on its way down, and tells. No storage and no file system is known here."""

import logging

_log = logging.getLogger(__name__)


class Walk:
    """A listing that enters every folder, follows no link out of its root, and fails where it may not look.

    Names are relative to the root, with forward slashes, as `os.fsdecode` gives them.

    Attributes:
        recursive: Whether folders are entered at all; stores that can leave them out then do.
        start: The folder it begins in.
    """

    def __init__(self, recursive: bool = True, start: str = "") -> None:
        self.recursive = recursive
        self.start = start
        self._asked = {start: True}

    def enters(self, folder: str) -> bool:
        """Whether to look into a folder; asked once for each, before it is opened."""
        return self.recursive

    def follows(self, link: str, to_folder: bool) -> bool:
        """Whether to go where a link leads that leads to a folder or out of the root."""
        _log.warning("%s: is a link to a folder or out of the folder it lies in, and was passed over", link)
        return False

    def fails(self, folder: str, error: OSError) -> None:
        """Told of a folder that could not be read; raises, or it is passed over."""
        if not isinstance(error, FileNotFoundError):
            raise error

    def reaches(self, name: str) -> bool:
        """Whether all folders above a name are entered; for stores that list names and know no folders."""
        folder = name.rpartition("/")[0]
        if folder not in self._asked:
            self._asked[folder] = self.reaches(folder) and self.enters(folder)
        return self._asked[folder]
