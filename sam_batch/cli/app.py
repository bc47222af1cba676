"""The verb `app`: its settings, and the web server that is an extra of this package."""

from importlib.util import find_spec

from sam_batch import configfile
from sam_batch.cli.arguments import split
from sam_batch.cli.show import DEMO
from sam_batch.config import Config
from sam_batch.errors import ConfigError

PLACES = {"input": {"uri": "photos/"}, "output": {"uri": "runs/app"}}
"""Until a visitor names others."""


def read_settings(settings: list[str]) -> Config:
    """The settings that visitors begin with: as for `show`, those of the demo model where no model is named.

    Raises:
        ConfigError: Something is wrong with them.
    """
    files, overrides = split(settings)
    config = configfile.load(files, overrides, defaults=PLACES)
    if "model" not in config.model_fields_set:
        config = configfile.load(files, overrides, defaults={**PLACES, **DEMO})
    if config.prompts.uri is not None:
        raise ConfigError("prompts.uri: the app takes prompts from the mouse; set it to null")
    return config


def serve_app(config: Config, host: str, port: int, *, show: bool) -> None:
    """Serve the app until it is interrupted.

    Raises:
        ConfigError: Its packages are not installed, or the model cannot be used.
    """
    if find_spec("nicegui") is None:
        raise ConfigError("the app needs packages of its own: pip install 'sam-batch[app]'")
    from sam_batch.app.pages.site import serve

    serve(config, host, port, show=show)
