import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import tensorrt_bindings
from support.tensorrt_engines import CHECKPOINT, PICTURE, QUIET, engine_set_in, hold_small_sam, settings
from support.tensorrt_standin import machine
from support.tensorrt_standin.gpu import CpuGpu
from support.tensorrt_standin.knobs import KNOBS

from sam_batch.engine.onnx.graph_set import PROMPTED, read_graphs, write_manifest
from sam_batch.engine.protocol import Prompts
from sam_batch.engine.tensorrt import engine_set
from sam_batch.engine.tensorrt.host import Target
from sam_batch.engine.tensorrt.plan_set import PlanSet
from sam_batch.errors import EngineError, EngineFileError, UnverifiedError

GRAPHS = ["encoder", "score", "finish"]  # of a job whose prompts are points or boxes


@pytest.fixture
def folder(exports, tmp_path, monkeypatch):
    """With exported graphs of the small SAM in float32, and no plans."""
    hold_small_sam(monkeypatch)
    shutil.copytree(exports, tmp_path / "engines")
    return tmp_path / "engines"


@pytest.fixture
def engines(host, folder):
    return engine_set_in(host, folder)


def verify(engines, thresh=0.0):
    return engines.verify([PICTURE], thresh)


def store_another(engines):
    """As who builds anew: another plan of the encoder comes into the place of the one that is there."""
    key = engines.keys(engines.graphs())["encoder"]
    engines.store.store(key, b"another", 1.0)


def test_engines_are_built_verified_and_loaded(engines):
    assert [record.key["graph"] for record in engines.build(QUIET)] == GRAPHS
    verify(engines)
    engine = engines.load()
    assert (engine.spec.kind, engine.spec.precision, engine.spec.image_side) == ("tensorrt", "fp32", 128)


POINTS = {"points": torch.ones(2, 3, 2), "labels": torch.ones(2, 3)}
MASKS = {"masks": torch.zeros(2, 1, 32, 32)}


def test_the_plan_of_prompts_of_any_parts_is_built_only_where_there_are_some(engines, host, folder):
    engines.build(QUIET)
    prompted = engine_set_in(host, folder, prompts=True)
    assert [record.key["graph"] for record in prompted.build(QUIET)] == [PROMPTED]
    verify(prompted)
    engine = prompted.load()
    embedding = engine.embed(torch.zeros(1, 3, 128, 128))
    for prompts in (Prompts(**POINTS, **MASKS), Prompts(**POINTS), Prompts(**MASKS), Prompts(count=2)):
        assert engine.score(embedding, prompts).iou.shape == (2, 3)


@pytest.mark.parametrize(
    ("prompts", "refusal"),
    [(Prompts(**MASKS), r"takes prompts without masks"), (Prompts(**POINTS), r"takes prompts of 2 tokens .* not of 4")],
)
def test_without_it_they_are_refused(engines, prompts, refusal):
    engines.build(QUIET)
    verify(engines)
    engine = engines.load()
    with pytest.raises(EngineError, match=rf"{refusal}.*; set engine\.kind=torch"):
        engine.score(engine.embed(torch.zeros(1, 3, 128, 128)), prompts)


def test_graphs_without_that_of_any_parts_do_for_points_and_boxes(engines, host, folder):
    (graphs_folder,) = (folder / "onnx").iterdir()
    graphs = read_graphs(graphs_folder)
    write_manifest(replace(graphs, inputs={name: graphs.inputs[name] for name in GRAPHS}), graphs_folder)
    engines.build(QUIET)
    verify(engines)
    for keys in ({}, {"max_tokens": 20}):
        with pytest.raises(
            EngineFileError, match=r"were built for prompts of one point or one box, or of fewer tokens"
        ):
            engine_set_in(host, folder, prompts=True, **keys).load()


def test_what_is_there_is_not_built_again_unless_asked_for(engines):
    engines.build(QUIET)
    assert engines.build(QUIET) == []
    assert len(engines.build(QUIET, rebuild="first")) == len(GRAPHS)


def test_machines_that_share_the_folder_rebuild_once(engines, host, folder):
    engines.build(QUIET)
    assert len(engines.build(QUIET, rebuild="first")) == len(GRAPHS)
    verify(engines)
    assert engine_set_in(host, folder).build(QUIET, rebuild="first") == []
    assert len(engines.build(QUIET, rebuild="second")) == len(GRAPHS)


