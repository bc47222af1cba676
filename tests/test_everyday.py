"""Everyday jobs, as a person types them into a shell: what is done, and what is said about it, on which stream.

They share a folder with four photographs, and the output of the first job. Slow: each command is a process of its own.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from support import drivers
from support.jobs import rows

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """A folder, and a shell in it that knows `sam-batch`."""

    def __init__(self, home):
        self.home = home
        (home / "bin").mkdir()
        program = home / "bin/sam-batch"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sam_batch "$@"\n')
        program.chmod(0o755)
        path = f"{home / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "COLUMNS": "80"}

    def __call__(self, line):
        """Type a line, and wait for its end."""
        ended = subprocess.run(
            ["sh", "-c", line], cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=300
        )
        return Said(ended.returncode, ended.stdout, ended.stderr)

    def begin(self, line):
        return subprocess.Popen(
            shlex.split(f"{self.home}/bin/{line}"),
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=drivers.hear_ctrl_c,
        )


def put_photograph(folder, name, width=320):
    folder.mkdir(exist_ok=True)
    with Image.open(ROOT / "examples" / name) as photograph:
        photograph.convert("RGB").resize((width, width * photograph.height // photograph.width)).save(folder / name)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    for path in sorted((ROOT / "examples").glob("*.jpg")):
        put_photograph(home / "photos", path.name)
    job = (ROOT / "configs/demo.yaml").read_text().replace("examples/", "photos").replace("runs/demo", "out")
    (home / "job.yaml").write_text(job.replace("label_masks: {enabled: true}", "label_masks: {enabled: false}"))
    return Shell(home)


@pytest.fixture(scope="module")
def first(shell):
    """What the first job said."""
    return shell("sam-batch run job.yaml")


@pytest.fixture
def home(shell, first):
    """Where it ran."""
    return shell.home


def test_label_the_photographs_of_a_folder(first, home):
    assert first.code == 0
    assert first.err.splitlines()[:3] == [
        "input: 4 images, 0.1 MB",
        next(line for line in first.err.splitlines() if line.startswith("model demo (")),
        "4 of 4 images to do, in 4 shards",
    ]
    assert first.out.startswith("4 of 4 images done: 4 with ")
    assert first.out.splitlines()[-2:] == [f"report in {home}/out/report.html", f"results in {home}/out"]
    assert len(list((home / "out/color_masks").iterdir())) == 4


def test_type_it_again(shell, home):
    said = shell("sam-batch run job.yaml > log")
    assert (said.code, said.err) == (0, "input: 4 images, 0.1 MB\n")
    assert "this run:" not in (home / "log").read_text()


def test_take_every_object_as_a_picture(home):
    for row in rows(home / "out"):
        assert len(list((home / "out/segments" / row["key"]).glob("*.png"))) == len(row["masks"]) > 0


def test_try_three_thresholds_on_one_photograph(shell, home):
    said = shell("sam-batch show photos/coffee.jpg --grid --to grid.png")
    assert said.code == 0
    assert [line.partition(": ")[2][:15] for line in said.out.splitlines()] == ["generator.pred_"] * 3
    assert (home / "grid.png").is_file()


@pytest.mark.usefixtures("first")
def test_keep_large_objects_alone(shell, home):
    said = shell("sam-batch run job.yaml generator.min_mask_area=5% output.uri=large --limit 2")
    assert (said.code, said.out.splitlines()[0][:17]) == (0, "2 of 2 images don")
    for row in rows(home / "large"):
        assert all(mask["area"] >= 0.05 * row["height"] * row["width"] for mask in row["masks"])


def test_misspell_a_key(shell):
    said = shell("sam-batch run job.yaml generator.min_area=400")
    assert (said.code, said.out) == (2, "")
    assert "generator.min_mask_area" in said.err
    assert len(said.err.splitlines()) == 1


def test_turn_boxes_into_masks(shell, home):
    (home / "boxes.csv").write_text("image,xmin,ymin,xmax,ymax,category\ncoffee.jpg,53,32,224,176,cup\n")
    said = shell("sam-batch run job.yaml prompts.uri=boxes.csv prompts.without=skip output.uri=boxed")
    assert said.code == 0
    assert "prompts: 1 object in 1 image" in said.err
    assert "1 prompt: 1 with a mask, 0 without, 0 failed" in said.out
    (annotation,) = json.loads((home / "boxed/coco/annotations.json").read_text())["annotations"]
    assert annotation["area"] > 1000


def test_turn_clicks_into_masks(shell):
    said = shell(
        """printf 'image,points\\nrocket.jpg,"[[160, 80]]"\\n' > clicks.csv
        sam-batch run job.yaml prompts.uri=clicks.csv prompts.without=skip output.uri=clicked"""
    )
    assert (said.code, "1 prompt: 1 with a mask" in said.out) == (0, True)


def test_stop_it_and_go_on(shell, home):
    begun = shell.begin("sam-batch run job.yaml output.uri=stopped generator.points_per_side=32")
    while begun.poll() is None and not list((home / "stopped/annotations").glob("*.parquet")):
        time.sleep(0.05)
    begun.send_signal(signal.SIGINT)
    out, _ = begun.communicate(timeout=120)
    assert begun.returncode == 130
    assert "interrupted; the same command goes on where this one stopped" in out
    kept = len(list((home / "stopped/annotations").glob("*.parquet")))
    said = shell("sam-batch run job.yaml output.uri=stopped generator.points_per_side=32")
    assert (said.code, f"{4 - kept} of 4 images to do" in said.err) == (0, True)


def test_ask_how_far_it_is(shell, home):
    said = shell("sam-batch status out")
    assert said.out.startswith(f"{home}/out: 4 of 4 images, 4 of 4 shards done\n4 with ")
    assert said.out.endswith("\nnot running\n")
    assert json.loads(shell("sam-batch status out --json").out)["counts"]["ok"] == 4


def test_find_what_failed_mend_it_and_try_again(shell, home):
    put_photograph(home / "mixed", "coffee.jpg")
    data = (home / "mixed/coffee.jpg").read_bytes()
    (home / "mixed/half.jpg").write_bytes(data[: len(data) // 2])
    run = "sam-batch run job.yaml input.uri=mixed output.uri=mixed_out"
    said = shell(run)
    assert said.code == 3
    assert "failed, truncated: 1\n    half.jpg: " in said.out
    assert '"half.jpg"' in shell("sam-batch status mixed_out --failed").out.splitlines()[1]
    (home / "mixed/half.jpg").write_bytes(data)
    assert "2 of 2 images done: 2 with" in shell(f"{run} --retry-failed").out


def test_photographs_come_later_in_the_same_and_in_another_folder(shell, home):
    put_photograph(home / "album", "coffee.jpg")
    assert shell("sam-batch run job.yaml output.uri=album_out input.uri=album").code == 0
    put_photograph(home / "album", "rocket.jpg")
    put_photograph(home / "week2", "chelsea.jpg")
    both = "job.yaml output.uri=album_out 'input.uri=[album,week2]'"
    assert "1 planned by earlier runs, 2 new" in shell(f"sam-batch plan {both}").out
    assert "this run: 2 images" in shell(f"sam-batch run {both}").out


def test_the_folder_moves(shell, home):
    put_photograph(home / "disk", "coffee.jpg")
    assert shell("sam-batch run job.yaml input.uri=disk output.uri=disk_out").code == 0
    (home / "disk").rename(home / "cloud")
    said = shell("sam-batch run job.yaml input.uri=cloud output.uri=disk_out")
    assert (said.code, "this run" in said.out) == (0, False)
    assert f"input.uri: was {home}/disk and is now {home}/cloud; the images are the same" in said.err


def test_want_other_pictures_afterwards(shell, home):
    said = shell("sam-batch run job.yaml output.label_masks.enabled=true")
    assert (said.code, "label_masks of 4 images to draw, from their rows" in said.err) == (0, True)
    with Image.open(home / "out/label_masks/coffee.jpg.png") as picture:
        assert np.asarray(picture).max() > 1


@pytest.mark.usefixtures("first")
def test_want_other_masks_in_the_same_output(shell):
    said = shell("sam-batch run job.yaml output.label_masks.enabled=true generator.points_per_side=8")
    assert (said.code, said.out) == (2, "")
    assert "generator.points_per_side: there 16, now 8" in said.err
    said = shell("sam-batch run job.yaml --overwrite out --dry-run generator.points_per_side=8")
    assert "annotations/part-00000.parquet" in said.out.splitlines()


def test_keep_the_better_masks(shell, home):
    said = shell("sam-batch filter out better --pred-iou-thresh 0.7")
    assert said.code == 0
    scores = [mask["predicted_iou"] for row in rows(home / "better") for mask in row["masks"]]
    assert min(scores, default=1) >= 0.7
    assert len(scores) < sum(len(row["masks"]) for row in rows(home / "out"))


@pytest.mark.usefixtures("first")
def test_hand_them_to_other_programs(shell, home):
    said = shell("sam-batch export out --to yolo --to label-studio")
    assert said.code == 0
    for path in said.out.splitlines():
        assert Path(path).is_file()
    assert (home / "out/yolo/data.yaml").is_file()


@pytest.mark.usefixtures("first")
def test_look_at_all_on_one_page(shell, home):
    assert shell("sam-batch report out").out == f"report in {home}/out/report.html\n"
    assert b"coffee.jpg" in (home / "out/report.html").read_bytes()


def test_ask_what_it_will_cost(shell):
    said = shell("sam-batch plan job.yaml output.uri=unborn --measure 2 --price 2.5")
    assert said.code == 0
    assert "4 images to do" in said.out
    assert "hours with 1 engine as here, price " in said.out
    assert "files, " in said.out.splitlines()[-1]
    assert not (shell.home / "unborn").exists()


def test_use_a_checkpoint_of_ones_own(shell):
    weights = ROOT / "sam_batch/model/weights/demo.safetensors"
    said = shell(
        f"sam-batch run job.yaml model.name=auto model.checkpoint={shlex.quote(str(weights))} output.uri=own --limit 1"
    )
    assert (said.code, said.out.startswith("1 of 1 image done: 1 with")) == (0, True)


def test_work_in_python(shell):
    said = shell(
        """python -c '
from sam_batch import Segmenter
masks = Segmenter("demo").everything("photos/coffee.jpg", pred_iou_thresh=0.3, stability_score_thresh=0.7)
print(len(masks), masks.arrays.dtype, masks.arrays.shape[1:])'"""
    )
    assert (said.code, said.out.split()[1]) == (0, "bool")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sam-batch run photos", "sam-batch run input.uri=photos output.uri=OUT"),
        ("sam-batch job.yaml", "sam-batch run job.yaml"),
        ("sam-batch run out", "sam-batch run out/config.yaml"),
        ("sam-batch show photos", "sam-batch run input.uri=photos output.uri=OUT"),
    ],
)
@pytest.mark.usefixtures("first")
def test_type_something_near_it(shell, typed, meant):
    said = shell(typed)
    assert (said.code, said.out) == (2, "")
    assert meant in said.err


def test_look_for_help(shell):
    assert shell("sam-batch --version").out == shell("sam-batch version").out
    assert "sam-batch show photo.jpg --open" in shell("sam-batch --help").out
    narrow = shell("TERM=dumb COLUMNS=60 sam-batch plan job.yaml output.uri=unborn").out
    assert max(map(len, narrow.splitlines())) <= 60
    assert shell("sam-batch config init | head -1").code == 0
