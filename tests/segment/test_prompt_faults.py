import numpy as np
import pytest
from support.masks import run_lengths

from sam_batch.records import Prompt
from sam_batch.records import PromptFailureKind as Kind
from sam_batch.segment.prompt_faults import find_fault

NAN, INF, SIDE = float("nan"), float("inf"), 32
MASK = run_lengths(np.ones((60, 80), dtype=bool))


def fault(**parts):
    return find_fault(Prompt(**parts), (60, 80), SIDE)


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"points": ((1, 2), (3, 4)), "labels": (1,)}, Kind.BAD_LABEL),
        ({"points": ((1, 2),), "labels": (2,)}, Kind.BAD_LABEL),
        ({"points": ((1, 2),), "labels": (-2,)}, Kind.BAD_LABEL),
        ({"points": ((1, 2), (NAN, 4)), "labels": (1, 0)}, Kind.NOT_FINITE),
        ({"points": ((80.5, 2),), "labels": (1,)}, Kind.OUTSIDE),
        ({"points": ((1, -0.1),), "labels": (0,)}, Kind.OUTSIDE),
        ({"box": (0, 0, INF, 9)}, Kind.NOT_FINITE),
        ({"box": (10, 10, 5, 20)}, Kind.REVERSED_BOX),
        ({"box": (5, 20, 10, 10)}, Kind.REVERSED_BOX),
        ({"box": (5, 5, 5, 20)}, Kind.EMPTY_BOX),
        ({"box": (80, 5, 90, 20)}, Kind.OUTSIDE),
        ({"box": (-9, -9, 0, 20)}, Kind.OUTSIDE),
        ({"mask": run_lengths(np.ones((80, 61), dtype=bool))}, Kind.WRONG_SIZE),
        ({"mask": "\u00e4"}, Kind.WRONG_SIZE),
        ({"mask": MASK, "logits": bytes(4 * SIDE * SIDE)}, Kind.WRONG_SIZE),
        ({"logits": bytes(4)}, Kind.WRONG_SIZE),
        ({"logits": np.full(SIDE * SIDE, NAN, np.float32).tobytes()}, Kind.NOT_FINITE),
    ],
)
def test_what_cannot_be_asked_is_named(parts, kind):
    assert fault(**parts).kind is kind


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"points": ((0, 0), (80, 60)), "labels": (1, 0)},
        {"points": ((NAN, NAN), (1, 1)), "labels": (-1, 1)},
        {"box": (-5, -5, 90, 20)},
        {"mask": MASK},
        {"logits": bytes(4 * SIDE * SIDE)},
    ],
)
def test_everything_else_may_be_asked(parts):
    assert fault(**parts) is None


def test_the_reason_says_where_it_lies():
    assert fault(points=((99, 2),), labels=(1,)).message == "the point (99, 2) lies outside of the image of 80 x 60"
