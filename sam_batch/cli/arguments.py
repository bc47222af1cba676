"""What every verb takes: YAML files and overrides."""

import os
from typing import Annotated

import typer

from sam_batch import configfile
from sam_batch.config import Config

Arguments = Annotated[
    list[str], typer.Argument(metavar="JOB.yaml... [section.key=value...]", help="Files, merged in order; overrides.")
]


def read_config(arguments: list[str]) -> Config:
    """Arguments with a `=` that are no file are overrides; the others are files.

    Raises:
        ConfigError: Something is wrong with them.
    """
    # Not Path.is_file, which raises where a long override could be no file's name.
    overrides = [one for one in arguments if "=" in one and not os.path.isfile(one)]  # noqa: PTH113
    files = [one for one in arguments if one not in overrides]
    return configfile.load(files, overrides)