def test_a_build_that_failed_goes_on_where_it_stopped(engines):
    def fail_at_the_second():
        KNOBS.builds = len(KNOBS.timing_caches) < 2

    KNOBS.on_step = fail_at_the_second
    with pytest.raises(EngineError, match="Out of memory"):
        engines.build(QUIET)
    finished = list(engines.store.records())
    KNOBS.reset()
    assert len(engines.build(QUIET)) == len(GRAPHS) - len(finished)
    assert 0 < len(finished) < len(GRAPHS)


def test_each_build_profits_from_the_timings_of_those_before(engines):
    engines.build(QUIET)
    assert [len(one) for one in KNOBS.timing_caches] == [0, 8, 16]


def test_an_altered_plan_never_reaches_tensorrt_and_is_built_again(engines, folder):
    engines.build(QUIET)
    verify(engines)
    plan = next((folder / "plans").glob("*-score-*.plan"))
    plan.write_bytes(plan.read_bytes()[:-1] + b"!")
    KNOBS.plans_loaded = 0
    for use in (engines.load, engines.require_verified):
        with pytest.raises(EngineFileError, match=r"altered since it was built.*sam-batch engine build"):
            use()
    assert KNOBS.plans_loaded == 0
    assert [record.key["graph"] for record in engines.build(QUIET)] == ["score"]


def test_a_worker_reads_each_plan_once(engines, monkeypatch):
    engines.build(QUIET)
    verify(engines)
    opened, real = [], Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args, **named: opened.append(path) or real(path, *args, **named))
    engines.load()
    assert sum(path.suffix == ".plan" for path in opened) == len(GRAPHS)


class TestRtx:
    """On the stand-in, over its bindings."""

    @pytest.fixture
    def rtx(self, host):
        return machine.host(tensorrt_bindings.load(tensorrt_bindings.RTX))

    def test_what_was_built_for_a_kind_of_gpu_is_verified_on_one_before_it_is_used(self, rtx, folder):
        kind = replace(rtx.machine, gpu="", platform="", driver="")
        PlanSet(Target(rtx.flavour, rtx.trt, kind), settings(folder), CHECKPOINT, "fp32").build(QUIET)
        engines = engine_set_in(rtx, folder)
        with pytest.raises(UnverifiedError):
            engines.load()
        verify(engines)
        assert engines.load().spec.kind == "tensorrt"
        assert engines.build(QUIET) == []

    def test_what_its_verification_compiled_is_kept_beside_the_plans_and_used(self, rtx, folder):
        engines = engine_set_in(rtx, folder)
        records = engines.build(QUIET)
        verify(engines)
        where = "Stand-in with driver 580.1"
        kept = {record.key["graph"]: engines.store.compiled(record, where) for record in records}
        assert min(map(len, kept.values())) > 0
        assert engines.load().compiled() == kept
        assert len(list((folder / "plans").glob("*.compiled"))) == len(GRAPHS)


def test_without_verification_nothing_is_loaded(engines):
    engines.build(QUIET)
    KNOBS.plans_loaded = 0
    with pytest.raises(EngineFileError, match=r"not verified on Stand-in.*; run sam-batch engine verify"):
        engines.load()
    assert KNOBS.plans_loaded == 0


def test_engines_that_are_too_far_from_torch_are_not_used(engines, host, folder):
    engines.build(QUIET)
    verify(engines)
    strict = engine_set_in(host, folder, verify={"max_iou_error": 0.0})
    with pytest.raises(
        EngineFileError, match=r"differ too much from torch in float32 \(IoU error .*engine\.kind=torch"
    ):
        strict.load()
    engines.load()


def test_plans_built_anew_while_others_are_verified_are_not_marked(engines, monkeypatch):
    engines.build(QUIET)
    compare = engine_set.compare

    def build_anew_and_compare(*arguments, **named):
        store_another(engines)
        return compare(*arguments, **named)

    monkeypatch.setattr(engine_set, "compare", build_anew_and_compare)
    with pytest.raises(
        EngineFileError, match="changed while it was verified; run sam-batch engine verify CONFIG again"
    ):
        verify(engines)
    with pytest.raises(EngineFileError, match="not verified"):
        engines.require_verified()


