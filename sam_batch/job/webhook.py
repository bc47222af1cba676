"""Tells an address of the user's that a run has ended (`run.webhook`), whatever became of it.

It is a courtesy: what goes wrong with it is warned of and changes nothing. No message names the address, since
addresses of this kind often hold a secret.
"""

import json
import logging
import os
from collections.abc import Mapping
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from sam_batch.errors import ConfigError
from sam_batch.output.summary import Summary

TIMEOUT_SECONDS: Final = 10.0
_VARIABLE = "env:"

_log = logging.getLogger(__name__)


def is_variable(webhook: str) -> bool:
    """Whether the configuration names a variable that holds the address, and not the address itself."""
    return webhook.startswith(_VARIABLE)


def address_of(webhook: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The address itself, where the configuration names a variable that holds it.

    Raises:
        ConfigError: The variable holds none.
    """
    if webhook is None or not is_variable(webhook):
        return webhook
    name = webhook.removeprefix(_VARIABLE)
    address = environment.get(name, "")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"run.webhook: {webhook}: the variable {name} holds no URL that begins with https://")
    return address


def tell(address: str, summary: Summary) -> None:
    """Send the summary: the object of `summary.json`, with `output` and, as chat programs show it, `text`."""
    told = {"text": "\n".join(filter(None, [summary.error, summary.to_text()])), "output": summary.output}
    body = json.dumps(told | json.loads(summary.to_json())).encode()
    try:
        request = Request(address, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310 - checked
        with urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
            pass
    except (OSError, HTTPException, ValueError) as error:  # of the network, the protocol, the address
        reason = f"HTTP {error.code}" if isinstance(error, HTTPError) else type(error).__name__
        _log.warning("run.webhook: was not told of the end: %s", reason)
