"""What every verb takes: YAML files and overrides. What else is given is answered with the command that was meant."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from sam_batch import configfile
from sam_batch.config import Config, MaskArea
from sam_batch.errors import ConfigError
from sam_batch.section import keys

Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="SETTINGS",
        help="YAML files, merged in order, then section.key=value; all keys: sam-batch config init.",
    ),
]
OutputOrArguments = Annotated[
    list[str], typer.Argument(metavar="OUTPUT", help="The folder or prefix, or the settings of its job.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
_LABELLED = {  # endings of what is no configuration, but an input
    *("bmp", "gif", "heic", "jfif", "jpe", "jpeg", "jpg", "png", "tif", "tiff", "webp"),
    *("csv", "jsonl", "list", "lst", "ndjson", "parquet", "tar", "tsv", "txt"),
}


def read_config(arguments: list[str], verb: str) -> Config:
    """Arguments with a `=` that are no file are overrides; the others are files.

    Raises:
        ConfigError: Something is wrong with them.
    """
    files, overrides = split(arguments)
    for name in files:
        _refuse_input(name, verb)
    return configfile.load(files, overrides)


def read_output(arguments: list[str]) -> Config:
    """Likewise, for a verb that looks at the output alone: its place is enough, with or without `output.uri=`.

    Raises:
        ConfigError: As `read_config` does.
    """
    return _read_output(arguments, {"input": {"uri": "not looked at"}})


def read_job_of(arguments: list[str]) -> Config:
    """Likewise, with the settings of the job that lies there for defaults.

    Raises:
        ConfigError: As `read_config` does.
    """
    from sam_batch.output.output import Output

    config = read_output(arguments)
    text = Output.at(config.output.uri, config.storage).config()
    return _read_output(arguments, configfile.stored(text, f"{config.output.uri}/config.yaml")) if text else config


def _read_output(arguments: list[str], defaults: Mapping[str, Any]) -> Config:
    files, overrides = split(arguments)
    outputs = [f"output.uri={name}" for name in files if _is_place(name)]
    files = [name for name in files if not _is_place(name)]
    return configfile.load(files, [*outputs, *overrides], defaults=defaults)


def read_area(text: str) -> int | str:
    """An area as `generator.min_mask_area` takes it.

    Raises:
        typer.BadParameter: It is none.
    """
    try:
        area: int | str = TypeAdapter(MaskArea).validate_python(int(text) if text.isdecimal() else text)
    except ValidationError:
        raise typer.BadParameter(
            "should be pixels (400) or a share of the image with its percent sign (0.1%)"
        ) from None
    return area


def share_option(text: str) -> Any:
    """An option that is from 0 to 1."""
    return typer.Option(min=0, max=1, help=text)


def number_option(text: str) -> Any:
    """An option that is a number from 1."""
    return typer.Option(min=1, help=text)


def area_option(text: str) -> Any:
    """An option that `read_area` reads."""
    return typer.Option(metavar="AREA", parser=read_area, help=text)


def is_argument(text: str) -> bool:
    """Whether this looks like a file or an override, and not like a verb."""
    return "=" in text or "." in text or os.path.exists(text) or _is_place(text)  # noqa: PTH110 - as below


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Arguments as files and overrides, each in their order."""
    # Not Path.is_file, which raises where a long override could be no file's name.
    overrides = [text for text in arguments if "=" in text and not os.path.isfile(text)]  # noqa: PTH113
    return [text for text in arguments if text not in overrides], overrides


def _is_place(name: str) -> bool:
    return "://" in name or os.path.isdir(name)  # noqa: PTH112 - as above


def _refuse_input(name: str, verb: str) -> None:
    """Raise ConfigError where an argument is an input, an output or half an override instead of a configuration."""
    settings = Path(name, "config.yaml")
    if name in dict(keys(Config)):
        raise ConfigError(f"{name}: has no value; write {name}=VALUE, without blanks around the =")
    if _is_place(name) and "://" not in name and settings.is_file():
        raise ConfigError(f"{name}: is a folder; for the job in it: sam-batch {verb} {shlex.quote(str(settings))}")
    if _is_place(name) or name.rpartition(".")[2].lower() in _LABELLED:
        there = shlex.quote(f"input.uri={name}")
        raise ConfigError(f"{name}: is no configuration; to label it: sam-batch {verb} {there} output.uri=OUT")
