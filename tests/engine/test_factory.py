import pickle

import pytest
import torch
from support.jobs import job_config
from support.small_sam import small_sam

from sam_batch.config import EngineConfig
from sam_batch.engine import factory
from sam_batch.engine.choice import FakeChoice, TensorRTChoice, TorchChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.engine.fake import FakeEngine
from sam_batch.errors import ConfigError, EngineError, EngineFileError
from sam_batch.model.checkpoints import ResolvedCheckpoint


@pytest.mark.parametrize(
    ("asked", "has_gpus", "expected"),
    [
        ({"precision": "fp32"}, False, TorchChoice("fp32", "cpu")),
        ({}, True, TorchChoice("fp16", "cuda")),
        ({"precision": "bf16"}, True, TorchChoice("bf16", "cuda")),
        ({"precision": "fp16"}, False, TorchChoice("fp16", "cpu")),
        ({"kind": "torch", "precision": "fp32", "device": "cuda"}, True, TorchChoice("fp32", "cuda")),
        ({"kind": "fake", "device": "auto"}, True, FakeChoice()),
    ],
)
def test_auto_is_what_the_hardware_allows(asked, has_gpus, expected):
    choice = factory.resolve(EngineConfig(**asked), has_gpus)
    assert choice == expected
    assert pickle.loads(pickle.dumps(choice)) == choice


@pytest.mark.parametrize("has", [{}, {"avx512_bf16": True, "amx_bf16": True}])
def test_automatic_precision_is_float32_on_every_cpu(has, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert factory.resolve(EngineConfig(), has_gpus=False).precision == "fp32"
    assert factory.resolve(EngineConfig(device="cpu"), has_gpus=True).precision == "fp32"
    assert factory.resolve(EngineConfig(), has_gpus=True).precision == "fp16"


def test_weights_are_those_of_the_configured_model():
    config = job_config("photos", "out", model={"name": "demo"}, engine={"kind": "torch"})
    assert factory.resolve_weights(config).name == "demo"


def test_a_gpu_that_is_not_there_is_refused_by_key():
    with pytest.raises(ConfigError, match=r"^engine\.device: cuda .* no GPU"):
        factory.resolve(EngineConfig(device="cuda"), has_gpus=False)


def test_a_fake_engine_needs_no_weights():
    config = job_config("photos", "out", model={"name": "vit_h"}, engine={"kind": "fake"})
    assert factory.resolve_weights(config) == FAKE
    assert isinstance(factory.build(FakeChoice(), FAKE), FakeEngine)


def test_a_worker_without_its_gpu_says_so_before_it_reads_weights(monkeypatch):
    monkeypatch.setattr(factory.torch.cuda, "is_available", lambda: False)
    missing = ResolvedCheckpoint("vit_b", "nowhere.pth", "0" * 64, 1024)
    with pytest.raises(EngineError, match="no GPU"):
        factory.build(TorchChoice("fp16", "cuda"), missing)


def test_a_torch_engine_holds_what_was_resolved(monkeypatch):
    checkpoint = ResolvedCheckpoint("vit_b", "weights.pth", "0" * 64, 128)
    monkeypatch.setattr(factory, "load_resolved", {checkpoint: small_sam()}.__getitem__)
    spec = factory.build(TorchChoice("bf16", "cpu"), checkpoint).spec
    assert (spec.kind, spec.model, spec.precision, spec.device) == ("torch", "vit_b", "bf16", "cpu")
    assert spec.image_side == checkpoint.image_side


def test_the_worker_gets_the_threads_it_is_given():
    factory.build(FakeChoice(), FAKE, threads=2)
    assert torch.get_num_threads() == 2
    factory.build(FakeChoice(), FAKE, threads=None)
    assert torch.get_num_threads() == 2
    factory.build(FakeChoice(), FAKE, threads=1)
    assert torch.get_num_threads() == 1


def test_tensorrt_is_taken_at_its_word_and_knows_where_engines_lie():
    asked = EngineConfig(kind="tensorrt", tensorrt={"folder": "/engines"})
    choice = factory.resolve(asked, has_gpus=False)
    assert choice == TensorRTChoice("fp16", asked.tensorrt)
    assert pickle.loads(pickle.dumps(choice)) == choice
    assert factory.resolve(EngineConfig(kind="tensorrt", precision="fp32"), True).precision == "fp32"


def test_tensorrt_has_no_bfloat16():
    with pytest.raises(ConfigError, match=r"engine\.precision: .* not bf16"):
        factory.tensorrt_choice(EngineConfig(precision="bf16"))


def test_the_fake_engine_has_no_tensorrt_engines():
    with pytest.raises(ConfigError, match=r"engine\.kind: the fake engine has no TensorRT engines; set auto"):
        factory.tensorrt_choice(EngineConfig(kind="fake"))


def test_a_worker_loads_tensorrt_engines_that_were_built_and_no_others(host, tmp_path, monkeypatch):
    monkeypatch.setattr(factory.tensorrt_host, "find_host", lambda flavour: host)
    choice = factory.tensorrt_choice(EngineConfig(kind="tensorrt", tensorrt={"folder": str(tmp_path)}))
    with pytest.raises(EngineFileError, match="sam-batch engine build"):
        factory.build(choice, ResolvedCheckpoint("demo", "weights", "a" * 64, 256))
