import errno
import io
import json
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console
from support.tensorrt_engines import CHECKPOINT, POSITIONS, QUIET, engine_set_in, hold_small_sam, settings
from support.tensorrt_library import needs_library, target
from support.tensorrt_standin.knobs import KNOBS

from sam_batch.engine.onnx.graph_set import PROMPTED, read_graphs, write_manifest
from sam_batch.engine.tensorrt import plan_set
from sam_batch.engine.tensorrt.flavour import CLASSIC, RTX
from sam_batch.engine.tensorrt.plan_set import PlanSet, exported, most_at_once, positions_for, profiles
from sam_batch.engine.tensorrt.plans import PlanStore
from sam_batch.errors import EngineError, OutputError


def folder_of(folder):
    return plan_set.graphs_folder(settings(folder), CHECKPOINT, "fp32", POSITIONS)


def exported_in(folder, console=QUIET, **keys):
    return exported(settings(folder), CHECKPOINT, "fp32", console, positions=POSITIONS, **keys)


def refuse(*_, **__):
    raise OSError(errno.ENOLCK, "No locks available")


class TestExported:
    @pytest.fixture
    def exporting(self, monkeypatch, exports):
        """Exports are counted, and copied from one that was made before."""
        calls = []

        def export(*_, folder, opset, attention, **__):
            calls.append(opset)
            made = folder_of(exports)
            shutil.copytree(made, folder, dirs_exist_ok=True)
            graphs = replace(read_graphs(folder), opset=opset, attention=attention)
            write_manifest(graphs, folder)
            return graphs

        hold_small_sam(monkeypatch)
        monkeypatch.setattr(plan_set, "export", export)
        return calls

    def test_graphs_that_are_there_are_not_exported_again(self, tmp_path, exporting):
        first = exported_in(tmp_path)
        assert exported_in(tmp_path) == first
        assert exporting == [20]

    def test_damaged_graphs_another_opset_or_force_export_them_anew(self, tmp_path, exporting):
        exported_in(tmp_path)
        folder = folder_of(tmp_path)
        (folder / "score.onnx").write_bytes(b"")
        for keys in ({}, {"opset": 23}, {"anew": True}):
            exported_in(tmp_path, **keys)
        assert exporting == [20, 20, 23, 20]

    def test_graphs_of_another_version_are_exported_anew(self, tmp_path, exporting):
        first = exported_in(tmp_path)
        folder = folder_of(tmp_path)
        write_manifest(replace(first, version=0), folder)
        assert exported_in(tmp_path) == first
        assert exporting == [20, 20]

    def test_graphs_with_and_without_the_attention_operator_are_told_apart(self, tmp_path, exporting):
        operator = {"opset": 23, "attention": True}
        for asked, has_it in ((operator, True), (operator, True), ({}, True), ({"opset": 23}, False), (operator, True)):
            assert exported_in(tmp_path, **asked).attention == has_it
        assert exporting == [23, 23, 23]

    @pytest.mark.parametrize("asked", [{}, {"opset": 23, "attention": True}])
    def test_a_build_that_fails_names_the_attention_operator_where_there_is_one(self, tmp_path, exporting, host, asked):
        exported_in(tmp_path, **asked)
        KNOBS.builds = False
        with pytest.raises(EngineError) as failed:
            engine_set_in(host, tmp_path).build(QUIET)
        assert ("no fused kernel for its Attention operator" in str(failed.value)) == bool(asked)

    def test_a_folder_that_cannot_be_locked_is_named(self, tmp_path, exporting, monkeypatch):
        monkeypatch.setattr(FileLock, "acquire", refuse)
        with pytest.raises(
            OutputError, match=f"{tmp_path}: cannot be locked: .*No locks available; set engine.tensorrt.folder"
        ):
            exported_in(tmp_path)

    def test_graphs_that_are_there_need_no_folder_that_can_be_written(self, tmp_path, exporting, monkeypatch):
        first = exported_in(tmp_path)
        monkeypatch.setattr(FileLock, "acquire", refuse)
        monkeypatch.setattr(Path, "chmod", refuse)
        assert exported_in(tmp_path) == first
        with pytest.raises(OutputError):
            exported_in(tmp_path, anew=True)

    @pytest.mark.parametrize("verb", ["export", "build"])
    def test_whoever_comes_second_says_so_and_waits(self, tmp_path, exporting, host, verb):
        console = Console(file=io.StringIO(), width=500)
        work = {
            "export": lambda: exported_in(tmp_path, console),
            "build": lambda: engine_set_in(host, tmp_path).build(console),
        }
        with ThreadPoolExecutor(1) as pool:
            with PlanStore(tmp_path).locked():
                second = pool.submit(work[verb])
                deadline = time.monotonic() + 60
                while "waiting" not in console.file.getvalue() and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert not exporting
            second.result()
        told, *_ = console.file.getvalue().splitlines()
        assert told == f"another build is at work in {tmp_path}; waiting for its end"
        assert exporting == [20]


