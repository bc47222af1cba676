"""Patterns of names: `*`, `?`, `[...]` in a part, `**` across folders, `{a,b}` and `{000..127}` as in shells.

Names are text with forward slashes; nothing here looks at what exists.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import TypeAlias

from sam_batch.errors import InputError

MAX_EXPANSIONS = 100_000

_BRACES = re.compile(r"\{((?P<first>\d+)\.\.(?P<last>\d+)|[^{}]*,[^{}]*)\}")
_MAGIC = re.compile(rf"[*?[]|{_BRACES.pattern}")
_PartMatch: TypeAlias = Callable[[str], re.Match[str] | None]
_Parts: TypeAlias = Sequence[_PartMatch | None]  # None stands for `**`, any number of folders


def split(uri: str) -> tuple[str, str]:
    """The folder before the first part that is a pattern, with its slash, and the rest: nothing for a plain name."""
    match = _MAGIC.search(uri)
    if match is None:
        return uri, ""
    cut = uri.rfind("/", 0, match.start()) + 1
    return uri[:cut] or ".", uri[cut:]


class Globs:
    """Some patterns, of which one has to match.

    Attributes:
        names: The names that are spelt out, after braces were expanded.
        recursive: Whether a pattern reaches into folders.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        expanded = [name for pattern in patterns for name in expand(pattern)]
        self.names = frozenset(name for name in expanded if not _MAGIC.search(name))
        self.recursive = any("/" in name or name == "**" for name in expanded)
        self._folders = frozenset(folder for name in self.names for folder in _folders(name))
        self._globs = [_compiled(name) for name in expanded if name not in self.names]

    def match(self, name: str) -> bool:
        """Whether a pattern stands for this name."""
        return name in self.names or any(_matches(name.split("/"), parts) for parts in self._globs)

    def lead_into(self, folder: str) -> bool:
        """Whether a pattern could stand for something in this folder."""
        return folder in self._folders or any(_leads(folder.split("/"), parts) for parts in self._globs)


def expand(pattern: str) -> list[str]:
    """A pattern with braces as patterns without, in order; braces that hold no comma and no range stay.

    Raises:
        InputError: They are more than `MAX_EXPANSIONS`.
    """
    expanded = list(islice(_expanded(pattern), MAX_EXPANSIONS + 1))
    if len(expanded) > MAX_EXPANSIONS:
        raise InputError(f"the braces of {pattern!r} stand for more than {MAX_EXPANSIONS} names; use * instead")
    return expanded


def _expanded(pattern: str) -> Iterator[str]:
    match = _BRACES.search(pattern)  # an innermost pair; the others follow
    if match is None:
        yield pattern
        return
    for choice in _choices(match):
        yield from _expanded(pattern[: match.start()] + choice + pattern[match.end() :])


def _choices(braces: re.Match[str]) -> Iterable[str]:
    first, last = braces["first"], braces["last"]
    if first is None:
        return braces[1].split(",")
    width = max(len(first), len(last)) if first.startswith("0") or last.startswith("0") else 0
    step = 1 if int(first) <= int(last) else -1
    return (f"{number:0{width}}" for number in range(int(first), int(last) + step, step))


def _folders(name: str) -> Iterator[str]:
    while name:
        name = name.rpartition("/")[0]
        yield name


def _compiled(pattern: str) -> _Parts:
    parts = (part for part, _ in groupby(pattern.split("/")))  # "**/**" is "**", and costs less
    return [None if part == "**" else re.compile(fnmatch.translate(part)).match for part in parts]


def _matches(parts: list[str], pattern: _Parts) -> bool:
    if not pattern:
        return not parts
    if pattern[0] is None:
        return _matches(parts, pattern[1:]) or (bool(parts) and _matches(parts[1:], pattern))
    return bool(parts) and pattern[0](parts[0]) is not None and _matches(parts[1:], pattern[1:])


def _leads(parts: list[str], pattern: _Parts) -> bool:
    """Whether a folder may hold a match: as many parts of the pattern as it has match, and one is left over."""
    if not pattern or not parts or pattern[0] is None:
        return bool(pattern)
    return pattern[0](parts[0]) is not None and _leads(parts[1:], pattern[1:])
