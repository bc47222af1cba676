"""The report in a real browser: opened from a disk, as people do."""

import pytest
from support.jobs import draw_photographs, job_config, run

from sam_batch.config import StorageConfig
from sam_batch.report.make import make_report

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=document.title='taken'>.jpg"


@pytest.fixture
def report(tmp_path, page):
    photos = tmp_path / "photos"
    draw_photographs(photos, 3, size=(200, 120))
    (photos / "000.jpg").rename(photos / HOSTILE)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    run(job_config(photos, tmp_path / "out", run={"max_failure_rate": 1.0}))
    page.goto("file://" + make_report(str(tmp_path / "out"), StorageConfig()))
    return page


def test_pictures_load_and_names_stay_text(report):
    assert report.locator("figure").count() == 3
    assert report.evaluate("document.querySelectorAll('img').length") == 0
    assert HOSTILE in report.inner_text("#gallery")
    loaded = "async a => { const i = new Image(); i.src = a; await i.decode(); return [i.width, i.height] }"
    assert report.evaluate(loaded, report.locator("svg.image image").first.get_attribute("href")) == [200, 120]


def test_pointing_at_a_mask_tells_its_numbers(report):
    report.locator("figure").first.click()
    path = report.locator("#picture path").last
    path.hover(force=True)
    said = report.inner_text("#about")
    assert said == path.locator("title").text_content()
    assert said.startswith(f"mask {path.get_attribute('data-mask')}: predicted IoU")


def test_keys_change_what_is_drawn_and_which_images(report):
    for key, name in (("3", "outlines"), ("1", "photo"), ("2", "colors")):
        report.keyboard.press(key)
        assert report.get_attribute("#gallery", "class") == f"gallery {name}"
    report.locator("figure").first.click()
    first = report.inner_text("#about")
    report.keyboard.press("ArrowRight")
    assert report.inner_text("#about") != first
    report.keyboard.press("Escape")
    assert not report.evaluate("document.getElementById('large').open")


def test_groups_filter_and_failures_say_why(report):
    report.get_by_role("button", name="Failed (1)").click()
    assert "truncated" in report.inner_text("#gallery")
    assert report.get_by_role("button", name="Failed (1)").get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone_in_light_and_dark(report, scheme):
    report.emulate_media(color_scheme=scheme)
    report.set_viewport_size({"width": 360, "height": 700})
    assert report.evaluate("document.documentElement.scrollWidth") <= 360
    expected = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    assert report.evaluate("getComputedStyle(document.body).backgroundColor") == expected
