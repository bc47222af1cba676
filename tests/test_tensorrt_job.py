"""From weights to masks on TensorRT engines, on the stand-in: export, build, verify, run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from support.export_once import export_once
from support.jobs import rows
from support.small_sam import random_vit_b
from support.threads import one_thread
from typer.testing import CliRunner

from sam_batch.cli import main as cli
from sam_batch.engine.tensorrt import host as tensorrt_host
from sam_batch.engine.tensorrt import plan_set
from sam_batch.errors import EngineFileError

__all__ = ["export_once", "one_thread"]

ROOT = Path(__file__).parents[1]
PHOTOGRAPH = ROOT / "examples" / "coffee.jpg"
DEMO = [str(ROOT / "configs/demo.yaml"), f"input.uri={PHOTOGRAPH}", "run.executor=inline", "engine.device=auto"]
FEW = ["generator.points_per_side=8", "engine.tensorrt.max_prompts=16", "engine.tensorrt.positions=tiled"]


@pytest.fixture(scope="module")
def machine(bindings, export_once):
    """Every process of a job sees the stand-in."""
    from support.tensorrt_standin.machine import host as stand_in

    with pytest.MonkeyPatch.context() as patch:
        host = stand_in(bindings)
        patch.setattr(tensorrt_host, "find_host", lambda flavour: host)
        patch.setattr(plan_set, "export", export_once)
        yield host


@pytest.fixture(scope="module")
def call(machine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")

    def run(*arguments):
        given = [*DEMO, *FEW, f"engine.tensorrt.folder={folder / 'engines'}", f"output.uri={folder / 'tensorrt'}"]
        verb = [one for one in arguments if "=" not in one]
        result = CliRunner().invoke(cli.app, [*verb, *given, *arguments[len(verb) :]])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def built(call):
    return call("engine", "build", "engine.precision=fp16")


def masks(output):
    (row,) = rows(output)
    assert row["status"] == "ok"
    return [{"size": [row["height"], row["width"]], "counts": one["counts"]} for one in row["masks"]]


def require_twins(found, expected, at_least):
    """Each mask has one of the other side with an IoU of 0.99 or more."""
    assert len(found) == len(expected) >= at_least
    overlap = coco.iou(found, expected, [False] * len(expected))
    assert np.all(overlap.max(axis=0) >= 0.99)
    assert np.all(overlap.max(axis=1) >= 0.99)


def test_engines_are_built_and_verified_on_the_jobs_photograph(built, call):
    assert "1 photographs: embedding cosine 0.99" in built
    assert "ready: engine.kind auto and tensorrt use these engines" in built
    assert call("engine", "list").count("verified on Stand-in") == 3
    assert "passed" in call("engine", "verify", "engine.precision=fp16")
    assert "encoder: " in call("engine", "inspect", "engine.precision=fp16")


def test_a_job_on_them_finds_the_masks_of_torch_in_float32(built, call, capfd):
    call("run", "engine.kind=tensorrt", "engine.precision=fp16")
    assert "engine: TensorRT, verified" in capfd.readouterr().err
    reference = call.folder / "torch"
    call("run", "engine.kind=torch", "engine.precision=fp32", f"output.uri={reference}")
    require_twins(masks(call.folder / "tensorrt"), masks(reference), at_least=5)


def test_a_job_stops_before_it_starts_if_its_engines_are_not_built(call):
    with pytest.raises(EngineFileError, match=r"no TensorRT engines of demo in fp32 .*; run sam-batch engine build"):
        call("run", "engine.kind=tensorrt", "engine.precision=fp32", f"output.uri={call.folder / 'none'}")
    assert not (call.folder / "none" / "plan").exists()


def test_a_job_may_build_what_it_lacks_before_it_starts(built, call, capfd):
    call(
        "run", "engine.kind=tensorrt", "engine.precision=fp16", "engine.tensorrt.build=on_start",
        "engine.tensorrt.max_prompts=8", f"output.uri={call.folder / 'on_start'}",
    )  # fmt: skip
    assert capfd.readouterr().err.count("built demo-fp16") == 2  # the encoder, without prompts, is as it was
    assert len(masks(call.folder / "on_start")) == len(masks(call.folder / "tensorrt"))


@pytest.mark.slow
def test_a_large_model_goes_the_same_way(call, tmp_path):
    """ViT-B with random weights: their masks mean nothing, but have to be the same."""
    weights = tmp_path / "vit_b.pth"
    torch.save(random_vit_b().state_dict(), weights)
    job = [
        "model.name=vit_b", f"model.checkpoint={weights}", "engine.precision=fp32", "engine.tensorrt.max_images=1",
        "engine.tensorrt.verify.images=1", "generator.points_per_side=2", "generator.pred_iou_thresh=0.0",
        "generator.stability_score_thresh=0.0", "generator.box_nms_thresh=1.0", "generator.mask_nms_thresh=null",
        "generator.containment_thresh=null", "generator.min_mask_region_area=0",
    ]  # fmt: skip
    assert "ready" in call("engine", "build", *job)
    for kind in ("tensorrt", "torch"):
        call("run", *job, f"engine.kind={kind}", f"output.uri={tmp_path / kind}")
    require_twins(masks(tmp_path / "tensorrt"), masks(tmp_path / "torch"), at_least=4)
