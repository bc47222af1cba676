"""The app in a real browser, with the demo model: each tab does its job, and visitors do not meet."""

import io
import json
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
import yaml
from PIL import Image
from support.jobs import draw_photographs

pytestmark = pytest.mark.browser
EXAMPLES = Path(__file__).parents[2] / "examples"
COFFEE = EXAMPLES / "coffee.jpg"
SIZE = (600, 400)  # of it, in pixels
CUP = (300, 200)
HOSTILE = "<img src=x onerror=document.title='taken'>.jpg"
PATIENCE = 120_000  # milliseconds


def tab(page, name):
    """The panel of a tab, shown."""
    page.get_by_role("tab", name=name).click()
    panel = page.locator(".q-tab-panel").filter(visible=True)
    panel.get_by_role("button").first.wait_for()
    return panel


def name_photograph(panel, path=COFFEE):
    panel.get_by_label("or its path").fill(str(path))
    panel.get_by_role("button", name="Open").click()
    panel.locator("img[src^='data:']").first.wait_for()
    return panel.locator("img[src^='data:']").first


def upload(panel, name, data):
    panel.locator("input[type=file]").set_input_files({"name": name, "mimeType": "image/jpeg", "buffer": data})


def find_everything(panel):
    panel.get_by_role("button", name="Find everything").click()
    panel.get_by_text("masks", exact=False).first.wait_for(timeout=PATIENCE)
    return int(panel.locator("text=/^[0-9]+ masks$/").inner_text().split()[0])


def downloaded(page, button):
    with page.expect_download() as download:
        button.click()
    return Path(download.value.path()).read_bytes()


def on(image, x, y):
    """Where a pixel of the photograph is on the screen."""
    box = image.bounding_box()
    return box["x"] + (x + 0.5) * box["width"] / SIZE[0], box["y"] + (y + 0.5) * box["height"] / SIZE[1]


def scores(panel):
    return panel.get_by_text("score ").all_inner_texts()


def other_scores(page, panel, before):
    """Those of the next answer."""
    for _ in range(600):
        if (now := scores(panel)) not in (before, []):
            return now
        page.wait_for_timeout(200)
    raise AssertionError("no other answer")


def test_automatic_finds_masks_filters_them_and_saves_a_job(visit):
    page = visit()
    panel = tab(page, "Automatic")
    upload(panel, HOSTILE, COFFEE.read_bytes())
    panel.locator("img[src^='data:image/jpeg']").wait_for()
    before = find_everything(panel)
    assert before > 3
    segments = panel.locator("img[src^='data:image/png']")
    assert segments.count() == before

    slider = panel.get_by_role("slider", name="pred_iou_thresh").locator("[tabindex='0']")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowRight")
    kept = panel.locator("text=/^[0-9]+ masks?$/")
    kept.filter(has_not_text=f"{before} masks").wait_for()
    assert int(kept.inner_text().split()[0]) < before

    job = yaml.safe_load(downloaded(page, panel.get_by_role("button", name="Save as YAML")))
    assert job["generator"]["pred_iou_thresh"] == pytest.approx(0.45)
    assert job["input"]["uri"] == HOSTILE
    assert page.title() == "sam-batch"


def test_automatic_asks_the_network_only_where_it_must(visit):
    panel = tab(visit(), "Automatic")
    name_photograph(panel)
    find_everything(panel)
    panel.get_by_text("Need a search").click()
    field = panel.get_by_label("points_per_side")
    field.fill("4")
    field.press("Enter")
    field.blur()
    panel.get_by_text("these settings need a search").wait_for()
    assert find_everything(panel) > 0


def test_guided_a_click_on_an_object_gives_a_mask_that_contains_it(visit):
    page = visit()
    panel = tab(page, "Guided")
    image = name_photograph(panel)
    page.mouse.click(*on(image, *CUP))
    assert len(other_scores(page, panel, [])) == 3
    alpha = np.asarray(Image.open(io.BytesIO(downloaded(page, panel.get_by_role("button", name="Export PNG")))))[..., 3]
    assert alpha[CUP[1], CUP[0]] == 255
    coco = json.loads(downloaded(page, panel.get_by_role("button", name="Export COCO")))
    assert coco["annotations"][0]["area"] == (alpha > 0).sum()
    assert coco["images"][0]["file_name"] == "coffee.jpg"


def test_guided_takes_boxes_and_paint_refines_and_goes_back(visit):
    page = visit()
    panel = tab(page, "Guided")
    image = name_photograph(panel)
    answers = [[]]
    for mode, shape in (("Box", "rect"), ("Paint foreground", "polyline"), ("Paint a box", "polyline")):
        panel.get_by_role("radio", name=mode, exact=True).click()
        page.mouse.move(*on(image, 120, 80))
        page.mouse.down()
        page.mouse.move(*on(image, 300, 250), steps=4)
        page.mouse.up()
        answers.append(other_scores(page, panel, answers[-1]))
        assert panel.locator(f"svg {shape}").count() > 0
    panel.get_by_role("button", name="Refine").click()
    other_scores(page, panel, answers[-1])
    for expected in reversed(answers[1:]):
        panel.get_by_role("button", name="Undo").click()
        panel.get_by_text(expected[0]).wait_for()
    panel.get_by_role("button", name="Reset").click()
    panel.get_by_text("score ").first.wait_for(state="hidden")
    assert panel.locator("svg polyline").count() == 0


