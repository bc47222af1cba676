"""The table of docs/formats.md: how much of what is written which program reads back. `make readers` writes it.

Every cell is measured: each program, in the version that is installed, opens what each case was exported to.
"""

import re
from importlib.metadata import version
from pathlib import Path
from string import ascii_lowercase
from tempfile import TemporaryDirectory
from typing import Final

from support.readers.cases import CASES
from support.readers.reader import Reader, agreement, make
from support.readers.readers import READERS

PAGE: Final = Path(__file__).parents[3] / "docs" / "formats.md"
ELSEWHERE: Final = {  # what keeps the programs out of the user's home, where empty: a folder of their own
    "FIFTYONE_CONFIG_PATH": "",
    "HF_HOME": "",
    "HF_HUB_OFFLINE": "1",
    "MPLCONFIGDIR": "",
    "QT_QPA_PLATFORM": "offscreen",
    "YOLO_CONFIG_DIR": "",
    "YOLO_VERBOSE": "False",
}
BEGIN, END = "<!-- the table is made by `make readers` -->\n", "<!-- end of the table -->\n"


def measured(reader: Reader, case: str, folder: Path) -> float:
    """The IoU of a case with what a program reads of it."""
    made = make(reader, CASES[case], folder)
    return agreement(reader, CASES[case], list(reader.read(made)))


def shown(iou: float) -> str:
    """Never 1 for what is not the same."""
    return "1" if iou == 1 else f"{min(iou, 0.999):.3g}"


def letters() -> dict[str, str]:
    """A letter for each reason why something is lost, in the order of the table."""
    reasons = dict.fromkeys(reader.losses[case] for reader in READERS for case in CASES if case in reader.losses)
    return dict(zip(reasons, ascii_lowercase, strict=False))


def table() -> str:
    """The table, and what its letters mean."""
    lines = ["| program | version | reads | " + " | ".join(CASES) + " |", "|---|---|---|" + "---|" * len(CASES)]
    for reader in READERS:
        cells = []
        for case in CASES:
            with TemporaryDirectory() as folder:
                cell = shown(measured(reader, case, Path(folder)))
            cells.append(f"{cell} {letters()[reader.losses[case]]}" if case in reader.losses else cell)
        begin = f"| {reader.name} | {version(reader.package)} | {reader.reads} | "
        lines.append(begin + " | ".join(cells) + " |")
    notes = [f"- {letter}: {reason}." for reason, letter in letters().items()]
    return "\n".join([*lines, "", *notes]) + "\n"


def page(text: str) -> str:
    """The page with another table."""
    return re.sub(f"(?<={BEGIN}).*(?={END})", lambda _: text, PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(table()), encoding="utf-8")
