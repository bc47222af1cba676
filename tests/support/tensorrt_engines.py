"""Engines built on the stand-in from a small SAM, for tests that need whole ones."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from sam_batch.config_engine import TensorRTConfig
from sam_batch.engine.protocol import Engine
from sam_batch.engine.tensorrt import engine_set, plan_set
from sam_batch.engine.tensorrt.engine_set import EngineSet
from sam_batch.engine.tensorrt.host import Host
from sam_batch.engine.verify import Photograph
from sam_batch.model.checkpoints import ResolvedCheckpoint, resolve_checkpoint
from sam_batch.records import UInt8Array
from support.export_once import ExportOnce
from support.pictures import picture
from support.small_sam import small_sam
from support.tensorrt_standin import machine

CHECKPOINT = ResolvedCheckpoint("demo", "weights.safetensors", "5a" * 32, 128)
QUIET = Console(quiet=True)
POSITIONS = "folded"
PICTURE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory, export_once: ExportOnce) -> Path:
    """A folder with the exported graphs of the small SAM in float32; to be copied, not built in."""
    folder = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        hold_small_sam(patch)
        patch.setattr(plan_set, "export", export_once)
        plan_set.exported(settings(folder), CHECKPOINT, "fp32", QUIET, positions=POSITIONS, prompts=True)
    return folder


def hold_small_sam(patch: pytest.MonkeyPatch, seed: int = 0) -> None:
    """Every checkpoint holds the small SAM's weights."""
    for module in (engine_set, plan_set):
        patch.setattr(module, "load_resolved", lambda _: small_sam(seed, lively=False))


def settings(folder: Path, **keys: Any) -> TensorRTConfig:
    """Few prompts at once, so that tests go through more than one chunk."""
    few = {"max_prompts": 4, "max_images": 2, "positions": POSITIONS}
    return TensorRTConfig(**({"folder": str(folder)} | few | keys))


def engine_set_in(
    host: Host, folder: Path, precision: str = "fp32", *, prompts: bool = False, **keys: Any
) -> EngineSet:
    """Engines in a folder, of what was exported there."""
    return EngineSet(host, settings(folder, **keys), CHECKPOINT, precision, prompts=prompts)


def built_engine(bindings: Any, exports: Path, folder: Path) -> Engine:
    """The small SAM's engine in float32 on the stand-in: built in a folder, verified and loaded."""
    shutil.copytree(exports, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        hold_small_sam(patch)
        return _ready(engine_set_in(machine.host(bindings), folder, prompts=True), PICTURE)


def built_demo(bindings: Any, export_once: ExportOnce, folder: Path) -> Engine:
    """The demo model's engine in half precision; likewise."""
    keys = settings(folder, max_images=1, positions="tiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_set, "export", export_once)
        host = machine.host(bindings)
        return _ready(EngineSet(host, keys, resolve_checkpoint("demo"), "fp16", prompts=True), picture(96, 128, 3))


def _ready(engines: EngineSet, photograph: UInt8Array) -> Engine:
    engines.build(QUIET)
    engines.verify([photograph], 0.0)
    return engines.load()


def photograph(seed: int = 0) -> Photograph:
    """Noise, with padding below."""
    image = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(seed))
    image[:, 96:] = 0
    return Photograph(image, 96, 128)
