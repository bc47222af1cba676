"""Each program of the table in docs/formats.md reads each case back whole, or as the table says and explains.

`make test-readers` installs the programs; the table itself is looked at everywhere.
"""

import re
from importlib.util import find_spec

import pytest
from support.readers import page
from support.readers.cases import CASES
from support.readers.reader import Found, Reader, agreement
from support.readers.readers import READERS

TABLE = re.search(f"{page.BEGIN}(.*){page.END}", page.PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
CELLS = [line.strip(" |").split(" | ") for line in TABLE.splitlines()[2:]]
ROWS = {(cells[0], cells[2]): cells[3:] for cells in CELLS if len(cells) > 3}
MODULES = {"faster-coco-eval": "faster_coco_eval", "label-studio-sdk": "label_studio_sdk"}


@pytest.mark.readers
@pytest.mark.filterwarnings("ignore")  # of what they import
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: f"{reader.name}, {reader.reads}")
def test_a_program_reads_as_much_as_the_table_says(reader, case, tmp_path):
    if find_spec(MODULES.get(reader.package, reader.package)) is None:
        pytest.fail(f"{reader.package} is not installed; `make test-readers` does that")
    assert (
        page.shown(page.measured(reader, case, tmp_path))
        == ROWS[reader.name, reader.reads][list(CASES).index(case)].split()[0]
    )


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: f"{reader.name}, {reader.reads}")
def test_what_is_not_read_back_whole_is_explained(reader):
    said = dict(zip(CASES, ROWS[reader.name, reader.reads], strict=True))
    assert {case: cell.partition(" ")[2] for case, cell in said.items() if cell != "1"} == {
        case: page.letters()[reason] for case, reason in reader.losses.items()
    }


@pytest.mark.parametrize("photos", CASES.values(), ids=CASES)
def test_a_reader_that_finds_all_has_one_and_one_that_loses_a_mask_less(photos):
    reader = Reader("perfect", "", "", read=lambda made: iter(()))
    found = [Found(photo.key, photo.masks) for photo in photos]
    assert agreement(reader, photos, found) == 1
    assert agreement(reader, photos, found[:-1]) == 0
    last = photos[-1]
    assert agreement(reader, photos, [*found[:-1], Found(last.key, last.masks[:-1])]) < 1
