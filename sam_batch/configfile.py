"""YAML files and `section.key=value` overrides in, one checked `Config` out; and back to text.

Files are merged left to right, then the overrides. Nothing in a file can run code, and every mistake is refused with
the path of the key, its value and what is allowed. The settings themselves are declared in `sam_batch.config`.
"""

import difflib
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from sam_batch.config import Config, Section
from sam_batch.errors import ConfigError

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 20
SCHEMA_LINE = "# yaml-language-server: $schema=job.schema.json\n"


def load(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> Config:
    """Read, merge and check a job's configuration.

    Args:
        paths: YAML files, merged left to right.
        overrides: `section.key=value`, values in YAML's notation, applied after the files.

    Raises:
        ConfigError: Anything is wrong; one line for each mistake.
    """
    trees = [read_yaml(Path(path)) for path in paths]
    return check(_merge(trees, overrides))


def check(tree: Mapping[str, Any]) -> Config:
    """Turn plain mappings into a `Config`, or say what is wrong with them."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file: a single mapping without duplicate keys, aliases or tags of Python objects."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: has {len(text):,} bytes; a configuration has at most {MAX_FILE_BYTES:,}")
    try:
        _refuse_tricks(text)
        tree = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: should be a mapping of sections; it is {type(tree).__name__}")
    return tree


def _merge(trees: Iterable[Mapping[str, Any]], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        if not override.partition("=")[1]:
            raise ConfigError(f"{override}: an override is written section.key=value")
    try:
        merged = OmegaConf.merge(
            *(OmegaConf.create(dict(tree)) for tree in trees), OmegaConf.from_dotlist(list(overrides))
        )
        container = OmegaConf.to_container(merged, resolve=False)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"cannot be merged: {' '.join(str(error).split())}") from None
    assert isinstance(container, dict)  # noqa: S101 - mappings merge to a mapping
    return {str(key): value for key, value in container.items()}


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, except that a key given twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _refuse_tricks(text: bytes) -> None:
    """Aliases and deep nesting can make a small file explode; look at the events before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*{event.anchor}) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")


def _explain(detail: ErrorDetails) -> str:
    path = ".".join(_known_path(detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown key{_suggestion(path)}"
    if detail["type"] == "missing":
        return f"{_required_key(path)}: is required"
    reason = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{path} = {_short(detail['input'])}: {reason}"


def _known_path(loc: tuple[int | str, ...]) -> list[str]:
    """Drop the names that pydantic adds for the branches of a union."""
    path: list[str] = []
    section: type[BaseModel] | None = Config
    for step in loc:
        if section is None and isinstance(step, str):
            break
        path.append(str(step))
        section = _subsection(section, str(step)) if section is not None else None
    return path


def _subsection(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = section.model_fields.get(name)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _required_key(path: str) -> str:
    """Where a whole section is missing, the key in it that has no default."""
    below = (name for name, field in keys() if name.startswith(f"{path}.") and field.is_required())
    return next(below, path)


def _suggestion(path: str) -> str:
    known = [name for name, _ in keys()]
    name = path.rpartition(".")[2]
    same_name = [one for one in known if one.rpartition(".")[2] == name]
    nearest = same_name or difflib.get_close_matches(path, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the configuration as (dotted path, pydantic field), sections before their keys."""
    for name, field in section.model_fields.items():
        yield prefix + name, field
        below = _subsection(section, name)
        if below is not None:
            yield from keys(below, f"{prefix}{name}.")


def to_yaml(config: Config) -> str:
    """The effective configuration: every key, also those left at their defaults."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def json_schema() -> str:
    """The JSON Schema that editors check and complete YAML files with."""
    schema = Config.model_json_schema()
    schema["title"] = "sam-batch job"
    return json.dumps(schema, indent=2) + "\n"


def template() -> str:
    """A commented YAML file: the two required keys to fill in, every other key at its default."""
    head = SCHEMA_LINE + "# One labelling job. Remove what you leave at its default.\n"
    return head + "".join(_template_lines(Config, 0))


def _template_lines(section: type[BaseModel], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, field in section.model_fields.items():
        below = _subsection(section, name)
        if below is not None:
            yield f"{indent}{name}:\n"
            yield from _template_lines(below, depth + 1)
        else:
            default = {"input": "photos/", "output": "out/"}.get(section.__name__.removesuffix("Config").lower(), "")
            value = default if field.default is PydanticUndefined else field.default
            yield f"{indent}{name}: {_flow(value)}  # {field.description}\n"


def _flow(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree's leaves by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
