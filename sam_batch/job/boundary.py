"""The item boundary: the one place where any exception of one image becomes its `failed` row."""

from collections.abc import Callable
from typing import TypeVar

from sam_batch.errors import (
    EngineError,
    ImageError,
    JobError,
    NonFiniteError,
    NotFoundError,
    OutageError,
    PermissionDeniedError,
    StorageError,
)
from sam_batch.records import Failure, FailureKind, ImageRef, ImageResult, LoadedImage, PixelNote, Stage

T = TypeVar("T")

MESSAGE_LENGTH = 500


def attempt(
    ref: ImageRef,
    stage: Stage,
    work: Callable[[], T | Failure],
    *,
    height: int = 0,
    width: int = 0,
    sha256: str = "",
    notes: tuple[PixelNote, ...] = (),
) -> T | ImageResult:
    """Do one image's work; whatever goes wrong with this image alone, or is told of it, becomes its result.

    Args:
        ref: The image.
        stage: Of the work.
        work: Any.
        height: For the result, where it is known by now.
        width: Likewise.
        sha256: Likewise.
        notes: Likewise.

    Raises:
        EngineError: The engine is broken, which is no image's fault.
        OutageError: Its store is, likewise.
        JobError: This machine is, likewise.
    """
    answer = tried(stage, work)
    if isinstance(answer, Failure):
        return ImageResult.failed(ref, answer, height=height, width=width, sha256=sha256, notes=notes)
    return answer


def tried(stage: Stage, work: Callable[[], T | Failure]) -> T | Failure:
    """`attempt` where no image is known: what goes wrong is told."""
    try:
        return work()
    except Exception as error:  # the item boundary: the only broad one
        if isinstance(error, (EngineError, OutageError, JobError)) and not isinstance(error, NonFiniteError):
            raise
        return describe(stage, error)


def attempt_on(image: LoadedImage | ImageResult, stage: Stage, work: Callable[[], T]) -> T | ImageResult:
    """`attempt` on an image that was loaded, whose size, hash and notes stay in its row."""
    return attempt(
        image.ref,
        stage,
        work,
        height=image.height,
        width=image.width,
        sha256=image.sha256,
        notes=image.notes,
    )


def describe(stage: Stage, error: Exception) -> Failure:
    """An exception as a row's failure: its kind from the closed list, and one short line."""
    message = " ".join(str(error).split())[:MESSAGE_LENGTH]
    kind = _kind(error)
    if kind is FailureKind.INTERNAL_ERROR:
        message = f"{type(error).__name__}: {message}"
    return Failure(stage, kind, message)


def _kind(error: Exception) -> FailureKind:
    match error:
        case ImageError():
            return error.kind
        case NotFoundError():
            return FailureKind.NOT_FOUND
        case PermissionDeniedError():
            return FailureKind.PERMISSION_DENIED
        case StorageError():
            return FailureKind.READ_FAILED
        case NonFiniteError():
            return FailureKind.NON_FINITE_OUTPUT
        case MemoryError():
            return FailureKind.OUT_OF_MEMORY
        case _ if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch here
            return FailureKind.OUT_OF_MEMORY
        case _:
            return FailureKind.INTERNAL_ERROR
