"""Kinds of image files and what becomes of each: the table in docs/pixels.md, and what it is checked with.

`make docs` writes the table. A test decodes every file, and compares its pixels with what another library reads, put
through the documented rule.
"""

import re
from pathlib import Path

from sam_batch.records import PixelNote
from support.kinds.geotiffs import GEOTIFFS
from support.kinds.pictures import JPEGS, OTHERS, PNGS
from support.kinds.refused import NOT_READ
from support.kinds.tiffs import TIFFS

PAGE = Path(__file__).parents[3] / "docs" / "pixels.md"
BEGIN, END = "<!-- the table is made by `make docs` -->\n", "<!-- end of the table -->\n"
KINDS = [*JPEGS, *PNGS, *OTHERS, *TIFFS, *GEOTIFFS, *NOT_READ]


def table() -> str:
    """The table of docs/pixels.md."""
    lines = [
        f'{len(KINDS)} files, each made and read by a test; "as drawn" is the array it was made of.\n',
        "| file | becomes | notes | compared with |",
        "|---|---|---|---|",
    ]
    for kind in KINDS:
        settings = ", ".join(f"`{name}: {str(value).replace(chr(39), '')}`" for name, value in kind.settings.items())
        outcome = f"`failed`, `{kind.failure}`: {kind.becomes}" if kind.failure else kind.becomes
        notes = ", ".join(f"`{note}`" for note in PixelNote if note in kind.notes)
        lines.append(f"| {kind.name}{f' ({settings})' if settings else ''} | {outcome} | {notes} | {kind.reader} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with the table as it should be."""
    return re.sub(f"(?<={BEGIN}).*(?={END})", lambda _: table(), PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
