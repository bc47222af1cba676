"""The same tests on the bindings of other versions of TensorRT, of which one process can hold one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import tensorrt_bindings

ROOT = Path(__file__).parents[3]
TESTS = [str(Path(__file__).with_name(f"test_{name}.py")) for name in ("build", "run", "log", "inspect")]
RTX_HAS_NONE = ["-k", "not TimingCache"]


@pytest.mark.parametrize("requirement", tensorrt_bindings.OTHERS)
def test_plans_are_built_and_run_by_other_versions(requirement):
    tensorrt_bindings.require(requirement)  # skips here, with its reason
    environment = os.environ | {tensorrt_bindings.VARIABLE: requirement}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    command += RTX_HAS_NONE if requirement == tensorrt_bindings.RTX else []
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
