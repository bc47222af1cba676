"""Any exception of one image becomes its row; an engine that is broken does not."""

import pytest
import torch

from sam_batch.errors import (
    EngineError,
    ImageError,
    NonFiniteError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
)
from sam_batch.job.boundary import MESSAGE_LENGTH, attempt, attempt_on, describe
from sam_batch.records import FailureKind, ImageRef, ImageResult, LoadedImage, PixelNote, Stage, Status

REF = ImageRef(3, "a.jpg", "file:///a.jpg")


def raising(error):
    def work():
        raise error

    return work


def test_work_that_succeeds_is_returned():
    assert attempt(REF, Stage.LOAD, lambda: 7) == 7


def test_what_is_known_of_the_image_stays_in_its_row():
    image = LoadedImage(REF, 3, 4, "00", b"", (), (PixelNote.PAGES_DROPPED,))
    row = attempt_on(image, Stage.SEGMENT, raising(NonFiniteError("NaN")))
    assert (row.height, row.width, row.sha256, row.notes) == (3, 4, "00", (PixelNote.PAGES_DROPPED,))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ImageError("truncated", "ends early"), FailureKind.TRUNCATED),
        (NotFoundError("gone"), FailureKind.NOT_FOUND),
        (PermissionDeniedError("no"), FailureKind.PERMISSION_DENIED),
        (StorageError("slow"), FailureKind.READ_FAILED),
        (NonFiniteError("NaN"), FailureKind.NON_FINITE_OUTPUT),
        (MemoryError(), FailureKind.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA"), FailureKind.OUT_OF_MEMORY),
        (ZeroDivisionError("oh"), FailureKind.INTERNAL_ERROR),
        (RecursionError(), FailureKind.INTERNAL_ERROR),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_becomes_a_failed_row_of_its_kind(error, kind):
    row = attempt(REF, Stage.SEGMENT, raising(error))
    assert isinstance(row, ImageResult)
    assert (row.ref, row.status) == (REF, Status.FAILED)
    assert (row.failure.stage, row.failure.kind) == (Stage.SEGMENT, kind)


def test_a_broken_engine_is_no_images_fault():
    with pytest.raises(EngineError, match="gone"):
        attempt(REF, Stage.SEGMENT, raising(EngineError("gone")))


def test_interruptions_pass():
    with pytest.raises(KeyboardInterrupt):
        attempt(REF, Stage.LOAD, raising(KeyboardInterrupt()))


def test_a_message_is_one_short_line_and_names_what_was_not_foreseen():
    message = describe(Stage.LOAD, ValueError("two\n  lines " + "x" * 2 * MESSAGE_LENGTH)).message
    assert message.startswith("ValueError: two lines x")
    assert len(message) <= MESSAGE_LENGTH + len("ValueError: ")
