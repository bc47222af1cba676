"""Every error this package raises on purpose, and what the program ends with.

::

    SamBatchError
    ├── ConfigError            the command line, the YAML or what they name is wrong   exit 2
    │   ├── InputError         the input cannot be listed: missing, empty, unreadable
    │   ├── OutputError        the output cannot be used: unwritable, held, another job's
    │   │   ├── FingerprintError   it holds results of other settings
    │   │   └── LeaseError         another driver works on it, found before the job began
    │   ├── CheckpointError    the weights are missing, damaged or of another model
    │   └── EngineFileError          a TensorRT plan is missing, altered, unverified or of another machine
    │       └── UnverifiedError    it is whole and fits, but was not verified on this machine
    ├── StorageError           one read or write failed after its retries
    │   ├── NotFoundError
    │   ├── AlreadyExistsError
    │   ├── PermissionDeniedError
    │   └── OutageError        no image can be loaded, a store does not answer: no image's fault
    ├── ImageError             one image cannot be labelled; becomes a `failed` row
    ├── EngineError            the engine is broken; its worker is replaced
    │   └── NonFiniteError     it returned NaN or infinity
    └── JobError               the job as a whole cannot succeed                        exit 1
        └── LeaseLostError         another driver has taken its output over, or somebody deleted it

Errors cross process borders, so every one survives pickling with its attributes.
"""

from enum import IntEnum, StrEnum
from typing import Any


class ExitCode(IntEnum):
    """How the program ended, for whoever started it."""

    OK = 0
    FAILED = 1
    USAGE = 2
    TOO_MANY_FAILURES = 3
    INTERRUPTED = 130


class FailureKind(StrEnum):
    """Why an image failed: a closed list, so that failures can be counted."""

    NOT_FOUND = "not_found"
    PERMISSION_DENIED = "permission_denied"
    NOT_REGULAR_FILE = "not_regular_file"
    READ_FAILED = "read_failed"
    EMPTY_FILE = "empty_file"
    TOO_MANY_BYTES = "too_many_bytes"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_COMPRESSION = "unsupported_compression"  # of a format that is read otherwise
    UNSUPPORTED_SAMPLES = "unsupported_samples"  # likewise: complex numbers, raw sensor data, 12-bit JPEG
    MISSING_BANDS = "missing_bands"  # fewer than input.bands asks for
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_MANY_PIXELS = "too_many_pixels"
    NO_PROMPTS = "no_prompts"  # and prompts.without is fail
    NON_FINITE_OUTPUT = "non_finite_output"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_CRASH = "worker_crash"
    TIMED_OUT = "timed_out"
    INTERNAL_ERROR = "internal_error"


class SamBatchError(Exception):
    """Base of all errors raised on purpose; `str()` is one line made for the user."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[SamBatchError], args: tuple[Any, ...], state: dict[str, Any]) -> SamBatchError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(SamBatchError):
    """The command line or configuration is wrong; says which key, its value and what is allowed."""


class InputError(ConfigError):
    """The input cannot be listed: missing, empty or unreadable."""


class OutputError(ConfigError):
    """The output cannot be used: unwritable, held by another driver, or another job's."""


class FingerprintError(OutputError):
    """The output holds results of other settings; the message lists the keys that differ."""


class LeaseError(OutputError):
    """Another driver works on the same output; nothing was begun."""


class CheckpointError(ConfigError):
    """The weights are missing, damaged, unsafe or of another model."""


class EngineFileError(ConfigError):
    """A TensorRT plan is missing, altered, unverified or of another machine; names the command that mends it."""


class UnverifiedError(EngineFileError):
    """TensorRT plans are whole and fit, but nobody has compared them with torch on this machine."""


class StorageError(SamBatchError):
    """One storage operation failed after its retries."""


class NotFoundError(StorageError):
    """No file or object has this name."""


class AlreadyExistsError(StorageError):
    """A create-only write found the name taken."""


class PermissionDeniedError(StorageError):
    """The file or object may not be read or written."""


class OutageError(StorageError):
    """Images cannot be loaded, and none is to blame: a store that does not answer; the job waits, and then ends."""


class ImageError(SamBatchError):
    """One image cannot be labelled.

    Attributes:
        kind: Why.
    """

    kind: FailureKind

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[1])


class EngineError(SamBatchError):
    """The engine cannot go on; its worker is replaced."""


class NonFiniteError(EngineError):
    """The engine returned NaN or infinity."""


class JobError(SamBatchError):
    """The job as a whole cannot succeed."""


class LeaseLostError(JobError):
    """Another driver has taken the output over in the middle of the job, or somebody has deleted it."""
