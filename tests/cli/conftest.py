import sys

import pytest

from sam_batch.cli import main as cli


@pytest.fixture
def call(monkeypatch, capfd):
    """Run the program in this process; returns (exit code, stdout, stderr), as whoever started it would get them."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sam-batch", *map(str, arguments)])
        for name in ("stdout", "stderr", "excepthook"):  # the program sets them for good
            monkeypatch.setattr(sys, name, getattr(sys, name))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capfd.readouterr()

    return run
