"""Which files of a folder are taken for images, by their names alone, and what is said of the others.

Whether a file is an image is found out later, by `pixels`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sam_batch.config import InputConfig
from sam_batch.data import tar
from sam_batch.data.globs import Globs
from sam_batch.data.readers import formats
from sam_batch.data.storage import escape_undecodable, shown
from sam_batch.data.walk import Walk
from sam_batch.wording import counted

_SHOWN = 4  # of the commonest extensions, and of the places that could not be read


@dataclass(slots=True)
class LeftOut:
    """What an input holds and does not give; each file or folder counts once, what lies in such a folder not at all.

    Attributes:
        by_extension: Files, by their extension in lower case; empty where there is none. Those that are asked for and
            cannot be read, for want of an extra, too.
        other_case: Files that a glob matches but for upper and lower case.
        hidden: Files and folders whose name begins with a dot.
        excluded: Files and folders, by `input.exclude`.
        links: To folders, or out of the input.
        sub_folders: By `input.recursive=false`.
        beyond_limit: Images, by `input.limit`.
        unreadable: Folders that could not be listed, each with the reason.
    """

    by_extension: Counter[str] = field(default_factory=Counter)
    other_case: int = 0
    hidden: int = 0
    excluded: int = 0
    links: int = 0
    sub_folders: int = 0
    beyond_limit: int = 0
    unreadable: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """What is left out in words, with the keys that change it; empty where nothing is."""
        by_extension, unreadable = self.by_extension.total(), len(self.unreadable)
        parts = {
            f"{by_extension} by extension ({_commonest(self.by_extension)}; input.extensions)": by_extension,
            f"{self.other_case} unlike the glob in upper and lower case": self.other_case,
            f"{self.hidden} hidden": self.hidden,
            f"{self.excluded} excluded (input.exclude)": self.excluded,
            f"{counted(self.links, 'link')} (input.follow_links)": self.links,
            f"{counted(self.sub_folders, 'sub-folder')} (input.recursive)": self.sub_folders,
            f"{self.beyond_limit} beyond input.limit": self.beyond_limit,
            f"{unreadable} unreadable ({_first(self.unreadable)})": unreadable,
        }
        return ", ".join(words for words, count in parts.items() if count)

    def to_dict(self) -> dict[str, Any]:
        """For `summary.json`: what there is none of is left away."""
        counts = {name: getattr(self, name) for name in self.__slots__}
        counts["by_extension"] = dict(self.by_extension.most_common())
        return {name: count for name, count in counts.items() if count}


def _commonest(extensions: Counter[str]) -> str:
    ordered = sorted(extensions.items(), key=lambda item: (-item[1], item[0]))
    return _first([f"{count} {_named(extension)}" for extension, count in ordered])


def _named(extension: str) -> str:
    extra = formats.extra_for(extension)
    return (shown(extension) or "without") + (f": pip install 'sam-batch[{extra}]'" if extra else "")


def _first(names: list[str]) -> str:
    return ", ".join([*names[:_SHOWN], "..."] if len(names) > _SHOWN else names)


class Selection(Walk):
    """A walk through one folder or prefix, or a look at the names in one archive, that counts what it passes over.

    Args:
        config: What counts as an image.
        left_out: What is passed over is counted there.
        root: Where the names lie.
        pattern: A glob that names have to match; empty for none.
        on_followed: Told of each folder that is looked into by a link, before that.

    Attributes:
        globs: Which names are meant at all.
        matched_folders: Folders that a glob stands for, which takes files alone.
    """

    def __init__(
        self,
        config: InputConfig,
        left_out: LeftOut,
        root: str,
        pattern: str = "",
        on_followed: Callable[[str], None] = lambda place: None,
    ) -> None:
        self.globs = Globs([pattern or "**"])
        super().__init__(self.globs.recursive if pattern else config.recursive)
        self.matched_folders: list[str] = []
        self._config = config
        self._pattern = pattern
        self._follows_links = config.follow_links
        self._root = root
        self._on_followed = on_followed
        self._left_out = left_out
        self._any_case = Globs([pattern.lower() or "**"])
        self._extensions = frozenset(one for one in config.extensions if not formats.extra_for(one))
        # A pattern without a slash means names at any depth, as in .gitignore.
        self._excluded = Globs(pattern if "/" in pattern else f"**/{pattern}" for pattern in config.excludes)

    def enters(self, folder: str) -> bool:
        """Whether to look into a folder: not into hidden and excluded ones, nor where no name could match."""
        name = escape_undecodable(folder)
        if not self.globs.lead_into(name):
            if self.globs.match(name):
                self.matched_folders.append(name)
            return False
        if self._passes_over(name):
            return False
        self._left_out.sub_folders += not self.recursive
        return self.recursive

    def follows(self, link: str, to_folder: bool) -> bool:
        """Whether links are followed; one that has no image's name is not, and is no link of interest."""
        if not to_folder and not self._is_wanted(escape_undecodable(link)):
            return True  # it is counted by its name
        if to_folder and self._follows_links:
            self._on_followed(f"{self._root}/{link}")
        self._left_out.links += not self._follows_links
        return self._follows_links

    def fails(self, folder: str, error: OSError) -> None:
        """Passes over a folder that cannot be read, unless it is the input itself."""
        if folder == self.start:
            raise error
        reason = shown(error.strerror or type(error).__name__)
        self._left_out.unreadable.append(f"{shown(f'{self._root}/{escape_undecodable(folder)}')}: {reason}")

    def opens(self, name: str) -> bool:
        """Whether a file is an archive whose members are meant: tar was asked for, by the glob or as an extension."""
        asked = self._pattern.endswith(".tar") or "tar" in self._extensions
        return asked and extension_of(name) == "tar" and self.globs.match(name) and not self._passes_over(name)

    def inside(self, archive: str) -> "Selection":
        """The same for the members of an archive, which no glob names."""
        return Selection(self._config, self._left_out, archive)

    def takes_member(self, member: tar.Member) -> bool:
        """Whether a member of an archive is an image, by its name; counts it otherwise."""
        if member.kind is tar.Kind.OTHER:
            return False
        name = escape_undecodable(member.name)
        if member.kind is tar.Kind.LINK:
            self._left_out.links += self._is_wanted(name)
            return False
        return self.reaches(name) and self.takes(name)

    def takes(self, name: str) -> bool:
        """Whether a file is an image, by its name; counts it otherwise."""
        if not self.globs.match(name):
            self._left_out.other_case += self._is_wanted(name.lower()) and self._any_case.match(name.lower())
            return False
        if self._passes_over(name):
            return False
        if not self._is_wanted(name):
            self._left_out.by_extension[extension_of(name)] += 1
            return False
        return True

    def _is_wanted(self, name: str) -> bool:
        return extension_of(name) in self._extensions

    def _passes_over(self, name: str) -> bool:
        last = name.rpartition("/")[2]
        if last.startswith(".") and last.strip("."):  # ".." and "." as parts of a bucket's key are odd, not hidden
            self._left_out.hidden += 1
        elif self._excluded.match(name):
            self._left_out.excluded += 1
        else:
            return False
        return True


def extension_of(name: str) -> str:
    """What follows the last dot, in lower case; empty where nothing does."""
    return name.rpartition("/")[2].rpartition(".")[2].lower() if "." in name.rpartition("/")[2] else ""
