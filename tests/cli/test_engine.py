"""`sam-batch engine`: what can be asked without TensorRT, and the messages where something is missing."""

import sys
from types import SimpleNamespace

import pytest
from support.jobs import draw_photographs, job_config

from sam_batch import configfile
from sam_batch.engine.tensorrt.plan_key import Machine, PlanKey
from sam_batch.engine.tensorrt.plans import PlanStore


@pytest.fixture
def job(tmp_path):
    draw_photographs(tmp_path / "photos", 1)
    path = tmp_path / "job.yaml"
    engine = {"kind": "auto", "tensorrt": {"folder": str(tmp_path / "engines")}}
    path.write_text(configfile.to_yaml(job_config(tmp_path / "photos", tmp_path / "out", engine=engine)))
    return path


@pytest.fixture(autouse=True)
def without_tensorrt(monkeypatch):
    """A machine without TensorRT."""
    for module in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("verb", ["build", "verify", "inspect"])
def test_without_tensorrt_a_verb_ends_in_2_and_names_the_package(job, call, verb):
    code, _, told = call("engine", verb, job)
    assert code == 2
    assert "pip install 'sam-batch[tensorrt]'" in told
    assert not (job.parent / "engines").exists()


def test_without_tensorrt_a_job_that_asks_for_it_ends_in_2_before_it_starts(job, call):
    code, _, told = call("run", job, "engine.kind=tensorrt")
    assert code == 2
    assert "pip install 'sam-batch[tensorrt]'" in told
    assert not (job.parent / "out/plan").exists()


def test_export_hands_on_what_is_asked_for_and_says_what_is_there(job, call, monkeypatch):
    from sam_batch.job import settle

    asked = []

    def exported(*_, **keys):
        asked.append(keys)
        return SimpleNamespace(model="demo", precision="fp16", opset=23, attention=True, positions="tiled")

    monkeypatch.setattr(settle, "exported", exported)
    classic = "engine.tensorrt.flavour=classic"
    code, text, _ = call("engine", "export", job, classic, "--opset", 23, "--attention")
    wanted = {"positions": "written", "opset": 23, "attention": True, "prompts": False, "anew": False}
    assert (code, asked) == (0, [wanted])
    assert text.endswith(": demo in fp16, opset 23, positions tiled, with the Attention operator\n")


def test_export_into_a_folder_that_cannot_be_made_ends_in_2_and_names_it(job, call):
    (job.parent / "engines").write_text("")
    code, _, told = call("engine", "export", job)
    assert code == 2
    assert f"{job.parent}/engines/plans: cannot be made" in told


@pytest.mark.parametrize(("where", "verb"), [([], "build"), (["--cluster"], "build_on_cluster")])
def test_each_force_is_a_rebuild_of_its_own(job, call, monkeypatch, where, verb):
    from sam_batch.job import settle

    told = []
    monkeypatch.setattr(settle, verb, lambda *_, rebuild: told.append(rebuild))
    for force in ([], ["--force"], ["--force"]):
        assert call("engine", "build", job, *where, *force)[0] == 0
    assert told[0] is None
    assert len(set(told)) == 3


def test_to_build_ahead_needs_tensorrt_for_rtx(job, call):
    code, _, told = call("engine", "build", job, "--for", "8.9")
    assert code == 2
    assert "pip install 'sam-batch[tensorrt-rtx]'" in told


def test_what_is_built_ahead_is_for_the_gpus_that_are_named(job, call, monkeypatch):
    from sam_batch.job import settle

    asked = []
    monkeypatch.setattr(settle, "build_ahead", lambda config, checkpoint, ahead, *_, **__: asked.append(ahead))
    code, text, _ = call("engine", "build", job, "--for", "8.9", "--for", "12.0")
    assert (code, asked) == (0, [["8.9", "12.0"]])
    assert "built for 8.9, 12.0; the first job on such a GPU verifies them" in text
    code, _, told = call("engine", "build", job, "--for", "8.9", "--cluster")
    assert (code, "leave out --cluster" in told) == (2, True)


def test_an_interrupted_build_says_so_and_ends_in_130(job, call, monkeypatch):
    from sam_batch.job import settle

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(settle, "build", interrupt)
    code, _, told = call("engine", "build", job)
    assert (code, told.splitlines()[-1]) == (130, "interrupted")


def test_list_says_what_lies_there_and_for_which_gpu(job, call):
    assert "no engines; sam-batch engine build makes them" in call("engine", "list", job)[1]
    machine = Machine("11.4.0", "13", "linux-x86_64", "Stand-in", "9.0")
    key = PlanKey("encoder", "demo", "fp16", "a" * 64, "b" * 64, machine, {}, {})
    PlanStore(job.parent / "engines").store(key, b"plan", 1.0)
    line = call("engine", "list", job)[1]
    assert line.startswith(key.name)
    assert "TensorRT 11.4.0  Stand-in  not verified" in line
