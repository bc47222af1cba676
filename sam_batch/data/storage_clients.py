"""How object stores are reached, and when asking again may help.

One fsspec client a process and configuration, without listing caches and, where that can be set, without retries of
its own; credentials come from the environment. Of the Hugging Face Hub it is the package, which has one session.
`tried` is the one place where requests are repeated.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeVar

import fsspec
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from sam_batch.config import StorageConfig
from sam_batch.errors import ConfigError

T = TypeVar("T")

_EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "abfs": "azure", "az": "azure", "hf": "hf"}
_LONGEST_S, _LONGEST_TOLD_S = 120.0, 300.0  # the Hugging Face Hub counts requests for five minutes
_PASSING_STATUS = {408, 409, 429, 500, 502, 503, 504}
_PASSING_CODES = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "SlowDown"}
# What the clients raise beside `OSError`; those that say "the request did not get through" may pass.
_CLIENT_ERRORS = (
    "aiohttp:ClientError",
    "azure.core.exceptions:AzureError",
    "botocore.exceptions:BotoCoreError",
    "botocore.exceptions:ClientError",
    "botocore.parsers:ResponseParserError",
    "gcsfs.retry:HttpError",
    "google.auth.exceptions:GoogleAuthError",
    "httpx:HTTPError",
    "httpx2:HTTPError",
)
_PASSING_ERRORS = (
    "aiohttp:ClientConnectionError",
    "aiohttp:ClientPayloadError",
    "azure.core.exceptions:ServiceRequestError",
    "azure.core.exceptions:ServiceResponseError",
    "botocore.exceptions:ConnectionError",
    "botocore.exceptions:HTTPClientError",
    "botocore.exceptions:IncompleteReadError",
    "botocore.parsers:ResponseParserError",
    "httpx:NetworkError",
    "httpx:RemoteProtocolError",
    "httpx:TimeoutException",
    "httpx2:NetworkError",
    "httpx2:RemoteProtocolError",
    "httpx2:TimeoutException",
)


def client_of(scheme: str, account: str, config: StorageConfig) -> Any:
    """The client of a kind of store, one a process and configuration.

    Raises:
        ConfigError: Its package is not installed.
    """
    return _client(scheme, account, config, os.getpid())  # a forked child must not use its parent's connections


@lru_cache(maxsize=16)
def _client(scheme: str, account: str, config: StorageConfig, process: int) -> Any:
    try:
        if scheme == "hf":
            for part in ("constants", "utils"):  # which the package does not import by itself
                import_module(f"huggingface_hub.{part}")
            return import_module("huggingface_hub")
        kind = _class_of(scheme)
        options = {**kind._get_kwargs_from_urls(f"{scheme}://{account}/"), **_options(scheme, config)}
        client = kind(use_listings_cache=False, skip_instance_cache=True, **options)
    except ImportError as error:
        extra = _EXTRAS[scheme]
        raise ConfigError(
            f"{scheme}:// needs a package that is not installed: pip install 'sam-batch[{extra}]'"
        ) from error
    client.retries = 1  # s3fs's own loop; the others do not look at it
    return client


def _class_of(scheme: str) -> Any:
    if scheme in ("gs", "gcs"):
        # What gcsfs registers asks by gRPC of what kind a bucket is; in zonal ones it lets objects grow in their place.
        return import_module("gcsfs.core").GCSFileSystem
    return fsspec.get_filesystem_class(scheme)


def _options(scheme: str, config: StorageConfig) -> dict[str, Any]:
    if scheme == "s3":
        timeouts = {"connect_timeout": 10, "read_timeout": 30, "retries": {"total_max_attempts": 1}}
        return {
            "anon": config.anonymous,
            "endpoint_url": config.endpoint_url,
            "client_kwargs": {"region_name": config.region} if config.region else {},
            "config_kwargs": timeouts,
        }
    options: dict[str, Any] = {}
    if config.anonymous and scheme != "memory":
        options.update({"token": "anon"} if scheme in ("gs", "gcs") else {"anon": True})
    if config.endpoint_url and scheme in ("gs", "gcs"):
        options["endpoint_url"] = config.endpoint_url
    return options


def tried(config: StorageConfig, act: Callable[[], T]) -> T:
    """The result of a request, tried again with growing, jittered waits while the trouble may pass."""
    tries = Retrying(
        stop=stop_after_attempt(config.attempts) | stop_after_delay(_LONGEST_S),
        wait=_wait(wait_random_exponential(multiplier=0.2, max=20.0)),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )
    try:
        return tries(act)
    except OSError as error:
        if str(error).startswith("Forbidden"):  # gcsfs
            raise PermissionError(errno.EACCES, str(error)) from error
        raise
    except _known(_CLIENT_ERRORS) as error:
        if getattr(error, "status_code", None) in (401, 403):  # Azure
            raise PermissionError(errno.EACCES, str(error)) from error
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


def _wait(usual: wait_base) -> Callable[[RetryCallState], float]:
    """As usual, after what the server asks for: those who wait for the same moment do not come at once then."""

    def seconds(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        told: float = getattr(error, "retry_after", 0.0)
        return min(told, _LONGEST_TOLD_S) + usual(state)

    return seconds


def _may_pass(error: BaseException) -> bool:
    """Whether a later try may succeed: the network, an overloaded server, a conflict with another request."""
    if isinstance(error, (FileNotFoundError, FileExistsError, PermissionError)):
        return False
    response = getattr(error.__cause__, "response", None)  # s3fs keeps botocore's error as the cause
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _PASSING_STATUS or response.get("Error", {}).get("Code") in _PASSING_CODES
    status = getattr(error, "code", None) or getattr(error, "status_code", None)  # gcsfs; Azure
    return status in _PASSING_STATUS or isinstance(error, (ConnectionError, TimeoutError, *_known(_PASSING_ERRORS)))


@lru_cache(maxsize=8)
def _known(paths: tuple[str, ...]) -> tuple[type[Exception], ...]:
    """The classes among `package.module:Name` whose packages are installed."""
    classes = []
    for path in paths:
        module, _, name = path.partition(":")
        with suppress(ImportError):
            classes.append(getattr(import_module(module), name))
    return tuple(classes)
