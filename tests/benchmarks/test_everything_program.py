"""The whole program, on a model that is done in a blink."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from segment_anything import sam_model_registry
from support.pictures import picture
from support.recording import imitated_graph
from support.small_sam import skeleton

from benchmarks import everything
from benchmarks.harness import ceiling, job, weights
from benchmarks.harness.measure import measure
from benchmarks.harness.systems import Graphs
from sam_batch.engine.tensorrt import host as tensorrt_host
from sam_batch.engine.tensorrt.host import Host


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(weights.BUILDERS, "small", skeleton)
    monkeypatch.setattr(ceiling, "matrix_rate", lambda *_: 1e12)
    monkeypatch.setattr(ceiling, "bandwidth", lambda *_: 1e10)
    path = tmp_path / "picture.png"
    Image.fromarray(picture(90, 130, 0)).save(path)
    return path


def run(image: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[list[str], dict]:
    fixed = ["--model", "small", "--device", "cpu", "--precision", "fp32", "--points-per-side", "4"]
    everything.main([*fixed, "--images", str(image), *more])
    *lines, last = capsys.readouterr().out.splitlines()
    return lines, json.loads(last)


def test_the_reference_and_ours_find_the_same_masks(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, summary = run(image, capsys, "--skip", "huggingface", "--precision", "fp32", "--long-side", "100")
    assert summary["count_ours"] == summary["count_reference"] > 0
    assert summary["matched_fraction"] == summary["close_fraction"] == 1
    assert summary["mean_matched_iou"] > 0.999  # a pixel whose logit is 0 may round to either side
    assert summary["speedup_vs_reference"] > 0
    assert summary["peak_memory_bytes"] > 0


def test_a_job_finds_the_same_masks_and_its_segment_stage_is_measured(
    image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, where the program leaves it out."""
    monkeypatch.setattr(job, "require_gpu", lambda choice: None)
    lines, summary = run(image, capsys, "--skip", "huggingface", "--skip", "ours", "--repeat", "1")
    assert summary["job_images_per_second"] > 0
    (line,) = [one for one in lines if one.startswith("job: ")]
    assert "+0 to the reference's; 100.0% have a twin" in line


def test_every_stage_takes_time_in_both(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = run(image, capsys, "--skip", "huggingface", "--repeat", "0")
    table = lines[lines.index(f"{'ms an image':<16}{'reference':>14}{'ours':>14}") + 1 :]
    rows = {line[:16].strip(): line[16:].split() for line in table[:9]}
    assert list(rows) == list(everything.STAGES)
    assert all(float(value) > 0 for stage in ("embed", "score", "finish", "post-process") for value in rows[stage])


def test_what_is_skipped_is_null(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, summary = run(image, capsys, "--skip", "huggingface", "--skip", "reference")
    assert summary["images_per_second"] > 0
    assert summary["speedup_vs_reference"] is summary["count_reference"] is None


def test_without_transformers_the_others_are_measured(
    image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    lines, summary = run(image, capsys)
    assert any(line.startswith("huggingface is left out") for line in lines)
    assert summary["huggingface_images_per_second"] is None
    assert summary["speedup_vs_reference"] > 0


def test_recorded_kernels_find_the_masks_of_the_reference(
    image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded by an imitation, on the CPU."""
    graphs = partial(measure, partial(Graphs, capture=imitated_graph))
    monkeypatch.setitem(everything.MEASUREMENTS, "graphs", graphs)
    lines, summary = run(image, capsys, "--skip", "huggingface", "--skip", "ours", "--repeat", "1")
    assert summary["graphs_images_per_second"] > 0
    (line,) = [one for one in lines if one.startswith("graphs: ")]
    assert "+0 to the reference's; 100.0% have a twin" in line


def test_without_a_gpu_neither_jobs_nor_recorded_nor_compiled_nor_tensorrt_engines_are_measured(
    image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    lines, summary = run(image, capsys, "--skip", "huggingface", "--skip", "reference")
    assert any(line.startswith("graphs is left out: a CPU has no CUDA graphs") for line in lines)
    assert any(line.startswith("compile is left out: torch.compile is measured on CUDA alone") for line in lines)
    assert any(line.startswith("tensorrt is left out: ") and "pip install" in line for line in lines)
    assert any(line.startswith("job is left out: on a CPU a job does what `ours` does") for line in lines)
    assert all(summary[f"{name}_images_per_second"] is None for name in ("job", "graphs", "compile", "tensorrt"))


@pytest.mark.slow
def test_tensorrt_engines_find_the_masks_of_the_reference(
    image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: Host
) -> None:
    """On the stand-in; it takes the seconds of an export."""
    monkeypatch.setattr(tensorrt_host, "find_host", lambda flavour: host)
    lines, summary = run(image, capsys, "--skip", "huggingface", "--skip", "ours", "--precision", "fp32")
    assert summary["tensorrt_images_per_second"] > 0
    (line,) = [one for one in lines if one.startswith("tensorrt: ")]
    assert "+0 to the reference's; 100.0% have a twin" in line


def test_operations_are_those_of_the_published_model() -> None:
    """486 GMAC for the encoder, as EfficientViT-SAM's and TinySAM's authors count; 1811 MMAC for each prompt."""
    with torch.device("meta"):
        sam = sam_model_registry["vit_b"]()
    assert ceiling.work_of_encoder(sam).flops == pytest.approx(2 * 486e9, rel=0.01)
    assert ceiling.work_of_decoder(sam, 64).flops == pytest.approx(2 * 64 * 1811e6, rel=0.01)
