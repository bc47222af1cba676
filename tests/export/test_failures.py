"""The table of failed images holds each with its reason, as a CSV reader reads it."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st
from support.results import failed_results, result_of

from sam_batch.config import StorageConfig
from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.failures import COLUMNS, open_failures
from sam_batch.output.schema import results_to_table


@given(st.lists(failed_results, max_size=4))
def test_a_reader_of_csv_gets_every_failure_back(tmp_path_factory, failures):
    storage = Storage(str(tmp_path_factory.mktemp("out")), StorageConfig())
    with open_failures(storage, OutputConfig(uri="out")) as export:
        export.add(results_to_table([result_of("a.jpg", [], 0, (4, 4)), *failures], {}))
        (key,) = export.finish()
    rows = list(csv.DictReader(io.StringIO(storage.read(key).decode(), newline="")))
    assert [tuple(row.values()) for row in rows] == [
        (one.ref.key, one.ref.uri, one.failure.stage, one.failure.kind, one.failure.message) for one in failures
    ]
    assert all(tuple(row) == COLUMNS for row in rows)
