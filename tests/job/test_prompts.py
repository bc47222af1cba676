"""Prompts through a whole job: every prompt ends, ids and categories stay, and the source is needed once."""

import json
import random
import shutil

import pandas as pd
import pytest
from PIL import Image
from support import drivers
from support.jobs import draw_photographs, job_config, result_files, rows, run
from support.prompts import CATEGORIES, annotation, dataset, write

from sam_batch.errors import ConfigError, ExitCode, FingerprintError, OutputError

QUICK = {"color_masks": {"enabled": False}, "segments": {"enabled": False}, "report": False}


@pytest.fixture
def photos(tmp_path):
    draw_photographs(tmp_path / "photos", 3)
    return tmp_path / "photos"


@pytest.fixture
def job(tmp_path, photos):
    def make(prompts, name="out", **sections):
        output = {"output": QUICK, "run": {"max_failure_rate": 1.0}} | sections
        return job_config(photos, tmp_path / name, prompts=prompts, **output)

    return make


def coco(output):
    return json.loads((output / "coco/annotations.json").read_text())


def ended(output):
    """Of every prompt: its id, how it ended, why."""
    prompts = [prompt for row in rows(output) for prompt in row["prompts"] or ()]
    return [(one["prompt_id"], one["status"], one["failure"] and one["failure"]["kind"]) for one in prompts]


def test_boxes_become_masks_under_their_ids_and_categories(tmp_path, job):
    given = dataset()
    given["annotations"][0] |= {"category_id": 0, "score": 0.5, "attributes": {"occluded": True}}
    summary = run(job(write(tmp_path / "boxes.json", given)))
    assert summary.exit_code == ExitCode.OK
    assert json.loads((tmp_path / "out/summary.json").read_text())["prompts"] == {
        "planned": 6, "ok": 6, "empty": 0, "failed": 0, "failures": {},
    }  # fmt: skip
    made = coco(tmp_path / "out")
    assert made["categories"] == CATEGORIES
    assert {one["id"]: (one["image_id"], one["category_id"]) for one in made["annotations"]} == {
        one["id"]: (one["image_id"], one["category_id"]) for one in given["annotations"]
    }
    assert [one["id"] for one in made["images"]] == [100, 101, 102]
    first, second = made["annotations"][:2]
    assert (first["score"], first["attributes"]["occluded"], first["prompt_box"]) == (0.5, True, [5, 8, 16, 20])
    assert second["area"] > 100
    prompt = rows(tmp_path / "out")[0]["prompts"][0]
    assert (prompt["category"], prompt["category_id"], prompt["box"]) == ("cat", 0, [5.0, 8.0, 21.0, 28.0])


BAD = {
    "1": ({"bbox": [70, 8, 16, 20]}, "outside"),
    "2": ({"bbox": [5, 8, 0, 20]}, "empty_box"),
    "11": ({"bbox": [25, 8, -16, 20]}, "reversed_box"),
    "12": ({"category_id": 99}, "unknown_category"),
    "21": ({"iscrowd": 1}, "crowd"),
}


def test_a_bad_prompt_keeps_its_reason_and_harms_no_neighbour(tmp_path, job):
    given = dataset()
    for number, (changes, _) in BAD.items():
        next(one for one in given["annotations"] if str(one["id"]) == number).update(changes)
    summary = run(job(write(tmp_path / "boxes.json", given)))
    assert (summary.exit_code, summary.prompts) == (ExitCode.OK, {"ok": 1, "failed": 5})
    kinds = {number: ("failed", kind) for number, (_, kind) in BAD.items()} | {"22": ("ok", None)}
    assert {number: (status, kind) for number, status, kind in ended(tmp_path / "out")} == kinds
    assert "5 failed" in summary.to_text()


def test_too_many_failed_prompts_end_in_their_exit_code(tmp_path, job):
    given = dataset()
    given["annotations"][0]["bbox"] = [70, 8, 16, 20]
    config = job(write(tmp_path / "boxes.json", given), run={"max_failure_rate": 0.1})
    assert run(config).exit_code == ExitCode.TOO_MANY_FAILURES


