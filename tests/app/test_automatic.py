"""Automatic: settings that only filter need no network, others say so, and a saved job finds what is on the screen."""

import pytest
import yaml
from support.jobs import rows, run
from support.pictures import picture

from sam_batch import configfile
from sam_batch.app import automatic as module
from sam_batch.app.automatic import MIN_AREA, Automatic
from sam_batch.app.photograph import Photograph
from sam_batch.errors import ConfigError, InputError
from sam_batch.library.segmenter import Segmenter

PHOTO = Photograph("a.jpg", "a.jpg", "a", picture(60, 80))


@pytest.fixture
def visitor(fake):
    state = Automatic(fake)
    state.begin(PHOTO)
    return state


@pytest.fixture
def searches(monkeypatch):
    """How often the network was asked for everything."""
    asked, explore = [], Segmenter.explore

    def count(self, image, **given):
        asked.append(given["points_per_side"])
        return explore(self, image, **given)

    monkeypatch.setattr(Segmenter, "explore", count)
    return asked


def test_filters_are_applied_without_the_network(visitor, fake, searches):
    visitor.search()
    loose = len(visitor.masks)
    for key, text in (("pred_iou_thresh", "0.9"), ("min_mask_area", "2%"), ("max_masks_per_image", "2")):
        visitor.set(f"generator.{key}", text)
    assert 0 < len(visitor.masks) <= 2 < loose
    assert searches == [3]
    expected = Segmenter.from_config(fake.config).everything(PHOTO.rgb_HW3, **visitor.config.generator.model_dump())
    assert visitor.masks.annotations == expected.annotations


def test_other_settings_need_a_search_until_they_are_set_back(visitor, searches):
    visitor.search()
    visitor.set("generator.points_per_side", "2")
    assert (visitor.masks, visitor.told()) == (None, "these settings need a search")
    visitor.set("generator.points_per_side", "3")
    visitor.set("generator.points_per_batch", "7")
    assert visitor.masks is not None
    assert searches == [3]


def test_what_cannot_be_set_is_said_as_on_the_command_line_and_changes_nothing(visitor):
    before = visitor.config
    with pytest.raises(ConfigError, match=r"^generator.pred_iou_thresh = 2: should be less than or equal to 1$"):
        visitor.set("generator.pred_iou_thresh", "2")
    assert visitor.config is before
    assert visitor.value("generator.pred_iou_thresh") == "2"
    visitor.set("generator.pred_iou_thresh", "0.5")
    assert visitor.config.generator.pred_iou_thresh == 0.5


def test_settings_that_go_together_may_come_one_after_the_other(visitor):
    with pytest.raises(ConfigError, match="both given"):
        visitor.set("generator.point_grids", "[[[0.5, 0.5]]]")
    visitor.set("generator.points_per_side", "null")
    assert visitor.config.generator.point_grids == ([(0.5, 0.5)],)


def test_the_configurations_defaults_come_back(visitor):
    visitor.set("generator.pred_iou_thresh", "0.1")
    visitor.set_defaults()
    assert (visitor.value("generator.pred_iou_thresh"), visitor.config.generator.points_per_side) == ("0.88", 32)


def test_visitors_do_not_meet(fake):
    one, other = Automatic(fake), Automatic(fake)
    one.begin(PHOTO)
    one.set("generator.pred_iou_thresh", "0.3")
    other.begin(Photograph("b.jpg", "b.jpg", "b", picture(40, 50, 1)))
    one.search()
    other.search()
    assert other.config == fake.config
    assert (one.masks.height, other.masks.height) == (60, 40)
    assert (one.photograph.name, other.photograph.name) == ("a.jpg", "b.jpg")


def test_progress_is_told_and_a_search_can_be_stopped(visitor, monkeypatch):
    shares = []

    def listen(share):
        tell(share)
        shares.append(visitor.progress)
        if share:
            visitor.stop()

    tell = visitor._tell
    monkeypatch.setattr(visitor, "_tell", listen)
    visitor.set("generator.points_per_batch", "2")
    visitor.search()
    assert shares == [0, pytest.approx(2 / 9)]
    assert (visitor.progress, visitor.masks) == (None, None)


def test_a_second_search_is_refused_while_one_goes_on(visitor, monkeypatch):
    def again(share):
        with pytest.raises(InputError, match="a search goes on already"):
            visitor.search()

    monkeypatch.setattr(visitor, "_tell", again)
    visitor.search()
    assert visitor.masks is not None


def test_masks_of_a_photograph_that_is_gone_meanwhile_are_dropped(visitor, monkeypatch):
    monkeypatch.setattr(visitor, "_tell", lambda share: visitor.begin(Photograph("b", "b", "b", picture(40, 50))))
    visitor.search()
    assert visitor.masks is None


def test_segments_come_page_by_page_above_a_least_area(visitor, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 2)
    visitor.search()
    areas = sorted((one.area for one in visitor.masks.annotations), reverse=True)
    pages = [visitor.segments(page) for page in range(-(-len(areas) // 2))]
    assert [one.annotation.area for page in pages for one in page] == areas
    visitor.set(MIN_AREA, str(areas[0]))
    assert visitor.segment_count == areas.count(areas[0]) < len(areas)
    assert visitor.segments()[0].png.startswith(b"\x89PNG")


def test_there_is_nothing_to_save_before_a_search(fake):
    visitor = Automatic(fake)
    assert visitor.told() == "no photograph yet"
    for act in (visitor.search, visitor.picture, visitor.to_yaml, visitor.color_mask):
        with pytest.raises(InputError, match=r"open a photograph first|search first"):
            act()


def test_an_uploads_job_says_that_its_folder_is_wanted(visitor):
    visitor.search()
    text = visitor.to_yaml()
    assert "wants the folder" in text
    assert yaml.safe_load(text)["input"]["uri"] == "a.jpg"


def test_a_saved_job_finds_the_masks_on_the_screen(demo, coffee, tmp_path):
    """Also in another precision, by whatever the machine that it runs on would choose."""
    visitor = Automatic(demo)
    visitor.begin(coffee)
    visitor.search()
    visitor.set("generator.pred_iou_thresh", "0.5")
    visitor.set("generator.min_mask_area", "1%")
    visitor.set(MIN_AREA, "9000")
    (tmp_path / "job.yaml").write_text(visitor.to_yaml(), encoding="utf-8")
    out = tmp_path / "out"
    run(configfile.load([tmp_path / "job.yaml"], [f"output.uri={out}", "run.executor=inline"]))
    (row,) = rows(out)
    assert [mask["counts"] for mask in row["masks"]] == visitor.masks.counts
    assert len(visitor.masks) > 3
    assert len(list((out / "segments" / "coffee.jpg").iterdir())) == visitor.segment_count
    assert (out / "color_masks" / "coffee.jpg.png").read_bytes() == visitor.color_mask()
