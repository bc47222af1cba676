"""What the package warns of is collected; what others say is not."""

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from sam_batch.job.notes import noted
from sam_batch.masks import logits

_log = logging.getLogger("sam_batch.segment.memory")


@pytest.fixture
def shown():
    """The warnings that Python shows, as a program does, where tests raise them."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        yield shown


def warn_from(filename, message):
    warnings.warn_explicit(message, UserWarning, filename, 1)


def test_warnings_are_noted_once_and_lesser_messages_not():
    notes = []
    with noted(notes):
        _log.info("for the curious")
        for size in (8, 4, 8):
            _log.warning("out of memory: from now on %d", size)
    assert notes == ["out of memory: from now on 8", "out of memory: from now on 4"]


def test_warnings_of_other_threads_count():
    notes = []
    with noted(notes), ThreadPoolExecutor(1) as pool:
        pool.submit(_log.warning, "from a thread").result()
    assert notes == ["from a thread"]


def test_pythons_own_warnings_count_where_they_are_ours(shown):
    notes = []
    with noted(notes):
        warn_from(logits.__file__, "Triton does not work here")
        warn_from("/site-packages/other/module.py", "deprecated")
    assert notes == ["Triton does not work here"]
    assert [str(warning.message) for warning in shown] == ["deprecated"]


def test_nothing_is_noted_afterwards():
    notes = []
    show, handlers = warnings.showwarning, list(logging.getLogger("sam_batch").handlers)
    with noted(notes):
        pass
    _log.warning("too late")
    assert notes == []
    assert (warnings.showwarning, logging.getLogger("sam_batch").handlers) == (show, handlers)


@pytest.mark.usefixtures("shown")
def test_what_is_noted_within_is_noted_without_too():
    outer, inner = ["known"], []
    with noted(outer), noted(inner):
        warn_from(logits.__file__, "once")
        _log.warning("known")
    assert (outer, inner) == (["known", "once"], ["once", "known"])
