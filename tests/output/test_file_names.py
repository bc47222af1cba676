"""Outputs that cannot hold the files of all images."""

import pyarrow as pa
import pytest

from sam_batch.config import StorageConfig
from sam_batch.data.naming import Naming
from sam_batch.data.storage import Storage, open_storage
from sam_batch.errors import OutputError
from sam_batch.output.file_names import refuse_unwritable


def blocks(*names):
    return lambda: [pa.chunked_array([[name]], pa.string()) for name in names]


def an_output(monkeypatch, tmp_path, naming):
    monkeypatch.setattr(Storage, "naming", lambda self: naming)
    return open_storage(str(tmp_path), StorageConfig())


def test_an_output_that_takes_all_names_is_not_refused(tmp_path):
    refuse_unwritable(open_storage(str(tmp_path), StorageConfig()), blocks("a.png", "A.png", "a:b?.png", "dot."))


def test_two_names_that_would_be_one_file_are_refused(monkeypatch, tmp_path):
    storage = an_output(monkeypatch, tmp_path, Naming(ignores_case=True))
    refuse_unwritable(storage, blocks("a.png", "b.png"))
    with pytest.raises(OutputError, match=r"takes for one .*: A\.png and a\.png; choose"):
        refuse_unwritable(storage, blocks("a.png", "A.png"))


def test_names_that_cannot_be_written_are_refused(monkeypatch, tmp_path):
    storage = an_output(monkeypatch, tmp_path, Naming(refused=":"))
    with pytest.raises(OutputError, match=r"does not take a:b\.png \(no name may hold :\); choose"):
        refuse_unwritable(storage, blocks("a:b.png", "c.png"))


def test_where_every_file_system_takes_all_names_nothing_is_tried(monkeypatch, tmp_path):
    monkeypatch.setattr(Storage, "naming", None)
    storage = open_storage(str(tmp_path), StorageConfig())
    refuse_unwritable(storage, blocks())
    refuse_unwritable(storage, blocks("a.png", "b c.png", "\u00e9/\u732b.png"))
