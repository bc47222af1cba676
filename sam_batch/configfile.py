"""YAML files and `section.key=value` overrides in, one checked `Config` out; and back to text.

Files are merged left to right, then the overrides. The settings themselves are declared in `sam_batch.config`, files
are read by `sam_batch.yamlfile`, and what is wrong is put into words by `sam_batch.mistakes`.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from sam_batch import mistakes, yamlfile
from sam_batch.config import MOVED, Config
from sam_batch.errors import ConfigError
from sam_batch.section import keys, kinds, subsection, types
from sam_batch.segment.algorithm import ALGORITHMS, require_known

log = logging.getLogger(__name__)

_WITH_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*:[^/]*@")

SCHEMA_LINE = "# yaml-language-server: $schema=job.schema.json\n"


def load(
    paths: Sequence[str | Path], overrides: Sequence[str] = (), defaults: Mapping[str, Any] | None = None
) -> Config:
    """Read, merge and check a job's configuration.

    Args:
        paths: YAML files, merged left to right.
        overrides: `section.key=value`, applied after the files. What follows the `=` is read as its key wants it:
            text is taken as it is, character for character, and `null` unsets a text that may be unset; a list where
            the key takes one is written `[...]` as in YAML; numbers, `true`, `false` and `null` are written as in JSON.
            A key that takes a text or a list takes for text what is no list.
        defaults: What a file may leave out, where a verb does not need it.

    Raises:
        ConfigError: Anything is wrong; one line for each mistake.
    """
    files = [_moved(yamlfile.read(Path(path)), path) for path in paths]
    return check(reduce(_merged, [*files, *map(_tree, overrides)], defaults or {}))


def stored(text: str, name: str) -> dict[str, Any]:
    """The sections of a configuration that an output holds, as `defaults` of `load`.

    Raises:
        ConfigError: Somebody has edited it, and it is no YAML.
    """
    return _moved(yamlfile.parse(text.encode(), name), name)


def check(tree: Mapping[str, Any]) -> Config:
    """Turn plain mappings into a `Config`, or say what is wrong with them."""
    _refuse_passwords(tree)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(mistakes.explain(error))) from None
    require_known(config.generator.mode)
    return config


def _refuse_passwords(value: Any, path: str = "") -> None:
    """Refuse addresses that hold a password: a configuration is kept and shown, and messages repeat its values."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            _refuse_passwords(below, f"{path}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for below in value:
            _refuse_passwords(below, path)
    elif isinstance(value, str) and _WITH_PASSWORD.match(value):
        raise ConfigError(f"{path}: has a password, and is kept and shown; credentials come from the environment")


def _tree(override: str) -> dict[str, Any]:
    """One override as the mapping that a file would hold."""
    given, equals, text = override.partition("=")
    if not (given and equals) or given != given.strip():
        named = given + equals + "..." * bool(equals)  # the value may be a secret
        raise ConfigError(f"{named}: an override is written section.key=value, without blanks before the =")
    key = given
    for old, new in MOVED.items():
        if given == old or given.startswith(f"{old}."):
            key = new + given.removeprefix(old)
            _warn_of_move(given, key)
    field = dict(keys(Config)).get(key)
    tree = {key.rpartition(".")[2]: _value(text, field.annotation if field else str)}
    for section in reversed(key.split(".")[:-1]):
        tree = {section: tree}
    return tree


def _value(text: str, annotation: Any) -> Any:
    """What an override says to a key of this type; what the key does not take stays text, for `check` to refuse."""
    taken = set(kinds(annotation))
    if taken & {list, tuple} and text.startswith("[") and text.endswith("]"):
        of_texts = any(get_args(type_)[:1] == (str,) for type_ in types(annotation))
        with suppress(yaml.YAMLError):
            return yaml.load(text, yaml.BaseLoader if of_texts else yaml.SafeLoader)  # noqa: S506 - neither runs code
    if str in taken and not taken & {bool, int, float}:
        return None if text == "null" and NoneType in taken else text
    with suppress(ValueError):
        return json.loads(text)
    return text


def _moved(tree: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """A file's tree with the keys of earlier versions where they are now."""
    for old, new in MOVED.items():
        (section, name), (_, below, _) = old.split("."), new.split(".")
        there = tree.get(section)
        if isinstance(there, dict) and name in there:
            now = there.get(below)
            if isinstance(now, Mapping) and name in now:
                raise ConfigError(f"{path}: {old} is the old name of {new}, and both are given; keep the second")
            tree = _merged({section: {below: {name: there[name]}}}, tree)
            del tree[section][name]
            _warn_of_move(old, new)
    return tree


def _warn_of_move(old: str, new: str) -> None:
    log.warning("%s is now %s; the old name is still read", old, new)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One tree laid over another; a section left empty, which YAML reads as null, changes nothing."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and (value is None or isinstance(value, Mapping)):
            merged[key] = _merged(under, value or {})
        else:
            merged[key] = value
    return merged


def to_yaml(config: Config) -> str:
    """The effective configuration: every key, also those left at their defaults."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def json_schema() -> str:
    """The JSON Schema that editors check and complete YAML files with."""
    schema = Config.model_json_schema()
    schema["title"] = "sam-batch job"
    schema["$defs"]["GeneratorConfig"]["properties"]["mode"]["enum"] = list(ALGORITHMS)
    return json.dumps(schema, indent=2) + "\n"


def template() -> str:
    """A commented YAML file: the two required keys to fill in, every other key at its default."""
    head = SCHEMA_LINE + "# One labelling job. Remove what you leave at its default.\n"
    return head + "".join(_template_lines(Config, 0))


def _template_lines(section: type[BaseModel], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, field in section.model_fields.items():
        below = subsection(section, name)
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
