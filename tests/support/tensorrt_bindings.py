"""NVIDIA's own Python bindings of TensorRT, loaded without TensorRT.

The wheel of the bindings is small and public; the library behind it is neither small nor useful without a GPU. The
bindings ask the linker for a handful of functions, so libraries of functions that return nothing are enough to
import them: every class, enumeration and signature is then the real one, and nothing can be built or run. One
process can hold one version.
"""

import ctypes
import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from types import ModuleType

import pooch
import pytest
from filelock import FileLock

NEWEST = "tensorrt-cu13-bindings==11.4.0.106"
OLDEST = "tensorrt-cu12-bindings==10.3.0"
OTHERS = (OLDEST, "tensorrt-cu12-bindings==10.16.1.11", "tensorrt-cu12-bindings==11.0.0.114")
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
    """Import the bindings of a version; skips the test where PyPI or a C compiler is missing."""
    folder = fetch(requirement)
    for library in LIBRARIES:  # found by their names from now on
        ctypes.CDLL(str(folder / f"{library}.so.{_major(requirement)}"), ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(folder))
    return importlib.import_module("tensorrt_bindings")


def fetch(requirement: str) -> Path:
    """The folder with the bindings of a version, downloaded once a user; skips the test as `load` does."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler, which the stand-in of TensorRT's libraries needs")
    folder = Path(pooch.os_cache("sam-batch-tests")) / f"{requirement}-{sys.implementation.cache_tag}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            _unpack(requirement, folder)
            _compile(compiler, folder, _major(requirement))
            (folder / "complete").touch()
    return folder


def _major(requirement: str) -> str:
    return re.search(r"==(\d+)\.", requirement)[1]


def _unpack(requirement: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
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


def _compile(compiler: str, folder: Path, major: str) -> None:
    source = folder / "empty.c"
    source.write_text(EMPTY_FUNCTIONS)
    for library in LIBRARIES:
        name = f"{library}.so.{major}"
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run(command, check=True, timeout=60)
