"""run.log=json: a program can read each line of standard error."""

import json

import pytest


def lines(told):
    return [json.loads(line) for line in told.splitlines()]


@pytest.fixture
def told(job, call, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    (job.parent / "photos/bad.jpg").write_bytes(b"no image")
    code, _, told = call("run", job, "run.log=json", "run.max_failure_rate=0.5")
    assert code == 0
    return lines(told)


def test_each_image_has_a_line_with_its_shard(told):
    images = {line["key"]: line for line in told if "key" in line}
    assert len(images) == 6
    del images["004.jpg"]["time"]
    about = {"shard": 1, "key": "004.jpg", "status": "ok", "masks": 17}
    assert images["004.jpg"] == {"level": "info", **about, "message": "004.jpg: ok"}
    assert images["bad.jpg"]["kind"] == "not_an_image"
    assert images["bad.jpg"]["message"].startswith("bad.jpg: not_an_image: ")


def test_what_is_printed_for_a_person_is_a_line_too(told):
    assert "6 of 6 images to do, in 2 shards" in [line["message"] for line in told]


def test_what_ends_the_program_is_one(job, call):
    code, said, told = call("run", job, "run.log=json", "input.uri=nowhere")
    (error,) = lines(told)
    assert (code, said, error["level"], "nowhere" in error["message"]) == (2, "", "error", True)


def test_a_person_is_told_of_no_single_image(job, call):
    assert "004.jpg" not in call("run", job)[2]
