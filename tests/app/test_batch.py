"""Batch: a job from a form or a file is the command line's own, is followed by its output, and stops as by Ctrl-C."""

import sys

import pytest
import yaml
from support.jobs import draw_photographs, job_config, run

from sam_batch import configfile
from sam_batch.app import batch
from sam_batch.app.batch import Job, Jobs, folder_job, foretell, output_alone, yaml_job
from sam_batch.errors import ConfigError, InputError, OutputError
from sam_batch.job.status import Watch

SETTINGS = job_config("photos", "out", generator={"pred_iou_thresh": 0.3})


def test_a_folder_a_suffix_and_a_destination_are_a_job():
    config = folder_job(SETTINGS, " in/ ", ".JPG, png", "there")
    assert (config.input.uri, config.input.extensions, config.output.uri) == ("in/", ("jpg", "png"), "there")
    assert config.generator == SETTINGS.generator
    assert folder_job(SETTINGS, "in/", " ", "there").input.extensions == SETTINGS.input.extensions


@pytest.mark.parametrize(("source", "destination", "key"), [("", "out", "input.uri"), ("in/", " ", "output.uri")])
def test_what_is_missing_is_named(source, destination, key):
    with pytest.raises(ConfigError, match=f"^{key}"):
        folder_job(SETTINGS, source, "", destination)


def test_a_file_is_a_job_or_says_what_is_wrong_with_it(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(configfile.to_yaml(SETTINGS), encoding="utf-8")
    assert yaml_job(f" {path} ") == SETTINGS
    path.write_text("generator: {points_per_sied: 3}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"did you mean generator\.points_per_side"):
        yaml_job(str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        yaml_job(str(tmp_path))


def test_a_run_is_foretold_as_plan_does(tmp_path):
    draw_photographs(tmp_path / "photos", 3)
    assert "3 images to do" in foretell(job_config(tmp_path / "photos", tmp_path / "out"))
    with pytest.raises(InputError, match="nowhere"):
        foretell(job_config(tmp_path / "nowhere", tmp_path / "out"))


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Runs a piece of Python in the place of the program; `argv` has what it was started with."""

    def run_instead(source):
        path = tmp_path / "program.py"
        path.write_text(f"import sys, time\nargv = sys.argv[1:]\n{source}", encoding="utf-8")
        popen = batch.subprocess.Popen
        monkeypatch.setattr(
            batch.subprocess, "Popen", lambda command, **how: popen([sys.executable, path, *command[3:]], **how)
        )

    return run_instead


def test_a_job_is_the_program_itself_with_all_settings(program):
    program("assert argv[0] == 'run'; print(open(argv[1]).read())")
    job = Job(SETTINGS)
    assert job.wait(60)
    assert yaml.safe_load("\n".join(job.said())) == SETTINGS.model_dump(mode="json") | yaml.safe_load(
        configfile.to_yaml(SETTINGS)
    )


def test_what_a_job_says_is_kept_as_far_as_it_is_bounded(program):
    program("print('\\n'.join(map(str, range(1000)))); sys.stderr.write('last\\n')")
    job = Job(SETTINGS)
    assert job.wait(60)
    assert (len(job.said()), job.said()[-1]) == (batch.MOST_LINES, "last")


@pytest.mark.parametrize(
    ("code", "word"),
    [("0", "finished"), ("1", "failed"), ("2", "refused"), ("3", "too many failed"), ("130", "stopped"), ("77", "77")],
)
def test_how_a_job_ended_is_said_in_words(program, code, word):
    program(f"sys.exit({code})")
    job = Job(SETTINGS)
    assert job.wait(60)
    assert word in job.ended()


STUBBORN = """
import signal
def interrupted(*_):
    print('asked', flush=True)
signal.signal(signal.SIGTERM, interrupted)
print('ready', flush=True)
time.sleep(600)
time.sleep(600)
"""


def test_one_job_an_output_is_followed_and_stopped_by_naming_it(program, tmp_path):
    program(STUBBORN)
    jobs, config = Jobs(), job_config("photos", tmp_path / "out")
    jobs.start(config)
    try:
        assert jobs.progress(Watch(config)).is_going_on
        while not jobs.progress(Watch(config)).line:
            pass
        with pytest.raises(OutputError, match="a job already works on"):
            jobs.start(config)
        other = output_alone(SETTINGS, str(tmp_path / "elsewhere"))
        assert not jobs.progress(Watch(other)).is_going_on
        with pytest.raises(OutputError, match="no job that was started here"):
            jobs.stop(other)
        by_its_name = output_alone(SETTINGS, f"{tmp_path}/out/")
        jobs.stop(by_its_name)
        while jobs.progress(Watch(config)).line != "asked":
            pass
        jobs.stop(by_its_name)  # which kills it
        assert jobs._jobs[str(tmp_path / "out")].wait(60)
        assert "signal 9" in jobs.progress(Watch(config)).ended
    finally:
        jobs.stop_all()


def test_jobs_end_with_the_app(program, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "PATIENCE_SECONDS", 0.1)
    program(STUBBORN)
    jobs, config = Jobs(), job_config("photos", tmp_path / "out")
    jobs.start(config)
    while not jobs.progress(Watch(config)).line:
        pass
    jobs.stop_all()
    assert jobs._jobs[str(tmp_path / "out")].wait(60)
    assert "signal 9" in jobs.progress(Watch(config)).ended


def test_progress_is_that_of_the_output_whoever_makes_it(tmp_path):
    draw_photographs(tmp_path / "photos", 3)
    config = job_config(tmp_path / "photos", tmp_path / "out")
    jobs = Jobs()
    assert jobs.progress(Watch(config)).share == 0
    run(config)
    progress = jobs.progress(Watch(output_alone(SETTINGS, str(tmp_path / "out"))))
    assert (progress.done, progress.share, progress.is_going_on) == (3, 1.0, False)
    assert "3 of 3 images" in progress.status.to_text()


def test_jobs_that_ended_are_forgotten_one_day(program, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "MOST_ENDED", 1)
    program("")
    jobs = Jobs()
    for number in range(3):
        jobs.start(job_config("photos", tmp_path / str(number)))
        assert list(jobs._jobs.values())[-1].wait(60)
    jobs.start(job_config("photos", tmp_path / "last"))
    assert len(jobs._jobs) <= 3
