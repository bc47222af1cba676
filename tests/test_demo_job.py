"""The demo job with the model that is in the package, on real photographs: from a folder and from a bucket."""

from pathlib import Path

import pytest
from pycocotools.coco import COCO
from rich.console import Console
from support.jobs import rows

from sam_batch import configfile
from sam_batch.job.run import run_job
from sam_batch.output import schema

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.jpg"))
PLAIN = ["run.executor=inline"]


def demo(*overrides):
    config = configfile.load([ROOT / "configs/demo.yaml"], [*PLAIN, *overrides])
    return run_job(config, Console(quiet=True))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    report = demo(f"input.uri={ROOT}/examples", f"output.uri={folder}")
    assert (report.exit_code, report.planned) == (0, len(EXAMPLES))
    return folder


def test_every_photograph_has_masks_and_pictures(out):
    assert [row["key"] for row in rows(out)] == [path.name for path in EXAMPLES]
    for row in rows(out):
        assert row["status"] == "ok"
        assert (out / f"color_masks/{row['key']}.png").is_file()
        assert len(list((out / f"segments/{row['key']}").iterdir())) == len(row["masks"])


def test_coco_annotations_decode_to_what_was_recorded(out, capsys):
    coco = COCO(str(out / "coco/annotations.json"))
    capsys.readouterr()
    assert len(coco.imgs) == len(EXAMPLES)
    assert coco.anns
    for annotation in coco.anns.values():
        ys, xs = coco.annToMask(annotation).nonzero()
        assert annotation["area"] == len(ys)
        x, y = xs.min(), ys.min()
        assert annotation["bbox"] == [x, y, xs.max() + 1 - x, ys.max() + 1 - y]


def test_the_same_job_from_and_to_a_bucket_gives_the_same_rows(out, s3_bucket):
    for path in EXAMPLES:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=f"in/{path.name}", Body=path.read_bytes())
    places = [f"input.uri={s3_bucket.uri}/in/", f"output.uri={s3_bucket.uri}/out/"]
    assert demo(*places, f"storage.endpoint_url={s3_bucket.endpoint_url}").exit_code == 0
    for part in (out / "annotations").iterdir():
        body = s3_bucket.client.get_object(Bucket=s3_bucket.name, Key=f"out/annotations/{part.name}")["Body"].read()
        here, there = (schema.read_part(data).drop_columns("uri").to_pylist() for data in (part.read_bytes(), body))
        assert there == here
