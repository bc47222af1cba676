"""What is given instead of settings, and what is answered."""

import pytest
import typer

from sam_batch.cli.arguments import read_area, read_config, read_output
from sam_batch.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my photos").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.yaml").write_text("input: {uri: photos}\noutput: {uri: out}\n")


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("my photos", "to label it: sam-batch plan 'input.uri=my photos' output.uri=OUT"),
        ("photo.JPG", "to label it: sam-batch plan input.uri=photo.JPG output.uri=OUT"),
        ("list.txt", "to label it: sam-batch plan input.uri=list.txt output.uri=OUT"),
        ("s3://bucket/a", "to label it: sam-batch plan input.uri=s3://bucket/a output.uri=OUT"),
        ("out", "for the job in it: sam-batch plan out/config.yaml"),
        ("input.uri", "write input.uri=VALUE, without blanks around the ="),
        ("nowhere.yaml", "cannot be read: No such file"),
    ],
)
def test_what_is_no_configuration_is_answered_with_the_command_that_was_meant(argument, answer):
    with pytest.raises(ConfigError) as caught:
        read_config([argument, "output.uri=x"], "plan")
    assert answer in str(caught.value)


def test_a_file_may_have_an_equals_sign_in_its_name(tmp_path):
    (tmp_path / "points=7.yaml").write_text("input: {uri: a}\noutput: {uri: b}\n")
    assert read_config(["points=7.yaml", "output.uri=c"], "plan").output.uri == "c"


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["out"], "out"),
        (["out/config.yaml"], "out"),
        (["output.uri=elsewhere"], "elsewhere"),
        (["out/config.yaml", "output.uri=elsewhere"], "elsewhere"),
        (["s3://bucket/labels", "storage.region=eu-central-1"], "s3://bucket/labels"),
    ],
)
def test_an_output_is_found_by_its_place_or_its_job(arguments, output):
    assert read_output(arguments).output.uri == output


def test_an_area_is_pixels_or_a_share_and_nothing_else():
    assert [read_area(text) for text in ("400", "0.1%")] == [400, "0.1%"]
    for text in ("0", "0.001", "-4", "0%", "many"):
        with pytest.raises(typer.BadParameter, match="percent sign"):
            read_area(text)
