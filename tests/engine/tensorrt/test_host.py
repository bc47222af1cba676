import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from sam_batch.engine.tensorrt import host as tensorrt_host
from sam_batch.errors import ConfigError, EngineError


def test_without_the_package_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ConfigError, match=r"pip install 'sam-batch\[tensorrt\]'"):
        tensorrt_host.find_host()


def test_without_a_gpu_the_error_says_so(host, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", host.trt)
    monkeypatch.setattr(tensorrt_host.torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="needs a GPU"):
        tensorrt_host.find_host()


def test_a_host_knows_what_its_plans_are_bound_to(host):
    machine = host.machine
    assert machine.tensorrt == host.trt.__version__
    assert (machine.gpu, machine.compute_capability, machine.cuda) == ("Stand-in", "9.0", "13")
    assert "-" in machine.platform


@pytest.mark.parametrize(
    ("installed", "major"),
    [
        ({}, "15"),
        ({"12": "10.3.0"}, "12"),
        ({"13": "11.4.0.106.post1"}, "13"),
        ({"12": "11.4.0.106", "13": "11.0.0.114"}, "12"),
        ({"12": "11.4.0.106", "13": "11.4.0.106"}, "15"),
    ],
)
def test_cuda_is_the_one_that_the_imported_package_is_for(tmp_path, monkeypatch, installed, major):
    for cuda, version in installed.items():
        folder = tmp_path / f"tensorrt_cu{cuda}_bindings-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: tensorrt-cu{cuda}-bindings\nVersion: {version}\n")
    (tmp_path / "broken-1.0.dist-info").mkdir()  # without METADATA, as an interrupted uninstallation leaves it
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(tensorrt_host.torch.version, "cuda", "15.1")
    assert tensorrt_host._cuda_major("11.4.0.106") == major


class TestCudaGpu:
    """The order of its calls, on imitated streams; that CUDA honours it, these tests cannot show."""

    @pytest.fixture
    def calls(self):
        return []

    @pytest.fixture
    def gpu(self, calls, monkeypatch):
        def stream(name, handle):
            return SimpleNamespace(cuda_stream=handle, wait_stream=lambda other: calls.append(f"{name} waits"))

        current, own = stream("torch", 0), stream("engine", 7)
        replaced = {
            "get_device_name": lambda device: "Imitated",
            "get_device_capability": lambda device: (9, 0),
            "Stream": lambda device: own,
            "current_stream": lambda device: current,
            "synchronize": lambda device: calls.append("synchronize"),
            "CUDAGraph": lambda: SimpleNamespace(replay=lambda: calls.append("replay")),
            "graph": lambda graph, stream, capture_error_mode: nullcontext(calls.append("capture")),
        }
        for name, imitation in replaced.items():
            monkeypatch.setattr(tensorrt_host.torch.cuda, name, imitation)
        return tensorrt_host.CudaGpu(torch.device("cuda", 0))

    def test_it_names_its_gpu(self, gpu):
        assert (gpu.name, gpu.compute_capability) == ("Imitated", "9.0")

    def test_work_is_done_once_on_a_stream_of_its_own_before_it_is_recorded(self, gpu, calls):
        replay = gpu.record(lambda stream: calls.append(f"work on {stream}"))
        assert calls == ["engine waits", "work on 7", "torch waits", "synchronize", "capture", "work on 7"]
        replay()
        assert calls[-1] == "replay"

    def test_what_cannot_be_recorded_is_enqueued_each_time(self, gpu, calls, monkeypatch, caplog):
        def refuse(*_, **__):
            raise RuntimeError("operation not permitted when stream is capturing")

        monkeypatch.setattr(tensorrt_host.torch.cuda, "graph", refuse)
        again = gpu.record(lambda stream: calls.append("work"))
        calls.clear()
        again()
        assert calls == ["engine waits", "work", "torch waits"]
        assert "no CUDA graph could be recorded" in caplog.text

    def test_work_that_tensorrt_refuses_to_record_is_enqueued_each_time(self, gpu, calls, caplog):
        def work(stream):
            if calls[-1] == "capture":
                raise EngineError("TensorRT does not run")
            calls.append("work")

        again = gpu.record(work)
        calls.clear()
        again()
        assert calls == ["engine waits", "work", "torch waits"]
        assert "no CUDA graph could be recorded" in caplog.text
