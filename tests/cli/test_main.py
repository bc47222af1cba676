"""Arguments in; text and exit codes out."""

import json
import subprocess
import sys

import pytest
import yaml
from support.jobs import make_unreadable_folder

from sam_batch import __version__, configfile


def program(*arguments):
    """Run the program in a process of its own."""
    command = [sys.executable, "-m", "sam_batch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_as_a_program_it_says_what_it_did_and_ends_in_the_jobs_code(job):
    (job.parent / "photos/bad.jpg").write_bytes(b"")
    ended = program("run", job)
    assert ended.returncode == 3
    assert "6 of 6 images done" in ended.stdout


def test_as_a_program_it_answers_a_mistake_with_one_line(job):
    ended = program("run", job, "generator.points_per_sid=3")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: generator.points_per_sid: unknown key")
    assert ended.stderr.count("\n") == 1


def test_run_labels_and_says_what_it_did(job, call):
    code, text, told = call("run", job)
    assert code == 0
    assert "5 of 5 images done" in text
    assert told.splitlines()[-1] == "5 of 5 images to do, in 2 shards"
    assert json.loads((job.parent / "out/summary.json").read_text())["images"]["ok"] == 5


@pytest.mark.parametrize("options", [["run"], ["run", "-v"]])
def test_warnings_reach_the_terminal_once(job, call, options):
    make_unreadable_folder(job.parent / "photos")
    _, _, told = call(*options, job)
    assert told.count("warning: ") == told.count("passed over what could not be read: ") == 1


def test_workers_share_a_job_in_plain_loops_and_it_can_be_closed_by_hand(job, call):
    job.write_text(job.read_text().replace("executor: inline", "executor: ray"))
    code, text, told = call("run", job, "--worker", "1/2")
    assert (code, "in this process" in told, "worker 1/2; of the others'" in text) == (0, True, True)
    code, _, told = call("finish", job.parent / "out")
    assert (code, "still to do: start their workers again" in told) == (2, True)
    assert call("run", job, "--worker", "2/2", "output.exports=[]")[0] == 0
    assert not (job.parent / "out/coco").exists()
    assert call("finish", job.parent / "out", "output.exports=[coco]")[0] == 0
    assert (job.parent / "out/coco/annotations.json").is_file()


def test_a_worker_overwrites_nothing(job, call):
    code, _, told = call("run", job, "--worker", "1/2", "--overwrite", job.parent / "out")
    assert (code, "--overwrite: is for one driver alone" in told) == (2, True)


def test_limit_and_overrides_reach_the_job(job, call):
    assert call("run", job, "--limit", 2, "output.coco.enabled=false")[0] == 0
    assert json.loads((job.parent / "out/summary.json").read_text())["images"]["planned"] == 2
    assert not (job.parent / "out/coco").exists()


def test_too_many_failures_end_in_3(job, call):
    (job.parent / "photos/bad.jpg").write_bytes(b"")
    code, text, _ = call("run", job)
    assert code == 3
    assert "failed, empty_file: 1" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generator.points_per_sid=3"], "generator.points_per_sid: unknown key; did you mean"),
        (["generator.pred_iou_thresh=2"], "generator.pred_iou_thresh = 2: should be less than or equal to 1"),
        (["input.uri=/no/such/folder"], "input.uri"),
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--overwrite", "elsewhere"], "name the output itself"),
        (["model.name=vit_b", "model.checkpoint=/no/such.pth", "engine.kind=torch"], "/no/such.pth"),
    ],
)
def test_mistakes_end_in_2_with_one_clear_message(job, call, arguments, message):
    code, _, told = call("run", job, *arguments)
    assert code == 2
    assert message in told
    assert "Traceback" not in told
    assert not (job.parent / "out/annotations").exists()


def test_overwrite_can_be_looked_at_first(job, call):
    out = job.parent / "out"
    call("run", job)
    (out / "mine.txt").write_text("mine")
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    code, text, _ = call("run", job, "--overwrite", out, "--dry-run", "generator.points_per_side=2")
    assert (code, set(text.splitlines())) == (0, files - {"mine.txt"})
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "what a run would do, `sam-batch plan` says"), (["--overwrite", "{out}"], "holds no plan of a job")],
)
def test_a_dry_run_is_of_overwrite_alone(job, call, arguments, message):
    code, _, stderr = call("run", job, "--dry-run", *(one.format(out=job.parent / "out") for one in arguments))
    assert (code, message in stderr) == (2, True)


def test_an_unknown_option_ends_in_2(call):
    assert call("run", "--no-such-option")[0] == 2


def test_plan_says_what_a_run_would_do_and_does_nothing(job, call):
    code, text, _ = call("plan", job, "--rate", "0.5")
    assert code == 0
    assert "5 images" in text
    assert "2 shards, 0 done and skipped, 2 to do" in text
    assert "0.00 hours at 0.5 images/s" in text
    assert not (job.parent / "out").exists()


def test_plan_says_hours_price_and_files_by_a_few_images(job, call):
    code, text, _ = call("plan", job, "--measure", "1", "--price", "3")
    assert (code, "hours with 1 engine as here, price 0.0" in text, "color_masks 5 (" in text) == (0, True, True)
    assert json.loads(call("plan", job, "--measure", "1", "--json")[1])["estimate"]["measured"] == 1
    assert not (job.parent / "out").exists()
    assert "price 6.00" in call("plan", job, "--rate", 5 / 7200, "--price", "3")[1]
    code, _, told = call("plan", job, "--price", "3")
    assert (code, "--price: hours cost it" in told) == (2, True)


def test_plan_and_status_know_what_is_done(job, call):
    assert "no job has been planned here" in call("status", job)[1]
    call("run", job, "--limit", 3)
    assert "3 planned by earlier runs, 2 new" in call("plan", job)[1]
    text = call("status", job)[1]
    assert "3 of 3 images, 1 of 1 shard done" in text
    assert "not running" in text


def test_config_show_prints_every_key(job, call):
    shown = yaml.safe_load(call("config", "show", job, "generator.points_per_side=7")[1])
    assert shown["generator"]["points_per_side"] == 7
    assert shown["generator"]["box_nms_thresh"] == 0.7


def test_an_override_may_be_longer_than_any_name_of_a_file(job, call):
    points = [[number / 100, 0.5] for number in range(40)]
    shown = call("config", "show", job, f"generator.point_grids=[{points}]", "generator.points_per_side=null")[1]
    assert yaml.safe_load(shown)["generator"]["point_grids"] == [points]


def test_config_schema_and_init_print_what_the_package_knows(call):
    assert call("config", "schema")[1] == configfile.json_schema()
    assert call("config", "init")[1] == configfile.template()


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version(asked, call):
    assert call(asked)[:2] == (0, f"{__version__}\n")


@pytest.mark.parametrize("forgotten", ["{job}", "input.uri=photos", "./photos"])
def test_a_forgotten_verb_is_answered_with_the_command(job, call, forgotten):
    argument = forgotten.format(job=job)
    code, _, told = call(argument, "--limit", "3")
    assert code == 2
    assert f"sam-batch run {argument} --limit 3" in told


def test_json_says_what_the_text_says(job, call):
    assert json.loads(call("plan", job, "--json")[1])["images_to_do"] == 5
    assert json.loads(call("run", job, "--json")[1])["images"]["ok"] == 5
    assert json.loads(call("status", job.parent / "out", "--json")[1])["counts"]["ok"] == 5
