"""NVIDIA's own Python bindings of TensorRT, loaded without TensorRT.

The wheel of the bindings is small and public; the library behind it is neither small nor useful without a GPU. The
bindings ask the linker for a handful of functions, so libraries of functions that return nothing are enough to
import them: every class, enumeration and signature is then the real one, and nothing can be built or run. One
process can hold one version.
"""

import ctypes
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import pooch
import pytest
from filelock import FileLock

NEWEST = "tensorrt-cu13-bindings==11.4.0.106"
OLDEST = "tensorrt-cu12-bindings==10.3.0"
RTX = "tensorrt_rtx"  # a whole library, of the packages for development
OTHERS = (OLDEST, "tensorrt-cu12-bindings==10.16.1.11", "tensorrt-cu12-bindings==11.0.0.114", RTX)
LEAN = "tensorrt-lean-cu13-{}==11.4.0.106"  # wheels of libraries, 45 MB, and of bindings
OLDER_LEAN = ("tensorrt-lean-cu12-{}==10.16.1.11", "tensorrt-lean-cu12-{}==11.0.0.114")
VARIABLE = "SAM_BATCH_TEST_TENSORRT"  # names another version for a whole run of tests

# What the bindings link against, declared in TensorRT's public headers.
EMPTY_FUNCTIONS = """
void *createInferBuilder_INTERNAL(void *logger, int version) { return 0; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { return 0; }
void *createInferRuntime_INTERNAL(void *logger, int version) { return 0; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { return 0; }
void *getBuilderPluginRegistry(int capability) { return 0; }
void *getPluginRegistry(void) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
int initLibNvInferPlugins(void *logger, const char *name) { return 0; }
"""
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")


@cache
def load(requirement: str) -> ModuleType:
    """Import the bindings of a version; skips the test where PyPI, a C compiler or a wheel is missing."""
    if requirement == RTX:
        return pytest.importorskip(RTX, reason="there is no wheel of TensorRT for RTX for this machine")
    folder = fetch(requirement)
    for library in LIBRARIES:  # found by their names from now on
        ctypes.CDLL(str(folder / f"{library}.so.{_major(requirement)}"))
    sys.path.insert(0, str(folder))
    return importlib.import_module("tensorrt_bindings")


def require(requirement: str) -> None:
    """Skip the test where `load` would, without loading what this process may hold in another version."""
    if requirement != RTX:
        fetch(requirement)
    elif importlib.util.find_spec(RTX) is None:
        pytest.skip("there is no wheel of TensorRT for RTX for this machine")


def fetch(requirement: str) -> Path:
    """The folder with the bindings of a version, downloaded once a user; skips the test as `load` does."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler, which the stand-in of TensorRT's libraries needs")

    def fill(folder: Path) -> None:
        _unpack(requirement, folder)
        _compile(compiler, folder, _major(requirement))

    return _kept(requirement, fill)


def fetch_lean(requirement: str) -> Path:
    """A folder with NVIDIA's lean runtime of classic TensorRT, which loads plans and builds none; as `fetch`."""

    def fill(folder: Path) -> None:
        for part in ("libs", "bindings"):
            _unpack(requirement.format(part), folder)

    return _kept(requirement.format("libs"), fill)


def _kept(name: str, fill: Callable[[Path], None]) -> Path:
    """A folder that is filled once a user."""
    folder = Path(pooch.os_cache("sam-batch-tests")) / f"{name}-{sys.implementation.cache_tag}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            fill(folder)
            (folder / "complete").touch()
    return folder


def _major(requirement: str) -> str:
    return re.search(r"==(\d+)\.", requirement)[1]


def _unpack(requirement: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", f"--dest={folder}", requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{requirement} cannot be downloaded: it takes more than two minutes")
    if done.returncode:
        reason = (done.stderr.strip() or "pip gave no reason").splitlines()[-1]
        pytest.skip(f"{requirement} cannot be downloaded: {reason}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    wheel.unlink()


def _compile(compiler: str, folder: Path, major: str) -> None:
    source = folder / "empty.c"
    source.write_text(EMPTY_FUNCTIONS)
    for library in LIBRARIES:
        name = f"{library}.so.{major}"
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run(command, check=True, timeout=60)
