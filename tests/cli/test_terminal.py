"""Streams that are closed, full or read by nobody: the work goes on, and no traceback is shown."""

import json
import shlex
import subprocess
import sys

import pytest
from support.jobs import draw_photographs, job_config

from sam_batch import configfile
from sam_batch.cli import terminal
from sam_batch.cli.json_lines import JsonLines


@pytest.fixture
def job(tmp_path):
    draw_photographs(tmp_path / "photos", 2)
    path = tmp_path / "job.yaml"
    path.write_text(configfile.to_yaml(job_config(tmp_path / "photos", tmp_path / "out")))
    return path


def shell(arguments, streams):
    """Run the program with a shell's redirections; returns (exit code, stdout, stderr)."""
    program = shlex.join([sys.executable, "-m", "sam_batch", *map(str, arguments)])
    ended = subprocess.run(["sh", "-c", f"{program} {streams}"], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    "streams",
    [
        "<&- >&- 2>&-",
        ">/dev/full 2>/dev/full",
        *(pytest.param(one, marks=pytest.mark.slow) for one in (">&-", "2>&-", "2>/dev/full")),
    ],
)
def test_a_job_is_done_whatever_its_streams_are(job, streams):
    code, _, _ = shell(["run", job], streams)
    assert code == 0
    assert (job.parent / "out/annotations/part-00000.parquet").is_file()


@pytest.mark.parametrize(
    ("streams", "code", "told"),
    [
        (">&-", 0, ""),
        (">/dev/full", 1, "error: standard output cannot be written: No space left on device\n"),
        ("2>/dev/full | true; exit 1", 1, ""),
    ],
)
def test_an_answer_that_cannot_be_given_is_said_in_one_line(job, streams, code, told):
    assert shell(["plan", job], streams) == (code, "", told)


def test_a_mistake_keeps_its_exit_code_where_it_cannot_be_told(job):
    assert shell(["plan", job, "nonsense=1"], "2>/dev/full") == (2, "", "")


@pytest.mark.parametrize(("options", "traced"), [([], False), (["-v"], True)])
def test_what_nobody_foresaw_is_one_line_and_with_v_a_traceback(options, traced):
    code, _, told = shell([*options, "run", "--help"], ">/dev/full")
    assert code == 1
    assert told.splitlines()[-1].startswith("error: OSError: [Errno 28] No space left on device (unforeseen")
    assert ("Traceback" in told) is traced


def test_a_name_that_is_no_text_can_be_printed(job):
    code, _, told = shell(["plan", job, "input.uri=photo\udce9"], "")
    assert code == 2
    assert "photo\\udce9" in told


@pytest.mark.parametrize("as_json", [False, True])
def test_a_warning_is_shown_once(capfd, monkeypatch, as_json):
    monkeypatch.setattr(sys, "stderr", JsonLines(sys.stderr) if as_json else sys.stderr)
    with terminal.quiet(verbose=False):
        for _ in range(2):
            terminal.logging.getLogger("sam_batch").warning("slow")
    (line,) = capfd.readouterr().err.splitlines()
    assert (json.loads(line)["message"] if as_json else line) == ("slow" if as_json else "warning: slow")
