import sys
from dataclasses import replace

import pytest

from sam_batch.engine.tensorrt.flavour import CLASSIC, FLAVOURS, RTX
from sam_batch.engine.tensorrt.plan_key import Machine
from sam_batch.errors import ConfigError

MACHINE = Machine("1.7.1", "13", "linux-x86_64", "RTX 4090", "8.9", "rtx", "580.1")


@pytest.mark.parametrize(
    ("there", "major"),
    [
        ({}, None),
        ({"12": "10.3.0"}, "12"),
        ({"13": "11.4.0.106.post1"}, "13"),
        ({"12": "11.4.0.106", "13": "11.0.0.114"}, "12"),
        ({"12": "11.4.0.106", "13": "11.4.0.106"}, None),
    ],
)
@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda one: one.name)
def test_cuda_is_the_one_that_the_imported_package_is_for(tmp_path, monkeypatch, flavour, there, major):
    for cuda, version in there.items():
        name = flavour.bindings.format(cuda)
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (tmp_path / "broken-1.0.dist-info").mkdir()  # without METADATA, as an interrupted uninstallation leaves it
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert flavour.cuda_major("11.4.0.106") == major


def test_a_plan_of_classic_is_one_gpus_and_one_of_rtx_a_capabilitys():
    other = replace(MACHINE, gpu="L4", driver="590.1")
    assert RTX.bound_to(MACHINE) == RTX.bound_to(other)
    assert CLASSIC.bound_to(MACHINE) != CLASSIC.bound_to(other)
    assert CLASSIC.bound_to(MACHINE) == CLASSIC.bound_to(replace(MACHINE, driver="590.1"))
    for change in ({"compute_capability": "8.6"}, {"tensorrt": "1.8"}, {"cuda": "12"}):
        assert RTX.bound_to(MACHINE) != RTX.bound_to(replace(MACHINE, **change))


def test_rtx_is_verified_for_each_gpu_and_driver():
    for change in ({"gpu": "L4"}, {"driver": "590.1"}):
        assert RTX.verified_on(MACHINE) != RTX.verified_on(replace(MACHINE, **change))
    assert CLASSIC.verified_on(MACHINE) == CLASSIC.verified_on(replace(MACHINE, driver="590.1"))


def test_only_rtx_has_a_list_of_gpus():
    for capability in ("7.5", "9.0"):
        CLASSIC.require_served(capability)
        with pytest.raises(ConfigError, match=f"not {capability}"):
            RTX.require_served(capability)
    RTX.require_served("8.9")
