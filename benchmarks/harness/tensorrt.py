"""TensorRT engines for one measurement: exported, built and loaded from a temporary folder."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from segment_anything.modeling import Sam

from sam_batch.config import GeneratorConfig
from sam_batch.config_engine import TensorRTConfig
from sam_batch.engine.choice import EngineChoice
from sam_batch.engine.onnx.export import export
from sam_batch.engine.tensorrt import host as tensorrt_host
from sam_batch.engine.tensorrt.build import build_plan, options
from sam_batch.engine.tensorrt.engine import TensorRTEngine
from sam_batch.engine.tensorrt.plan_set import positions_for, profiles
from sam_batch.errors import ConfigError
from sam_batch.model.sam.family import SAM


def build(sam: Sam, generator: GeneratorConfig, choice: EngineChoice, own: Mapping[str, Any]) -> TensorRTEngine:
    """Build engines for the batches that a generator makes, and load them.

    Args:
        sam: The model.
        generator: Says how many prompts come at once.
        choice: Says the precision.
        own: Further settings, by their names in `TensorRTConfig`.

    Raises:
        ConfigError: TensorRT or a GPU is missing, or the precision is one that engines do not have.
        EngineError: TensorRT refuses.
    """
    host = tensorrt_host.find_host("auto")
    if choice.precision == "bf16":
        raise ConfigError("TensorRT engines are fp16 or fp32")
    settings = TensorRTConfig(max_prompts=min(1024, generator.points_per_batch), max_images=1, **own)
    with tempfile.TemporaryDirectory() as temporary, Progress(console=Console(stderr=True)) as progress:
        folder = Path(temporary)
        about = {"model": "benchmark", "checkpoint_sha256": "0" * 64, "precision": choice.precision}
        positions = positions_for(settings, choice.precision, host.flavour)
        graphs = export(sam, SAM, **about, folder=folder, positions=positions)
        plans, cache = {}, b""
        for name, shapes in profiles(graphs, settings).items():
            how = options(settings.workspace_bytes, settings.max_aux_streams)
            built = build_plan(host, folder / f"{name}.onnx", shapes, how, cache, progress)
            plans[name], cache = bytes(built.plan), built.timing_cache
    return TensorRTEngine(host, graphs, plans, SAM, sam, dict.fromkeys(plans, b""))
