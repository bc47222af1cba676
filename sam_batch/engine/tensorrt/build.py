"""One ONNX file to one TensorRT plan, in memory. One path serves TensorRT 10.3 to 11.4.

Networks are strongly typed: every precision is the one in the ONNX file, and TensorRT 11 knows no others. What a plan
is called and where it is kept is `tensorrt_plans`' work; whether it can be trusted, `verify`'s.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from sam_batch.engine.tensorrt.host import Host
from sam_batch.engine.tensorrt.log import Errors, get_logger, make_monitor
from sam_batch.engine.tensorrt.plans import Profile
from sam_batch.errors import EngineError

OPTIMIZATION_LEVEL = 3  # TensorRT's own default; part of every plan's key


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """What the builder made.

    Attributes:
        plan: To be stored.
        timing_cache: With this build's measurements; empty if there are none.
    """

    plan: bytes
    timing_cache: bytes


def options(workspace_bytes: int | None) -> dict[str, int | None]:
    """The builder's options as a plan's key holds them; without a limit scratch may take all of the GPU's memory."""
    return {"workspace_bytes": workspace_bytes, "optimization_level": OPTIMIZATION_LEVEL, "tf32": 0}


def build_plan(
    host: Host,
    onnx: Path,
    profiles: Mapping[str, Profile],
    options: Mapping[str, int | None],
    timing_cache: bytes,
    progress: Progress,
) -> BuiltPlan:
    """Build a plan for this machine; minutes for a large model.

    Args:
        host: Where it will run.
        onnx: With its weights beside it.
        profiles: For each input with a free size, its smallest, most usual and largest shape.
        options: What `options` returned.
        timing_cache: Of earlier builds on this kind of machine, or empty.
        progress: Gets one bar.

    Raises:
        EngineError: TensorRT refuses the graph, lacks memory, or does not start.
        KeyboardInterrupt: After the builder has stopped.
    """
    trt = host.trt
    logger, errors = get_logger(trt)
    errors.clear()
    builder = _start(trt, logger, errors)
    network = _parse(trt, builder, logger, onnx)
    config = _configure(trt, builder, profiles, options)
    cache = _use_timing_cache(config, timing_cache)
    plan = _build(trt, builder, network, config, progress, onnx.stem)
    if plan is None:
        reason = errors.text()
        raise EngineError(f"{onnx}: TensorRT could not build it: {reason}; {_cure(reason)}")
    measured = cache.serialize()
    return BuiltPlan(bytes(plan), b"" if measured is None else bytes(measured))


def _cure(reason: str) -> str:
    """A layer without an implementation is one whose scratch memory exceeds the limit, with memory to spare or not."""
    fewer = "lower engine.tensorrt.max_images or engine.tensorrt.max_prompts"
    if any(words in reason.lower() for words in ("any implementation", "insufficient")):
        return f"raise engine.tensorrt.workspace_bytes (null for all of the GPU's memory), or {fewer}"
    return f"if memory was short, end what else uses the GPU, or {fewer}"


def _start(trt: Any, logger: Any, errors: Errors) -> Any:
    try:
        return trt.Builder(logger)
    except TypeError as error:  # how the bindings say that the library returned nothing
        raise EngineError(
            f"TensorRT {trt.__version__} does not start: {errors.text()} ({error}); "
            "see whether nvidia-smi works and the driver is new enough for this TensorRT"
        ) from error


def _parse(trt: Any, builder: Any, logger: Any, onnx: Path) -> Any:
    # TensorRT 10 needs the flag, 11 ignores it; its number differs between them.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if network is None:
        raise EngineError(f"{onnx}: TensorRT made no network for it")
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        found = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = "; ".join(f"node {one.node()} {one.node_operator()} {one.node_name()}: {one.desc()}" for one in found)
        raise EngineError(
            f"{onnx}: TensorRT {trt.__version__} does not understand the graph: {reasons or 'no reason given'}; "
            "export it anew with an older opset (sam-batch engine export), or use a newer TensorRT"
        )
    return network


def _configure(trt: Any, builder: Any, profiles: Mapping[str, Profile], options: Mapping[str, int | None]) -> Any:
    config = builder.create_builder_config()
    if options["workspace_bytes"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options["workspace_bytes"])
    config.builder_optimization_level = options["optimization_level"]
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else `engine inspect` sees names alone
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in profiles.items():
        profile.set_shape(name, smallest, usual, largest)
    if profiles and config.add_optimization_profile(profile) < 0:
        raise EngineError(f"TensorRT refuses the shapes {dict(profiles)}")
    return config


def _use_timing_cache(config: Any, data: bytes) -> Any:
    """The measurements of earlier builds; those of another GPU or version are left aside."""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        if cache is None or not config.set_timing_cache(cache, False):
            raise EngineError("TensorRT takes no timing cache, not even an empty one")
    return cache


def _build(trt: Any, builder: Any, network: Any, config: Any, progress: Progress, title: str) -> Any:
    """In a thread of its own, so that this one hears Ctrl-C while the builder works."""
    cancelled = threading.Event()
    config.progress_monitor = make_monitor(trt, progress, title, cancelled)
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(builder.build_serialized_network, network, config).result()
        finally:
            cancelled.set()  # after Ctrl-C the builder still works, and leaving the block waits for it
