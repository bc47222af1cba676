import sys

import pytest

from sam_batch.engine import tensorrt_host
from sam_batch.errors import ConfigError


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