def test_profiles_are_tuned_for_full_batches(exports):
    folder = folder_of(exports)
    shapes = profiles(read_graphs(folder), settings(folder, max_prompts=64, max_images=4))
    assert shapes["encoder"]["images"] == ((1, 3, 128, 128), (4, 3, 128, 128), (4, 3, 128, 128))
    assert shapes["finish"]["cells"] == ((1, 64, 32), (64, 64, 32), (64, 64, 32))
    assert set(shapes[PROMPTED]) == {"tokens", "filling", "masks", "maskless"}
    assert json.dumps(shapes)


@pytest.mark.parametrize(
    ("flavour", "precision", "keys", "positions"),
    [
        (RTX, "fp16", {"max_images": 1}, "tiled"),
        (RTX, "fp16", {"max_images": 2}, "folded"),
        (RTX, "fp32", {}, "written"),
        (CLASSIC, "fp16", {}, "written"),
        (CLASSIC, "fp32", {"positions": "folded"}, "folded"),
    ],
)
def test_the_matrix_of_biases_is_left_out_where_that_is_known_to_be_fused(
    tmp_path, flavour, precision, keys, positions
):
    assert positions_for(settings(tmp_path, **{"positions": "auto"} | keys), precision, flavour) == positions


@pytest.mark.parametrize(
    ("asked", "memory", "prompts"),
    [("auto", 0, 64), ("auto", 80 << 30, 64), ("auto", 2 << 30, 32), ("auto", 1, 1), (200, 2 << 30, 200)],
)
def test_prompts_at_once_fit_the_memory_of_the_gpu_unless_they_are_named(exports, tmp_path, asked, memory, prompts):
    graphs = replace(read_graphs(folder_of(exports)), scratch_bytes={"encoder": 1 << 40, "score": 12 << 20})
    asked = settings(tmp_path, max_prompts=asked)
    assert most_at_once(graphs, asked, memory) == {"images": 2, "prompts": prompts}


def test_what_a_plan_will_take_is_said_before_it_is_built(exports, tmp_path, monkeypatch, host):
    hold_small_sam(monkeypatch)
    shutil.copytree(exports, tmp_path, dirs_exist_ok=True)
    console = Console(file=io.StringIO(), width=500)
    KNOBS.builds = False
    with pytest.raises(EngineError):
        engine_set_in(host, tmp_path).build(console)
    told = console.file.getvalue()
    assert re.search(r"while it runs: encoder \d+ MiB for 2 images at once, score \d+ MiB for 4 prompts at once", told)


@needs_library
def test_plans_are_built_for_gpus_that_are_not_here_and_listed_as_such(exports, tmp_path, monkeypatch):
    """By the real library; each kind of GPU has its own."""
    hold_small_sam(monkeypatch)
    shutil.copytree(exports, tmp_path, dirs_exist_ok=True)
    for capability in ("8.6", "8.9"):
        plans = PlanSet(target(capability), settings(tmp_path), CHECKPOINT, "fp32")
        built = plans.build(QUIET)
        assert [record.key["graph"] for record in built] == ["encoder", "score", "finish"]
        assert plans.build(QUIET) == []
        assert "attention fused in 0 layers, not fused in 2" in built[0].inside
        assert f"compute capability {capability}  not verified" in built[0].to_text()