def test_batch_runs_to_its_end_and_is_browsed(visit, tmp_path):
    photos = tmp_path / "photos"
    draw_photographs(photos, 12, size=(60, 40))
    (photos / "000.jpg").rename(photos / HOSTILE)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    page = visit()
    panel = tab(page, "Batch")
    panel.get_by_label("Folder, glob").fill(str(photos))
    panel.get_by_label("Suffixes").fill("jpg")
    panel.get_by_label("Destination").fill(str(tmp_path / "out"))
    panel.get_by_role("button", name="What would be done").click()
    panel.get_by_text("13 images to do").wait_for()
    panel.get_by_role("button", name="Start").click()
    panel.get_by_text("13 of 13 images, ").wait_for(timeout=PATIENCE)
    panel.get_by_text("Page 1 of 2, 13 images").wait_for(timeout=PATIENCE)
    assert panel.get_by_role("progressbar").get_attribute("aria-valuenow") == "1"
    panel.get_by_text(HOSTILE, exact=True).wait_for()
    panel.get_by_role("button", name="Next").click()
    panel.get_by_text("failed, truncated").last.wait_for()
    assert panel.locator("img[src='x']").count() == 0
    assert page.title() == "sam-batch"

    other = tab(visit(), "Batch")
    other.get_by_label("Destination").fill(str(tmp_path / "out"))
    other.get_by_role("button", name="Show results").click()
    other.get_by_text("Page 1 of 2, 13 images").wait_for()


def test_a_job_is_stopped_and_goes_on_where_it_ended(visit, tmp_path):
    (tmp_path / "job.yaml").write_text(
        f"input: {{uri: {EXAMPLES}}}\noutput: {{uri: {tmp_path / 'out'}}}\nmodel: {{name: demo}}\n"
        "generator: {points_per_side: 64}\n"  # that it has not ended before it is stopped
        "run: {executor: inline, shard_size: 1}\n",
        encoding="utf-8",
    )
    panel = tab(visit(), "Batch")
    panel.get_by_role("radio", name="A YAML job").click()
    panel.get_by_label("YAML file").fill(str(tmp_path / "job.yaml"))
    panel.get_by_role("button", name="Start").click()
    panel.get_by_text("4 of 4 images to do").last.wait_for(timeout=PATIENCE)
    panel.get_by_role("button", name="Stop").click()
    panel.get_by_text("stopped; start it again to go on").wait_for(timeout=PATIENCE)


def test_visitors_do_not_meet(visit):
    one, other = tab(visit(), "Guided"), tab(visit(), "Guided")
    name_photograph(one)
    assert other.locator("img[src^='data:']").count() == 0
    name_photograph(other, EXAMPLES / "rocket.jpg")
    pictures = {panel.locator("img[src^='data:']").first.get_attribute("src") for panel in (one, other)}
    assert len(pictures) == 2


def test_what_is_wrong_is_a_sentence_and_a_hostile_name_stays_text(visit):
    page = visit()
    panel = tab(page, "Automatic")
    upload(panel, HOSTILE, b"no picture")
    page.get_by_text(f"{HOSTILE}: not an image").wait_for()
    panel.get_by_label("or its path").fill("/nowhere.jpg")
    panel.get_by_role("button", name="Open").click()
    page.get_by_text("cannot read /nowhere.jpg: No such file or directory").wait_for()
    panel.get_by_label("another model").fill("/nowhere.pth")
    panel.get_by_role("button", name="Load").click()
    page.get_by_text("/nowhere.pth").last.wait_for()
    panel.get_by_role("button", name="Save as YAML").click()
    page.get_by_text("there are no masks of these settings yet").wait_for()
    assert page.title() == "sam-batch"
    assert page.get_by_text("Traceback").count() == 0


def test_a_model_is_loaded_by_its_name_or_its_file(visit):
    from importlib.resources import files

    (weights,) = [one for one in files("sam_batch.model.weights").iterdir() if one.name.endswith(".safetensors")]
    panel = tab(visit(), "Automatic")
    for name in (str(weights), "demo"):
        panel.get_by_label("another model").fill(name)
        panel.get_by_role("button", name="Load").click()
        panel.get_by_role("button", name="Load").and_(panel.locator(":not([disabled])")).wait_for(timeout=PATIENCE)
    panel.get_by_text("model demo, fp32").wait_for()


def test_only_this_machine_and_no_larger_upload_gets_in(app):
    for request, status in (
        (urllib.request.Request(app, headers={"Host": "evil.example"}), 400),
        (urllib.request.Request(app, data=bytes(400_000), method="POST"), 413),
    ):
        with pytest.raises(HTTPError) as error:
            urllib.request.urlopen(request)
        with error.value as answer:
            assert answer.code == status
