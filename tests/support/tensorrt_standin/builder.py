"""The builder's side: parser, profiles, configuration, and plans that are the graphs themselves."""

import pickle
import re
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx.shape_inference import InferenceError

from sam_batch.engine.tensorrt.flavour import CLASSIC, RTX
from support.tensorrt_standin.imitation import HostMemory, Imitation, flavour_of
from support.tensorrt_standin.knobs import KNOBS
from support.tensorrt_standin.shapes import sizes


class TimingCache(Imitation):
    of = "ITimingCache"

    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> HostMemory:
        return HostMemory(self._data + b"measured")


class ParserError(Imitation):
    of = "ParserError"

    def __init__(self, reason: str, operator: str) -> None:
        self._reason, self._operator = reason, operator

    def desc(self) -> str:
        return self._reason

    def node(self) -> int:
        return 0 if self._operator else -1

    def node_name(self) -> str:
        return f"node_{self._operator}"

    def node_operator(self) -> str:
        return self._operator


class Profile(Imitation):
    of = "IOptimizationProfile"

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - the real names
        if any(size < 0 for size in (*min, *opt, *max)):
            raise RuntimeError("dimensions must be non-negative")
        self._shapes[input] = tuple(min), tuple(opt), tuple(max)


class BuilderConfig(Imitation):
    of = "IBuilderConfig"
    progress_monitor = None
    builder_optimization_level = 3
    profiling_verbosity = None
    num_compute_capabilities = 0
    max_aux_streams = -1

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._profiles: list[Profile] = []
        self._cleared: list[Any] = []
        self._flags: list[Any] = []
        self._target: Any = None

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        KNOBS.pool_limits.append(pool_size)

    def clear_flag(self, flag: Any) -> None:
        self._cleared.append(flag)

    def set_flag(self, flag: Any) -> None:
        self._flags.append(flag)

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        self._target = compute_capability
        return index < self.num_compute_capabilities and compute_capability != self.real.ComputeCapability.NONE

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        assert flavour_of(self.real) is CLASSIC, "timing caches of RTX do nothing, with a warning"
        return TimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        fits = KNOBS.timing_caches_fit or not cache._data or ignore_mismatch
        if fits:
            KNOBS.timing_caches.append(cache._data)
        return fits

    def add_optimization_profile(self, profile: Profile) -> int:
        for name, shapes in profile._shapes.items():
            if not all(low <= usual <= high for low, usual, high in zip(*shapes, strict=True)):
                text = f"Invalid optimization profiles for input tensors {name}, please ensure that MIN<=OPT<=MAX"
                self._logger.log(self.real.ILogger.ERROR, text)
                return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1


class Network(Imitation):
    of = "INetworkDefinition"

    def __init__(self) -> None:
        self._model = onnx.ModelProto()

    @property
    def num_outputs(self) -> int:
        return len(self._model.graph.output)


class Builder(Imitation):
    of = "Builder"

    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, self.real.ILogger)
        self._logger = logger

    def create_network(self, flags: int = 0) -> Network:
        typed = int(self.real.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        assert flags == 1 << typed, "networks are strongly typed, and nothing else"
        return Network()

    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig(self._logger)

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> HostMemory | None:
        error = self.real.ILogger.ERROR
        shapes = config._profiles[0]._shapes if config._profiles else {}
        free = [one.name for one in network._model.graph.input if -1 in sizes(one)]
        if any(name not in shapes for name in free):
            text = "Network has dynamic or shape inputs, but no optimization profile has been defined."
            self._logger.log(error, f"Error Code 4: API Usage Error ({text})")
            return None
        if not network._model.graph.output:
            self._logger.log(error, "Network must have at least one output")
            return None
        if flavour_of(self.real) is RTX:
            assert config._target is not None, "TensorRT for RTX is told what it builds for"
            assert self.real.BuilderFlag.REQUIRE_USER_ALLOCATION in config._flags, "without it nothing can be recorded"
        if not KNOBS.builds:
            self._logger.log(error, KNOBS.build_error)
            return None
        if not _drive(config.progress_monitor):
            self._logger.log(error, "Error Code 7: BuildCanceled (Build canceled by user)")
            return None
        _log_layers(self._logger, network._model)
        return HostMemory(pickle.dumps((self.real.__version__, network._model.SerializeToString(), shapes)))


def _log_layers(logger: Any, model: onnx.ModelProto) -> None:
    """As the builder ends its log where verbosity is DETAILED."""
    logger.log(logger.INFO, "Total Activation Memory: 4096 bytes")
    lines = [
        f"Name: {node.name}, LayerType: kgen, Inputs: [ {{ Name: x, Datatype: Float }}], Constants: [], "
        "Outputs: [ { Name: y, Dimensions: [-1,3], Datatype: Float, Format: (Linear) Row major linear format }], "
        f"TacticName: standin, StreamId: 0, Metadata: [ONNX Layer: {node.name}]"
        for node in model.graph.node
    ]
    logger.log(logger.VERBOSE, "\n".join(["Layers:", *lines]))


def _drive(monitor: Any) -> bool:
    """Report phases as the builder does; False if it was told to stop."""
    if monitor is None:
        return True
    monitor.phase_start("Building engine", None, KNOBS.steps)
    for step in range(KNOBS.steps):
        if KNOBS.on_step is not None:
            KNOBS.on_step()
        monitor.phase_start("Tactics", "Building engine", 1)
        monitor.step_complete("Tactics", 0)
        monitor.phase_finish("Tactics")
        if not monitor.step_complete("Building engine", step):
            monitor.phase_finish("Building engine")
            return False
    monitor.phase_finish("Building engine")
    return True


class OnnxParser(Imitation):
    of = "OnnxParser"

    def __init__(self, network: Network, logger: Any) -> None:
        assert isinstance(network, Network)
        assert isinstance(logger, self.real.ILogger)
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def parse_from_file(self, model: str) -> bool:
        if not Path(model).read_bytes():
            return True  # and a network without outputs
        try:
            onnx.checker.check_model(model)
            loaded = onnx.shape_inference.infer_shapes(onnx.load(model), check_type=True, strict_mode=True)
        except (DecodeError, onnx.checker.ValidationError, FileNotFoundError, InferenceError) as error:
            operator = re.search(r"op_type:\s*(\w+)|No Op registered for (\w+)|\(op_type:(\w+)", str(error))
            name = next((one for one in operator.groups() if one), "") if operator else ""
            self._errors.append(ParserError(str(error).strip().splitlines()[0], name))
            return False
        refused = next((node for node in loaded.graph.node if node.op_type == "NonZero"), None)
        if refused is not None and flavour_of(self.real) is RTX:
            self._errors.append(ParserError("NonZero plugin creator version 1 was not found", refused.op_type))
            return False
        self._network._model = loaded
        return True

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]
