"""One ONNX file to one TensorRT plan, in memory. One path serves TensorRT 10.3 to 11.4, and TensorRT for RTX.

Networks are strongly typed: every precision is the one in the ONNX file, and TensorRT 11 knows no others. What a plan
is called and where it is kept is `plans`' work; whether it can be trusted, `engine.verify`'s.
"""

import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from sam_batch.engine.tensorrt.host import Target
from sam_batch.engine.tensorrt.inspect import Inspection, read_log, summarise
from sam_batch.engine.tensorrt.log import get_logger, make_monitor, start
from sam_batch.engine.tensorrt.plan_key import Profile
from sam_batch.errors import EngineError

OPTIMIZATION_LEVEL = 3  # TensorRT's own default; part of every plan's key


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """What the builder made.

    Attributes:
        plan: To be stored; TensorRT's own memory, which can be gigabytes.
        timing_cache: With this build's measurements; empty if there are none.
        inside: What the builder has said of it; None where it has said nothing.
    """

    plan: memoryview
    timing_cache: bytes
    inside: Inspection | None


def options(workspace_bytes: int | None, max_aux_streams: int | None = None) -> dict[str, int | None]:
    """The builder's options as a plan's key holds them.

    Args:
        workspace_bytes: The most memory for scratch; None for all of the GPU's.
        max_aux_streams: The most streams beside the main one; None for the library to choose.
    """
    found = {"workspace_bytes": workspace_bytes, "optimization_level": OPTIMIZATION_LEVEL, "tf32": 0}
    return found if max_aux_streams is None else {**found, "max_aux_streams": max_aux_streams}


def build_plan(
    target: Target,
    onnx: Path,
    profiles: Mapping[str, Profile],
    options: Mapping[str, int | None],
    timing_cache: bytes,
    progress: Progress,
) -> BuiltPlan:
    """Build a plan; minutes for a large model.

    Args:
        target: What it is built with, and for.
        onnx: With its weights beside it.
        profiles: For each input with a free size, its smallest, most usual and largest shape.
        options: What `options` returned.
        timing_cache: Of earlier builds on this kind of machine, or empty.
        progress: Gets one bar.

    Raises:
        EngineError: TensorRT refuses the graph, lacks memory, or does not start.
        KeyboardInterrupt: After TensorRT has stopped.
    """
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        # All of it in a thread that hears no Ctrl-C: TensorRT swallows what is raised while it calls the logger.
        try:
            return pool.submit(_build, target, onnx, profiles, options, timing_cache, progress, cancelled).result()
        finally:
            cancelled.set()  # after Ctrl-C TensorRT still works, and leaving the block waits for it


def _build(
    target: Target,
    onnx: Path,
    profiles: Mapping[str, Profile],
    options: Mapping[str, int | None],
    timing_cache: bytes,
    progress: Progress,
    cancelled: threading.Event,
) -> BuiltPlan:
    trt = target.trt
    builder = start(trt, "Builder")
    network = _parse(trt, builder, onnx)
    config = _configure(target, builder, profiles, options)
    cache = None if target.flavour.builds_anywhere else _use_timing_cache(config, timing_cache)
    config.progress_monitor = make_monitor(trt, progress, onnx.stem, cancelled)
    _, errors = get_logger(trt)
    errors.clear()  # of timing caches, which say nothing of this build
    plan = None if cancelled.is_set() else builder.build_serialized_network(network, config)
    if plan is None:
        reason = errors.text()
        raise EngineError(f"{onnx}: TensorRT could not build it: {reason}; {_cure(reason, options)}")
    measured = cache.serialize() if cache is not None else None
    layers = list(read_log(errors.layers))
    inside = summarise(onnx.stem, layers, errors.activation_bytes) if layers else None
    return BuiltPlan(memoryview(plan).cast("B"), b"" if measured is None else bytes(measured), inside)


def _cure(reason: str, options: Mapping[str, int | None]) -> str:
    """What to do about TensorRT's reason.

    A layer without an implementation is one whose scratch memory exceeds the limit, with memory to spare or not.
    """
    words, fewer = reason.lower(), "lower engine.tensorrt.max_images or engine.tensorrt.max_prompts"
    if "driver" in words or "cudaerror" in words:
        return "see whether nvidia-smi works and the driver is new enough for this TensorRT"
    out_of_workspace = ("any implementation", "no tactics", "workspace limit", "insufficient")
    limited = options["workspace_bytes"] is not None and "requested size" in words
    if limited or any(one in words for one in out_of_workspace):
        return f"raise engine.tensorrt.workspace_bytes (null for all of the GPU's memory), or {fewer}"
    return f"if memory was short, end what else uses the GPU, or {fewer}"


def _parse(trt: Any, builder: Any, onnx: Path) -> Any:
    # TensorRT 10 needs the flag, 11 ignores it; its number differs between them.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if network is None:
        raise EngineError(f"{onnx}: TensorRT made no network for it")
    logger, _ = get_logger(trt)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)) or not network.num_outputs:  # to TensorRT an empty file is a graph
        found = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = "; ".join(map(_describe, found)) or "it has no outputs"
        cure = "export it anew: sam-batch engine export CONFIG --force"
        if any(error.node() >= 0 for error in found):
            cure += ", with an older --opset; or use a newer TensorRT"
        raise EngineError(f"{onnx}: TensorRT {trt.__version__} does not understand the graph: {reasons}; {cure}")
    return network


def _describe(error: Any) -> str:
    """A parser's error in one line; those outside of nodes are of a node -1."""
    where = f"node {error.node()} {error.node_operator()} {error.node_name()}: " if error.node() >= 0 else ""
    return where + re.sub(r"\s+", " ", error.desc()).strip()


def _configure(target: Target, builder: Any, profiles: Mapping[str, Profile], options: Mapping[str, int | None]) -> Any:
    trt, config = target.trt, builder.create_builder_config()
    if options["workspace_bytes"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options["workspace_bytes"])
    config.builder_optimization_level = options["optimization_level"]
    if "max_aux_streams" in options:
        config.max_aux_streams = options["max_aux_streams"]
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else `engine inspect` sees names alone
    target.flavour.configure(trt, config, target.machine.compute_capability)
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in profiles.items():
        profile.set_shape(name, smallest, usual, largest)
    _, errors = get_logger(trt)
    errors.clear()
    if profiles and config.add_optimization_profile(profile) < 0:
        raise EngineError(f"TensorRT refuses the shapes {dict(profiles)}: {errors.text()}")
    return config


def _use_timing_cache(config: Any, data: bytes) -> Any:
    """The measurements of earlier builds; those of another GPU or version are left aside."""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        if cache is None or not config.set_timing_cache(cache, False):
            raise EngineError("TensorRT takes no timing cache, not even an empty one")
    return cache
