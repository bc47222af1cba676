"""What flows through the job is frozen, complete and can cross processes."""

import dataclasses
import pickle

import numpy as np
import pytest

from sam_batch.records import (
    Annotation,
    Failure,
    FailureKind,
    ImageRef,
    ImageResult,
    LoadedImage,
    PixelNote,
    Prompt,
    Stage,
    Status,
    View,
)

REF = ImageRef(image_id=7, key="b/a.jpg", uri="file:///photos/b/a.jpg", size=12)
FAILURE = Failure(Stage.LOAD, FailureKind.TRUNCATED, "ends early")
PROMPT = Prompt(points=((2.0, 3.0),), labels=(1,))
MASK = Annotation(0, (1.0, 2.0, 3.0, 4.0), 9, 0.9, 0.95, PROMPT, (0.0, 0.0, 8.0, 8.0), "00")
RESULT = ImageResult(REF, Status.OK, height=8, width=8, sha256="00", annotations=(MASK,))


@pytest.mark.parametrize("record", [REF, FAILURE, PROMPT, MASK, RESULT], ids=lambda record: type(record).__name__)
def test_records_are_values(record: object) -> None:
    """Equal after pickling, hashable, and without attributes that can be set."""
    assert pickle.loads(pickle.dumps(record)) == record
    assert isinstance(hash(record), int)
    assert not hasattr(record, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, None)  # type: ignore[arg-type]


def test_a_loaded_image_keeps_its_pixels_across_processes() -> None:
    view = View((0, 0, 4, 2), np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    copy = pickle.loads(pickle.dumps(LoadedImage(REF, 2, 4, "00", b"jpeg", (view,))))
    np.testing.assert_array_equal(copy.views[0].pixels, view.pixels)


def test_a_failed_row_says_where_and_why() -> None:
    row = ImageResult.failed(REF, FAILURE, sha256="00")
    assert (row.ref, row.status, row.failure, row.sha256) == (REF, Status.FAILED, FAILURE, "00")
    assert (row.height, row.width, row.annotations) == (0, 0, ())
    row = ImageResult.failed(REF, FAILURE, height=3, width=4)
    assert (row.height, row.width, row.sha256) == (3, 4, "")


@pytest.mark.parametrize("names", [Status, Stage, FailureKind, PixelNote])
def test_names_are_written_as_plain_text(names: type[Status]) -> None:
    assert [f"{one}" for one in names] == [one.name.lower() for one in names]
