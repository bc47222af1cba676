import pytest
from support.blobs import BlobEngine
from support.jobs import draw_photographs, job_config, rows, run
from support.toy_algorithm import halves

from sam_batch.errors import ConfigError, ExitCode
from sam_batch.segment.algorithm import ALGORITHMS, Entry, most_views, open_algorithm, views_of
from sam_batch.segment.everything import Everything


def config(**generator):
    return job_config("in", "out", generator={"points_per_side": 8, **generator})


def test_an_algorithm_is_one_file_and_one_line_here(tmp_path, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "halves", Entry(halves, "support.toy_algorithm:Halves"))
    draw_photographs(tmp_path / "photos", 2)
    report = run(job_config(tmp_path / "photos", tmp_path / "out", generator={"mode": "halves"}))
    assert report.exit_code == ExitCode.OK
    crops = {tuple(mask["crop_box"]) for row in rows(tmp_path / "out") for mask in row["masks"]}
    assert crops == {(0.0, 0.0, 32.0, 48.0), (32.0, 0.0, 32.0, 48.0)}


def test_an_unknown_one_is_refused_by_its_key_when_the_configuration_is_read():
    with pytest.raises(ConfigError, match=r"generator\.mode = 'evrything': should be 'everything'"):
        config(mode="evrything")


def test_everything_mode_looks_at_the_image_and_its_crops():
    crops = config(crop_n_layers=1)
    assert [layer for _, layer in views_of(crops)((60, 100), crops)] == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(("layers", "views"), [(0, 1), (1, 5), (2, 21)])
def test_the_most_views_are_those_of_a_large_image(layers, views):
    crops = config(crop_n_layers=layers)
    assert most_views(crops) == len(views_of(crops)((600, 800), crops)) == views


def test_the_configured_algorithm_is_opened():
    assert isinstance(open_algorithm(BlobEngine(), config()), Everything)
