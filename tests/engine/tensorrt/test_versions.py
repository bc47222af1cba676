"""The same tests on the bindings of other versions of TensorRT, of which one process can hold one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.tensorrt_bindings import OTHERS, RTX, VARIABLE, require

ROOT = Path(__file__).parents[3]
TESTS = [str(Path(__file__).with_name(f"test_{name}.py")) for name in ("build", "run", "log", "inspect", "standin")]
WITHOUT_THE_LIBRARY = "not rtx"  # that `test_standin` holds the stand-in against
RTX_HAS_NONE = " and not TimingCache"

# Imports what takes seconds once, and divides for each version that it reads the name of.
DIVIDE = f"""
import json, os, sys
import pytest
from support import tensorrt_engines
for line in sys.stdin:
    requirement, arguments = json.loads(line)
    if os.fork() == 0:
        os.environ["{VARIABLE}"] = requirement
        code = pytest.main(["-q", "-p", "no:cacheprovider", *arguments])
        sys.stdout.flush()
        os._exit(code)
    print("ended", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.fixture(scope="module")
def divider():
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with subprocess.Popen(
        [sys.executable, "-c", DIVIDE],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


@pytest.mark.parametrize("requirement", OTHERS)
def test_plans_are_built_and_run_by_other_versions(divider, requirement):
    require(requirement)  # skips here, with its reason
    which = WITHOUT_THE_LIBRARY + (RTX_HAS_NONE if requirement == RTX else "")
    given = requirement, [*TESTS, "-k", which]
    print(json.dumps(given), file=divider.stdin, flush=True)
    told = []
    for line in divider.stdout:
        told.append(line)
        if line.startswith("ended "):
            break
    assert told[-1:] == ["ended 0\n"], "".join(told)
    assert "skipped" not in "".join(told)
