import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pynvml
import pytest
import torch

from sam_batch.engine.tensorrt import host as tensorrt_host
from sam_batch.engine.tensorrt.flavour import CLASSIC, FLAVOURS, RTX
from sam_batch.errors import ConfigError, EngineError


def module(version="11.4.0"):
    return SimpleNamespace(__version__=version)


@pytest.fixture
def installed(monkeypatch):
    """What can be imported: nothing, until a test names something."""
    for flavour in FLAVOURS:
        monkeypatch.setitem(sys.modules, flavour.module, None)
    return lambda flavour, made=None: monkeypatch.setitem(sys.modules, flavour.module, made or module())


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that torch sees, and what its driver says of itself."""

    def imagine(capability=(8, 9), driver="580.1", cuda=13):
        replaced = {
            "is_available": lambda: True,
            "current_device": lambda: 0,
            "get_device_name": lambda device: "Imitated",
            "get_device_capability": lambda device: capability,
            "get_device_properties": lambda device: SimpleNamespace(total_memory=8 << 30),
            "Stream": lambda device: None,
        }
        for name, imitation in replaced.items():
            monkeypatch.setattr(tensorrt_host.torch.cuda, name, imitation)
        monkeypatch.setattr(tensorrt_host, "_driver", lambda: (driver, cuda))
        monkeypatch.setattr(tensorrt_host.torch.version, "cuda", "13.0")

    return imagine


@pytest.mark.parametrize(
    ("flavour", "advice"),
    [
        ("auto", r"pip install 'sam-batch\[tensorrt\]' or 'sam-batch\[tensorrt-rtx\]'"),
        ("classic", r"pip install 'sam-batch\[tensorrt\]', or"),
        ("rtx", r"pip install 'sam-batch\[tensorrt-rtx\]', or"),
    ],
)
def test_without_the_library_the_error_names_what_to_install(installed, flavour, advice):
    with pytest.raises(ConfigError, match=advice):
        tensorrt_host.find_host(flavour)


def test_without_a_gpu_the_error_says_so(installed, monkeypatch):
    installed(CLASSIC)
    monkeypatch.setattr(tensorrt_host.torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="needs a GPU"):
        tensorrt_host.find_host("auto")


def test_auto_takes_what_is_installed_and_classic_of_both(installed, gpu):
    gpu()
    installed(RTX)
    assert tensorrt_host.find_host("auto").flavour is RTX
    installed(CLASSIC)
    assert tensorrt_host.find_host("auto").flavour is CLASSIC
    assert tensorrt_host.find_host("rtx").flavour is RTX


def test_a_host_knows_what_its_plans_are_bound_to(installed, gpu):
    gpu()
    installed(CLASSIC)
    machine = tensorrt_host.find_host("auto").machine
    assert (machine.tensorrt, machine.cuda, machine.flavour) == ("11.4.0", "13", "classic")
    assert (machine.gpu, machine.compute_capability, machine.driver) == ("Imitated", "8.9", "580.1")
    assert "-" in machine.platform


def test_a_driver_too_old_for_the_library_is_refused_before_it_is_asked(installed, gpu):
    gpu(driver="570.1", cuda=12)
    installed(CLASSIC)
    with pytest.raises(ConfigError, match=r"is for CUDA 13, and the driver \(570\.1\) knows CUDA up to 12; bring"):
        tensorrt_host.find_host("auto")


def test_a_gpu_that_the_library_does_not_serve_is_refused(installed, gpu):
    gpu(capability=(9, 0))
    installed(RTX)
    with pytest.raises(ConfigError, match=r"serves GPUs .*8\.9.*, not 9\.0; pip install 'sam-batch\[tensorrt\]'"):
        tensorrt_host.find_host("auto")


def test_a_driver_that_does_not_answer_is_unknown(monkeypatch):
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "580.65.06")
    monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion_v2", lambda: 13010)
    assert tensorrt_host._driver() == ("580.65.06", 13)

    def refuse():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert tensorrt_host._driver() == ("unknown", 0)


class TestTarget:
    def test_it_needs_no_gpu_and_knows_nothing_but_the_capability(self, installed):
        installed(RTX, module("1.7.1"))
        target = tensorrt_host.find_target("auto", "12.0")
        machine = target.machine
        assert (machine.tensorrt, machine.compute_capability, machine.flavour) == ("1.7.1", "12.0", "rtx")
        assert (machine.gpu, machine.driver, machine.platform) == ("", "", "")

    def test_classic_cannot(self, installed):
        installed(CLASSIC)
        with pytest.raises(ConfigError, match="classic builds on the GPU that runs its engines"):
            tensorrt_host.find_target("classic", "8.9")
        with pytest.raises(ConfigError, match=r"pip install 'sam-batch\[tensorrt-rtx\]'"):
            tensorrt_host.find_target("auto", "8.9")

    @pytest.mark.parametrize("capability", ["7.5", "9.0", "10.0", "", "ada"])
    def test_what_the_library_does_not_serve_is_refused(self, installed, capability):
        installed(RTX)
        with pytest.raises(ConfigError, match=f"not {capability};"):
            tensorrt_host.find_target("rtx", capability)


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
            "get_device_properties": lambda device: SimpleNamespace(total_memory=8 << 30),
            "Stream": lambda device: own,
            "current_stream": lambda device: current,
            "synchronize": lambda device: calls.append("synchronize"),
            "CUDAGraph": lambda: SimpleNamespace(replay=lambda: calls.append("replay")),
            "graph": lambda graph, stream, capture_error_mode: nullcontext(calls.append("capture")),
        }
        for name, imitation in replaced.items():
            monkeypatch.setattr(tensorrt_host.torch.cuda, name, imitation)
        return tensorrt_host.CudaGpu(torch.device("cuda", 0), "580.1")

    def test_it_names_its_gpu(self, gpu):
        assert (gpu.name, gpu.compute_capability) == ("Imitated", "9.0")

    def test_work_is_done_once_on_a_stream_of_its_own_before_it_is_recorded(self, gpu, calls):
        replay = gpu.record(lambda stream: calls.append(f"work on {stream}"), lambda stream: True)
        assert calls == ["engine waits", "work on 7", "torch waits", "synchronize", "capture", "work on 7"]
        replay()
        assert calls[-1] == "replay"

    def test_what_cannot_be_recorded_is_enqueued_each_time(self, gpu, calls, monkeypatch, caplog):
        def refuse(*_, **__):
            raise RuntimeError("operation not permitted when stream is capturing")

        monkeypatch.setattr(tensorrt_host.torch.cuda, "graph", refuse)
        again = gpu.record(lambda stream: calls.append("work"), lambda stream: True)
        calls.clear()
        again()
        assert calls == ["engine waits", "work", "torch waits"]
        assert "no CUDA graph could be recorded" in caplog.text

    def test_what_tensorrt_says_cannot_be_recorded_is_not_tried(self, gpu, calls, caplog):
        again = gpu.record(lambda stream: calls.append("work"), lambda stream: stream != 7)
        assert "capture" not in calls
        calls.clear()
        again()
        assert calls == ["engine waits", "work", "torch waits"]
        assert "lets no CUDA graph be recorded" in caplog.text

    def test_work_that_tensorrt_refuses_to_record_is_enqueued_each_time(self, gpu, calls, caplog):
        def work(stream):
            if calls[-1] == "capture":
                raise EngineError("TensorRT does not run")
            calls.append("work")

        again = gpu.record(work, lambda stream: True)
        calls.clear()
        again()
        assert calls == ["engine waits", "work", "torch waits"]
        assert "no CUDA graph could be recorded" in caplog.text
