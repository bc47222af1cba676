"""The runtime's side: plans run by ONNX Runtime, on the addresses that they are given."""

import ctypes
import json
import pickle
from typing import Any

import numpy as np
import onnx
import onnxruntime

from support.tensorrt_standin.gpu import CpuGpu
from support.tensorrt_standin.imitation import HostMemory, Imitation
from support.tensorrt_standin.knobs import KNOBS
from support.tensorrt_standin.shapes import named_sizes, sizes


class Runtime(Imitation):
    of = "Runtime"

    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, self.real.ILogger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "CudaEngine | None":
        KNOBS.plans_loaded += 1
        try:
            version, model, shapes = pickle.loads(serialized_engine)
        except (pickle.UnpicklingError, EOFError, ValueError):
            self._logger.log(self.real.ILogger.ERROR, "Magic tag does not match")
            return None
        if version != self.real.__version__:
            self._logger.log(self.real.ILogger.ERROR, "Version tag does not match")
            return None
        return CudaEngine(onnx.load_from_string(model), shapes)


class CudaEngine(Imitation):
    of = "ICudaEngine"
    device_memory_size_v2 = 1 << 12

    def __init__(self, model: onnx.ModelProto, shapes: dict[str, Any]) -> None:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        self._model, self._shapes = model, shapes
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), settings)
        self._inputs = {one.name: one for one in model.graph.input}
        self._outputs = {one.name: one for one in model.graph.output}

    @property
    def num_io_tensors(self) -> int:
        return len(self._inputs) + len(self._outputs)

    def get_tensor_name(self, index: int) -> str:
        return [*self._inputs, *self._outputs][index]

    def get_tensor_mode(self, name: str) -> Any:
        return self.real.TensorIOMode.INPUT if name in self._inputs else self.real.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        kinds = {onnx.TensorProto.FLOAT: self.real.DataType.FLOAT, onnx.TensorProto.FLOAT16: self.real.DataType.HALF}
        return kinds[(self._inputs | self._outputs)[name].type.tensor_type.elem_type]

    def get_tensor_shape(self, name: str) -> Any:
        """As in the library, a size that the profile leaves no choice is not free."""
        fixed: dict[Any, int] = {}
        for one, (low, _, high) in self._shapes.items():
            ranges = zip(named_sizes(self._inputs[one]), low, high, strict=True)
            fixed |= {size: least for size, least, largest in ranges if least == largest}
        declared = named_sizes((self._inputs | self._outputs)[name])
        return self.real.Dims([fixed.get(one, -1) if isinstance(one, str) else one for one in declared])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        assert profile_index == 0
        fixed = [sizes(self._inputs[name])] * 3
        return [self.real.Dims(one) for one in self._shapes.get(name, fixed)]

    def create_execution_context(self, strategy: Any = None) -> "Context | None":
        if isinstance(strategy, RuntimeConfig):
            eager = self.real.DynamicShapesKernelSpecializationStrategy.EAGER
            chosen = strategy.dynamic_shapes_kernel_specialization_strategy
            assert chosen == eager, "a recording would for ever hold the kernels that serve until others are compiled"
            strategy._cache._data += b"compiled"
            strategy = strategy._strategy
        return Context(self, strategy) if KNOBS.contexts else None

    def create_runtime_config(self) -> "RuntimeConfig":
        return RuntimeConfig()

    def create_engine_inspector(self) -> "Inspector":
        return Inspector(self._model)


class RuntimeCache(Imitation):
    of = "IRuntimeCache"

    def __init__(self) -> None:
        self._data = b""

    def deserialize(self, blob: bytes) -> bool:
        fits = blob.startswith(b"compiled")
        self._data = blob if fits else self._data
        return fits

    def serialize(self) -> HostMemory:
        return HostMemory(self._data)


class RuntimeConfig(Imitation):
    of = "IRuntimeConfig"
    dynamic_shapes_kernel_specialization_strategy = None

    def __init__(self) -> None:
        self._strategy: Any = None
        self._cache = RuntimeCache()

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self._cache = cache
        return True


class Inspector(Imitation):
    of = "EngineInspector"

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model

    def get_engine_information(self, format: Any) -> str:  # noqa: A002 - the real name
        assert format == self.real.LayerInformationFormat.JSON
        eleven = self.real.__version__.startswith("11")
        form = {"Format": "Linear", "DataType": "Half"} if eleven else {"Format/Datatype": "Row major linear FP16"}
        layers = [
            {"Name": one.name or one.op_type, "LayerType": one.op_type, "Outputs": [form], "TacticName": "standin"}
            for one in self._model.graph.node
        ]
        return json.dumps({"Layers": layers, "I/O Tensors" if eleven else "Bindings": []})


class Context(Imitation):
    of = "IExecutionContext"

    def __init__(self, engine: CudaEngine, strategy: Any) -> None:
        self._engine = engine
        owns_memory = strategy != self.real.ExecutionContextAllocationStrategy.USER_MANAGED
        self._memory = engine.device_memory_size_v2 if owns_memory else 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory
        self._memory = size

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = map(tuple, self._engine.get_tensor_profile_shape(name, 0))
        fits = len(low) == len(shape) and all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        if fits:
            self._shapes[name] = tuple(shape)
        return fits

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory != 0 and name in {*self._engine._inputs, *self._engine._outputs}

    def is_stream_capturable(self, stream: int) -> bool:
        return stream == CpuGpu.STREAM

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine._inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> Any:
        return self.real.Dims(self._shapes.get(name) or self._output_shape(name))

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == CpuGpu.STREAM, "the default stream, or one that no GPU gave"
        ready = {*self._addresses} == {*self._engine._inputs, *self._engine._outputs} and not self.infer_shapes()
        if not ready or self._memory < self._engine.device_memory_size_v2 or not KNOBS.runs:
            return False
        feeds = {name: _array_at(self._addresses[name], self._shapes[name], one) for name, one in self._inputs()}
        found = self._engine._session.run(
            list(self._engine._outputs), {name: one.copy() for name, one in feeds.items()}
        )
        for (name, declared), value in zip(self._engine._outputs.items(), found, strict=True):
            _array_at(self._addresses[name], value.shape, declared)[...] = value
        return True

    def _inputs(self) -> list[tuple[str, Any]]:
        return list(self._engine._inputs.items())

    def _output_shape(self, name: str) -> list[int]:
        """The declared one with the free sizes of the inputs; -1 where they do not tell."""
        free: dict[str, int] = {}
        for one, declared in self._inputs():
            free |= dict(zip(named_sizes(declared), self._shapes[one], strict=True))
        return [free.get(one, -1) if isinstance(one, str) else one for one in named_sizes(self._engine._outputs[name])]


def _array_at(address: int, shape: Any, declared: onnx.ValueInfoProto) -> np.ndarray:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.type.tensor_type.elem_type)
    count = int(np.prod(shape))
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)
