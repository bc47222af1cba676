"""How functions are compiled; what is compiled has tests of its own."""

from unittest import mock

import numba
import numpy as np
import pytest
from numba.core.caching import IndexDataCacheFile

from sam_batch import compiled as module
from sam_batch.compiled import compiled, reordered


@pytest.mark.parametrize("decorator", [compiled, reordered])
def test_functions_compile_where_nothing_can_be_kept(decorator, monkeypatch):
    """numba refuses at once if it may write neither beside the module nor at home."""
    monkeypatch.setattr(module, "_Cache", mock.Mock(side_effect=RuntimeError("cannot cache function: no locator")))
    assert decorator(lambda number: number + 1)(1) == 2


def double(values):
    for index in range(len(values)):
        values[index] *= 2


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of what is kept, and `double` compiled as in a process that starts now."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path, lambda: compiled(double)


def files_in(folder):
    return {path.name for path in folder.rglob("*.nbc")}


def test_what_is_kept_is_not_compiled_again(kept):
    folder, start = kept
    start()(np.ones(3))
    before, again = files_in(folder), start()
    again(np.ones(3))
    assert (sum(again.stats.cache_hits.values()), files_in(folder)) == (1, before)


def test_processes_that_compile_at_once_keep_apart_what_they_keep(kept):
    """numba's index would give both signatures one number, and what is written last."""
    folder, start = kept
    real, whole = start(), start()
    with mock.patch.object(IndexDataCacheFile, "_save_data", slow := mock.Mock()):
        whole(np.ones(3, np.int64))
    with mock.patch.object(IndexDataCacheFile, "_load_index", return_value={}):  # it looked before
        real(np.ones(3))
    whole._cache._cache_file._save_data(*slow.call_args.args)
    for values in (np.ones(3), np.ones(3, np.int64)):
        start()(values)
        assert values.tolist() == [2, 2, 2]
    assert len(files_in(folder)) == 2


def test_other_sources_are_compiled_anew(kept, monkeypatch):
    folder, start = kept
    start()(np.ones(3))
    monkeypatch.setattr(module, "_sources", lambda: "of the next release")
    start()(np.ones(3))
    assert len(files_in(folder)) == 2


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x80\x05\x95"])
def test_what_a_power_failure_damaged_is_compiled_again(kept, content):
    folder, start = kept
    start()(np.ones(3))
    for path in folder.rglob("*.nbc"):
        path.write_bytes(content)
    values = np.ones(3)
    start()(values)
    assert values.tolist() == [2, 2, 2]


def test_a_full_disk_keeps_nothing_and_stops_nothing(kept, monkeypatch):
    monkeypatch.setattr("os.replace", mock.Mock(side_effect=OSError(28, "No space left on device")))
    values = np.ones(3)
    kept[1]()(values)
    assert values.tolist() == [2, 2, 2]


@reordered
def total(values):
    result = np.float32(0)
    for index in range(len(values)):
        result += values[index]
    return result


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_reordered_sums_keep_what_is_not_finite(odd):
    values = np.ones(100, np.float32)
    values[37] = odd
    np.testing.assert_equal(total(values), np.float32(odd))
