import sys

import pytest
from support.jobs import draw_photographs, job_config

from sam_batch import configfile
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


@pytest.fixture
def job(tmp_path):
    """The settings of a small job, beside its photographs."""
    draw_photographs(tmp_path / "photos", 5)
    path = tmp_path / "job.yaml"
    path.write_text(configfile.to_yaml(job_config(tmp_path / "photos", tmp_path / "out")))
    return path
