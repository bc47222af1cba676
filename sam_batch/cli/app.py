"""The verb `app`: its settings, and the web server that is an extra of this package."""

import ipaddress
import socket
from importlib.util import find_spec
from typing import Final

from sam_batch import configfile
from sam_batch.cli import terminal
from sam_batch.cli.arguments import split
from sam_batch.cli.show import DEMO
from sam_batch.config import Config
from sam_batch.errors import ConfigError

PLACES: Final = {"input": {"uri": "photos/"}, "output": {"uri": "runs/app"}}
"""Until a visitor names others."""

EXPOSED: Final = (
    "everybody who reaches this address can read the images and outputs that the user of this machine can read, "
    "start jobs as that user, and load models"
)


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
        ConfigError: Its packages are not installed, the address cannot be listened on, or the model cannot be used.
    """
    if find_spec("nicegui") is None:
        raise ConfigError("the app needs packages of its own: pip install 'sam-batch[app]'")
    _refuse_taken(host, port)
    warning = "" if is_loopback(host) else EXPOSED
    if warning:
        terminal.complain(warning, "warning")
    from sam_batch.app.pages.site import serve

    shown_host = f"[{host}]" if ":" in host else host
    terminal.answer(f"sam-batch app on http://{shown_host}:{port}")
    serve(config, host, port, show=show, warning=warning)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_taken(host: str, port: int) -> None:
    """Find out before a model is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: cannot be listened on: {error.strerror}") from error
