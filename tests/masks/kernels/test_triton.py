"""That the kernels compile, which needs no GPU. What they compute is tested where they are launched."""

import re
import subprocess

import pytest

triton = pytest.importorskip("triton", reason="torch brings Triton along on Linux alone")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from sam_batch.masks.kernels import triton as kernels_cuda  # noqa: E402

POINTERS = {"low": "*fp32", "found": "*i32", "table": "*i64", "words": "*i32", "y_at": "*i32", "x_at": "*i32",
            "y_far": "*fp32", "x_far": "*fp32"}  # fmt: skip
LEVEL_TYPES = dict.fromkeys(("above", "threshold", "below"), "fp32")


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("kernel", ["measure_strip", "cut_strip"])
@pytest.mark.parametrize("reach", [0, 8, 16])
def test_the_kernels_compile_and_spill_next_to_nothing(architecture, kernel, reach, monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = getattr(kernels_cuda, kernel)
    types = POINTERS | LEVEL_TYPES | dict.fromkeys(kernels_cuda.SIZES, "i32") | {"REACH": "constexpr"}
    source = ASTSource(function, {name: types[name] for name in function.arg_names}, {"REACH": reach})
    target = GPUTarget("cuda", architecture, 32)
    compiled = triton.compile(source, target=target, options=kernels_cuda.OPTIONS)
    (tmp_path / "cubin").write_bytes(compiled.asm["cubin"])
    used = subprocess.check_output([triton.knobs.nvidia.cuobjdump.path, "-res-usage", tmp_path / "cubin"], text=True)
    assert max(map(int, re.findall(r"(?:STACK|LOCAL):(\d+)", used))) <= 64  # bytes of a thread