def test_the_prompts_of_a_failed_image_fail_with_it_and_may_be_tried_again(tmp_path, photos, job):
    config = job(write(tmp_path / "boxes.json", dataset()))
    whole = (photos / "001.jpg").read_bytes()
    (photos / "001.jpg").write_bytes(whole[: len(whole) // 2])
    summary = run(config)
    assert summary.prompt_failures == {"image_failed": 2}
    assert summary.prompts.total() == summary.planned_prompts == 6
    (photos / "001.jpg").write_bytes(whole)
    assert run(job(write(tmp_path / "boxes.json", dataset()))).prompts == {"ok": 6}


@pytest.mark.parametrize(
    ("without", "statuses", "carried"),
    [("grid", ["ok", "ok", "ok"], [2, 0, 0]), ("skip", ["ok"], [2]), ("fail", ["ok", "failed", "failed"], [2, 0, 0])],
)
def test_images_without_prompts_end_as_configured(tmp_path, job, without, statuses, carried):
    given = dataset()
    given["annotations"] = given["annotations"][:2]
    summary = run(job(write(tmp_path / "boxes.json", given) | {"without": without}))
    found = rows(tmp_path / "out")
    assert [row["status"] for row in found] == statuses
    assert [len(row["prompts"] or ()) for row in found] == carried
    assert set(summary.failures) == ({"no_prompts"} if without == "fail" else set())
    ids = [one["id"] for one in coco(tmp_path / "out")["annotations"]]
    assert len(ids) == len(set(ids))
    assert ids[:2] == [1, 2]


def test_a_mask_of_the_grid_has_a_category_of_its_own_beside_those_of_the_source(tmp_path, job):
    given = dataset()
    given["annotations"] = given["annotations"][:2]
    run(job(write(tmp_path / "boxes.json", given)))
    made = coco(tmp_path / "out")
    assert [one["name"] for one in made["categories"]] == ["cat", "cup", "object"]
    assert {one["category_id"] for one in made["annotations"]} == {7, made["categories"][-1]["id"]}


def test_a_resumed_run_needs_no_source(tmp_path, photos, job):
    config = job(write(tmp_path / "boxes.json", dataset()))
    run(config)
    before = result_files(tmp_path / "out")
    (tmp_path / "out/annotations/part-00000.parquet").unlink()
    (tmp_path / "boxes.json").unlink()
    draw_photographs(photos, 1, first=3)
    summary = run(config)
    assert (summary.exit_code, summary.planned) == (ExitCode.OK, 3)
    assert any("1 others wait" in note for note in summary.notes)
    assert result_files(tmp_path / "out") == before


def test_other_prompts_for_a_planned_image_label_it_again_or_are_refused(tmp_path, job):
    given = dataset()
    prompts = write(tmp_path / "boxes.json", given)
    run(job(prompts))
    given["annotations"][3]["bbox"] = [1, 2, 9, 9]
    write(tmp_path / "boxes.json", given)
    with pytest.raises(OutputError, match=r"input\.changed"):
        run(job(prompts, input={"changed": "refuse"}))
    summary = run(job(prompts))
    assert (summary.worked, summary.planned, summary.prompts) == (1, 3, {"ok": 6})
    assert [one["id"] for one in coco(tmp_path / "out")["annotations"]] == [1, 2, 21, 22, 11, 12]
    again = run(job(prompts))
    assert (again.exit_code, again.worked, again.prompts) == (ExitCode.OK, 0, {"ok": 6})


def test_new_images_join_with_their_prompts(tmp_path, photos, job):
    run(job(write(tmp_path / "boxes.json", dataset())))
    draw_photographs(photos, 1, first=3)
    summary = run(job(write(tmp_path / "boxes.json", dataset(4))))
    assert (summary.worked, summary.prompts) == (1, {"ok": 8})


@pytest.mark.parametrize("changes", [{"refine": 1}, {"choose": "all"}, {"frame": "stored"}], ids=str)
def test_settings_that_shape_masks_keep_outputs_apart(tmp_path, job, changes):
    prompts = write(tmp_path / "boxes.json", dataset())
    run(job(prompts))
    (key,) = changes
    with pytest.raises(FingerprintError, match=rf"prompts\.{key}"):
        run(job(prompts | changes))


def test_an_output_made_with_prompts_is_not_gone_on_with_without_them(tmp_path, photos, job):
    run(job(write(tmp_path / "boxes.json", dataset())))
    with pytest.raises(FingerprintError, match=r'prompts\.uri: there "given", now unset'):
        run(job({}))


def test_three_masks_a_prompt_have_numbers_of_their_own(tmp_path, job):
    run(job(write(tmp_path / "boxes.json", dataset()) | {"choose": "all", "refine": 1}))
    made = coco(tmp_path / "out")["annotations"]
    assert [one["id"] for one in made] == [image * 1_000_000 + mask for image in range(3) for mask in range(1, 7)]
    assert [one["prompt_id"] for one in made[:6]] == ["1"] * 3 + ["2"] * 3


def test_a_source_that_is_missing_before_there_is_a_plan_is_refused(tmp_path, job):
    with pytest.raises(ConfigError, match=r"prompts\.uri: .*none\.json"):
        run(job({"uri": str(tmp_path / "none.json")}))
    assert not (tmp_path / "out").exists()


def test_boxes_of_stored_pixels_find_the_same_object_in_a_turned_image(tmp_path, photos, job):
    """An image turned by EXIF, annotated as it is stored and as it is shown."""
    with Image.open(photos / "000.jpg") as image:
        exif = image.getexif()
        exif[274] = 6
        image.save(photos / "000.jpg", exif=exif, quality=95)
    given = dataset(1)
    given["annotations"] = [annotation(1, 100, [4, 8, 16, 20])]
    stored = write(tmp_path / "stored.json", given)
    given["images"][0] |= {"width": 48, "height": 64}
    given["annotations"] = [annotation(1, 100, [20, 4, 20, 16])]
    shown = write(tmp_path / "shown.json", given)
    for name, prompts in (("a", stored), ("b", shown)):
        run(job(prompts, name))
    (one, *_), (other, *_) = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert one["masks"] == other["masks"]
    assert one["prompts"] == other["prompts"]


def as_yolo(folder, given):
    (folder / "labels").mkdir(parents=True)
    (folder / "data.yaml").write_text("names: {0: cat, 7: cup}\n")
    for image in given["images"]:
        boxes = [one["bbox"] for one in given["annotations"] if one["image_id"] == image["id"]]
        lines = [f"7 {(x + w / 2) / 64!r} {(y + h / 2) / 48!r} {w / 64!r} {h / 48!r}\n" for x, y, w, h in boxes]
        (folder / f"labels/{image['file_name'][:-4]}.txt").write_text("".join(lines))


def as_table(given):
    names = {image["id"]: image["file_name"] for image in given["images"]}
    return pd.DataFrame(
        [
            {"image": names[one["image_id"]], "category_id": 7, "category": "cup"}
            | dict(zip("xywh", one["bbox"], strict=True))
            for one in given["annotations"]
        ]
    )


def masks(output):
    return [(row["key"], [(mask["counts"], mask["bbox"]) for mask in row["masks"]]) for row in rows(output)]


def test_the_same_boxes_in_every_format_give_the_same_masks(tmp_path, job):
    given = dataset()
    as_yolo(tmp_path / "yolo", given)
    as_table(given).to_csv(tmp_path / "boxes.csv", index=False)
    as_table(given).to_parquet(tmp_path / "boxes.parquet")
    run(job(write(tmp_path / "boxes.json", given), "coco"))
    for name in ("yolo", "boxes.csv", "boxes.parquet"):
        run(job({"uri": str(tmp_path / name)}, f"from {name}"))
        assert masks(tmp_path / f"from {name}") == masks(tmp_path / "coco")


def test_killed_at_ten_moments_and_repeated_it_ends_with_the_same_files(tmp_path):
    draw_photographs(tmp_path / "photos", 24)
    prompts = write(tmp_path / "boxes.json", dataset(24))
    settings = {"prompts": prompts, "output": QUICK, "run": {"shard_size": 2}}
    run(job_config(tmp_path / "photos", tmp_path / "clean", **settings))
    config = job_config(tmp_path / "photos", tmp_path / "killed", **settings)
    moments, kills = random.Random(0), 0
    while kills < 10:
        if drivers.kill_at_random(drivers.start(config), tmp_path / "killed", moments, most=8):
            kills += 1
        else:  # on a fast machine: there is nothing left to be killed at
            assert result_files(tmp_path / "killed") == result_files(tmp_path / "clean")
            shutil.rmtree(tmp_path / "killed")
    assert run(config).exit_code == ExitCode.OK
    assert result_files(tmp_path / "killed") == result_files(tmp_path / "clean")