def test_what_is_loaded_is_what_was_verified_though_others_build_meanwhile(engines, monkeypatch):
    engines.build(QUIET)
    verify(engines)
    load, loaded, real = engine_set.load_resolved, [], engine_set.TensorRTEngine
    wanted = [engines.store.read(key)[1] for key in engines.keys(engines.graphs()).values()]

    def build_anew_and_load(checkpoint):
        store_another(engines)
        return load(checkpoint)

    def keep(host, graphs, plans, *others):
        loaded.extend(plans.values())
        return real(host, graphs, plans, *others)

    monkeypatch.setattr(engine_set, "load_resolved", build_anew_and_load)
    monkeypatch.setattr(engine_set, "TensorRTEngine", keep)
    engines.load()
    assert loaded == wanted


def test_what_another_version_has_verified_is_to_be_verified_again(engines, host, folder):
    engines.build(QUIET)
    verify(engines)
    engines.store.set_verified(list(engines.store.records()), "Stand-in", {"an older figure": 1.0})
    with pytest.raises(EngineFileError, match="verified by another version; run sam-batch engine verify"):
        engines.load()


def test_verification_finds_weights_that_are_not_the_engines(engines, monkeypatch):
    engines.build(QUIET)
    hold_small_sam(monkeypatch, seed=1)
    found = verify(engines)
    assert found.cosine < 0.9
    with pytest.raises(EngineFileError, match="cosine"):
        engines.require_verified()


def test_photographs_without_masks_prove_nothing_and_others_are_asked_for(engines):
    engines.build(QUIET)
    verify(engines, thresh=1e6)
    with pytest.raises(
        EngineFileError, match=r"could not be judged: no mask passes .* 1 photographs.*engine\.tensorrt\.verify\.images"
    ):
        engines.load()


def test_too_little_memory_to_verify_says_what_to_do_and_frees_both_engines(engines, monkeypatch):
    engines.build(QUIET)
    weights, freed = [], []

    def compare(engine, reference, *_, **__):
        weights.append(weakref.ref(reference._model.encoder))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine_set, "compare", compare)
    monkeypatch.setattr(engine_set.TensorRTEngine, "close", lambda _: freed.append(weights[0]() is None))
    with pytest.raises(EngineError, match=r"too little GPU memory to verify.*lower engine\.tensorrt\.max_images"):
        verify(engines)
    assert freed == [True]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"gpu": CpuGpu("Another GPU")}, "gpu (Stand-in, here Another GPU)"),
        ({"gpu": CpuGpu(compute_capability="8.6")}, "compute_capability (8.9, here 8.6)"),
        ({"max_prompts": 5}, "profiles.tokens"),
        ({"workspace_bytes": 1 << 25}, "options.workspace_bytes"),
    ],
)
def test_engines_of_another_gpu_or_other_settings_are_not_loaded(host, folder, bindings, change, difference):
    built = engine_set_in(host, folder)
    built.build(QUIET)
    verify(built)
    KNOBS.plans_loaded = 0
    gpu = change.pop("gpu", None)
    other = engine_set_in(machine.host(bindings, gpu), folder, **change)
    with pytest.raises(EngineFileError) as refused:
        other.load()
    assert difference in str(refused.value)
    assert KNOBS.plans_loaded == 0


def test_a_plan_of_another_version_is_not_loaded(engines, host, folder):
    engines.build(QUIET)
    verify(engines)
    newer = replace(host, machine=replace(host.machine, tensorrt="99.0"))
    KNOBS.plans_loaded = 0
    with pytest.raises(EngineFileError, match=rf"tensorrt \({host.machine.tensorrt}, here 99\.0\)"):
        engine_set_in(newer, folder).load()
    assert KNOBS.plans_loaded == 0


def test_nothing_built_at_all_names_the_command(host, tmp_path):
    with pytest.raises(EngineFileError, match=r"no TensorRT engines of demo in fp32 .*; run sam-batch engine build"):
        engine_set_in(host, tmp_path).load()


def test_every_graph_can_be_looked_into(engines):
    engines.build(QUIET)
    assert [one.graph for one in engines.inspect()] == GRAPHS
