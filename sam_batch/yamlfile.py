"""One YAML file as plain mappings, or one line that says why not. What its keys mean is `sam_batch.configfile`'s.

Nothing in a file can run code or explode: tags of Python objects and aliases are refused, and so is a key given twice.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from sam_batch.errors import ConfigError

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 20


def read(path: Path) -> dict[str, Any]:
    """The sections of a file.

    Raises:
        ConfigError: It cannot be read, is no YAML, or is something else than one mapping.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, str(path))


def parse(text: bytes, name: str) -> dict[str, Any]:
    """The sections of a text.

    Args:
        text: UTF-8.
        name: Of where it was found, for people.

    Raises:
        ConfigError: It is no YAML, or something else than one mapping.
    """
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(f"{name}: has {len(text):,} bytes; a configuration has at most {MAX_FILE_BYTES:,}")
    try:
        _refuse_tricks(text)
        tree = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}{_reason(error)}") from None
    if not isinstance(tree, dict):
        held = "nothing" if tree is None else "a list" if isinstance(tree, list) else "a single value"
        raise ConfigError(f"{name}: holds {held}, where sections are wanted, each with its keys indented below it")
    return tree


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, except that a key given twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _refused(f"the key {key.value!r} is given twice", key)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refuse_tricks(text: bytes) -> None:
    """Aliases and deep nesting can make a small file explode; look at the events before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _refused(f"aliases (*{event.anchor}) are not allowed", event)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _refused(f"nested deeper than {MAX_DEPTH} levels", event)


def _refused(problem: str, at: Any) -> yaml.YAMLError:
    """An error like YAML's own, at an event or a node."""
    return yaml.constructor.ConstructorError(None, None, problem, at.start_mark)


def _reason(error: Exception) -> str:
    """Why a file is no YAML, and in which line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ": is no text that YAML can read"
    problem = str(error.problem)
    if problem.startswith("found character '\\t'"):
        problem = "there is a tab; YAML is indented with blanks"
    return f", line {error.problem_mark.line + 1}: {problem}"
