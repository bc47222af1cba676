import pytest
import torch

from sam_batch.model.precision import cpu_multiplies_bfloat16


@pytest.mark.parametrize(("has", "expected"), [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)])
def test_which_cpus_multiply_bfloat16(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert cpu_multiplies_bfloat16() is expected
