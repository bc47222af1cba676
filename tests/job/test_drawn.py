import io
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from support.jobs import draw_photographs, job_config, run

from sam_batch.errors import ConfigError, JobError, OutputError
from sam_batch.job import drawn, pictures
from sam_batch.job.drawn import draw_output
from sam_batch.job.filtered import filter_output
from sam_batch.output.output import Output
from sam_batch.segment.thinning import Thinning

OUTLINED = {"color_masks": {"outlines": True, "format": "jpeg"}, "label_masks": {"enabled": True}}
OFF = {"color_masks": {"enabled": False}, "segments": {"enabled": False}}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A finished output with one failed image, and a run that had other pictures."""
    root = tmp_path_factory.mktemp("labelled")
    draw_photographs(root / "photos", 5)
    (root / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff")
    run(job_config(root / "photos", root / "out", run={"max_failure_rate": 1.0}))
    run(job_config(root / "photos", root / "run", output=OUTLINED, run={"max_failure_rate": 1.0}))
    return root


@pytest.fixture
def root(labelled, tmp_path):
    return shutil.copytree(labelled, tmp_path, dirs_exist_ok=True)


def draw(root, to="drawn", of="out", **settings):
    config = job_config(root / "photos", root / of, output=settings or OUTLINED)
    source = Output.at(config.output.uri, config.storage)
    return draw_output(source, str(root / to), config, Console(quiet=True))


def files_of(folder):
    """All pictures below a folder."""
    kinds = ("color_masks", "label_masks", "segments")
    paths = [path for kind in kinds for path in (folder / kind).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_pictures_are_those_of_a_run_with_these_settings(root):
    before = files_of(root / "out")
    assert draw(root) == 6
    assert files_of(root / "drawn") == files_of(root / "run")
    assert files_of(root / "out") == before


def test_a_filtered_output_gets_pictures_of_the_masks_that_were_left(root):
    config = job_config(root / "photos", root / "out")
    filter_output(Output.at(config.output.uri, config.storage), str(root / "few"), Thinning(max_masks_per_image=1))
    assert draw(root, of="few", label_masks={"enabled": True}, **OFF) == 6
    for data in files_of(root / "drawn").values():
        assert np.asarray(Image.open(io.BytesIO(data))).max() == 1


def test_what_is_there_is_not_drawn_again(root, monkeypatch):
    draw(root)
    expected = files_of(root / "drawn")
    (root / "drawn/color_masks/001.jpg.jpg").unlink()
    again, write = [], pictures.write_pictures

    def write_and_tell(images, *others, **options):
        again.extend(result.ref.key for result, _ in images)
        return write(images, *others, **options)

    monkeypatch.setattr(pictures, "write_pictures", write_and_tell)
    draw(root)
    assert again == ["001.jpg"]
    assert files_of(root / "drawn") == expected


def test_an_image_that_was_replaced_is_told_and_the_others_are_drawn(root, caplog):
    run(job_config(root / "photos", root / "out", run={"max_failure_rate": 1.0}))  # which finds its input moved
    draw_photographs(root / "photos", 1, size=(64, 50), first=2)
    with pytest.raises(JobError, match="1 image not drawn, 5 were"):
        draw(root)
    assert "002.jpg: it changed since it was labelled" in caplog.text
    assert len(list((root / "drawn/color_masks").iterdir())) == 4


def test_a_folder_of_others_or_of_other_pictures_is_refused(root):
    (root / "mine").mkdir()
    (root / "mine/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not this program's"):
        draw(root, "mine")
    draw(root)
    with pytest.raises(OutputError, match="pictures of other settings"):
        draw(root, label_masks={"enabled": True}, **OFF)
    assert (root / "mine/notes.txt").read_text() == "mine"


def test_rows_that_have_changed_since_want_a_new_folder(root):
    draw(root)
    draw_photographs(root / "photos", 1, first=9)
    run(job_config(root / "photos", root / "out", run={"max_failure_rate": 1.0}))
    with pytest.raises(OutputError, match="rows that have changed since"):
        draw(root)


def test_nothing_to_draw_and_the_output_itself_are_refused(root):
    with pytest.raises(ConfigError, match="are all off"):
        draw(root, **OFF)
    with pytest.raises(ConfigError, match="is the output itself"):
        draw(root, "out")
    assert not (root / "out" / drawn.RECEIPT).exists()
