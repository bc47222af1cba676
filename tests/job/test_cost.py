"""What `status --price` adds up, from the times that shards took."""

import json

import pytest
from support.jobs import draw_photographs, job_config, run

from sam_batch.job.cost import cost
from sam_batch.job.status import status
from sam_batch.output.output import Output


@pytest.fixture
def config(tmp_path):
    """Of a job of three shards of four images, of which two are done, in an hour of an engine each."""
    draw_photographs(tmp_path / "photos", 12)
    config = job_config(tmp_path / "photos", tmp_path / "out")
    run(config)
    (tmp_path / "out/annotations/part-00002.parquet").unlink()
    for metrics in (tmp_path / "out/metrics").iterdir():
        seconds = {"load_seconds": 900.0, "segment_seconds": 3600.0, "write_seconds": 900.0}
        metrics.write_text(json.dumps(json.loads(metrics.read_text()) | seconds))
    return config


@pytest.mark.parametrize(("inline", "factor"), [(False, 1.0), (True, 1.5)])
def test_an_engine_beside_which_others_load_and_write_costs_what_it_works(config, inline, factor):
    output = Output.at(config.output.uri, config.storage)
    metrics = {shard: output.metrics(shard) for shard in output.done()}
    found = cost(output.plan(), metrics, 2.5, inline=inline)
    assert (found.hours, found.price, found.hours_to_come) == (2 * factor, 5 * factor, factor)


def test_status_says_it_where_a_price_is_given(config):
    assert "so far: 3.00 hours of engines at work, price 7.50; to come: about 1.50 hours, price 3.75" in (
        status(config, price=2.5).to_text().splitlines()
    )
    assert json.loads(status(config, price=2.5).to_json())["cost"]["price_to_come"] == 3.75
    assert status(config).cost is None


def test_before_an_image_is_done_nothing_is_foreseen(config, tmp_path):
    for part in (tmp_path / "out/annotations").iterdir():
        part.unlink()
    assert status(config, price=2.5).to_text().splitlines()[-2] == "so far: 0.00 hours of engines at work, price 0.00"
