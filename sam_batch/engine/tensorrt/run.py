"""One TensorRT plan, run on torch tensors.

A plan's inputs and outputs live at fixed addresses, large enough for its largest shapes. The leading size of some
inputs is free (images, prompts): it is rounded up to a power of two, and for each such *bucket* the run is recorded
once and repeated from then on. Every answer of TensorRT is checked; what it refuses is an EngineError.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sam_batch.engine.tensorrt.host import Host
from sam_batch.engine.tensorrt.log import get_logger, start
from sam_batch.errors import EngineError


class PlanRunner:
    """A plan, loaded. Not for two threads at once.

    Args:
        host: The machine it was built on.
        plan: From `PlanStore.read`, which has checked it.
        name: For messages.
        compiled: What was compiled of it in an earlier process, or empty.

    Attributes:
        largest: How many images or prompts it takes at once.
        scratch_bytes: Device memory it needs while it runs.

    Raises:
        EngineError: TensorRT refuses it.
    """

    def __init__(self, host: Host, plan: bytes, name: str, compiled: bytes = b"") -> None:
        self._host, self._name = host, name
        self.engine = load_plan(host, plan, name)
        self._maker = host.flavour.contexts(host.trt, self.engine, compiled)
        self._inputs, self._outputs = self._names()
        shapes = {one: tuple(self.engine.get_tensor_shape(one)) for one in (*self._inputs, *self._outputs)}
        self._free = {one for one, shape in shapes.items() if shape[0] == -1}
        self.largest = self._largest()
        dtypes = _dtypes(host.trt)
        self._buffers = {
            one: torch.zeros(
                (self.largest, *shape[1:]) if one in self._free else shape,
                dtype=dtypes[self.engine.get_tensor_dtype(one)],
                device=host.gpu.device,
            )
            for one, shape in shapes.items()
        }
        self.scratch_bytes: int = self.engine.device_memory_size_v2
        self._scratch: Tensor | None = None
        self._contexts: list[Any] = []  # a recording does not keep its context alive
        self._replays: dict[int, Callable[[], None]] = {}

    def use_scratch(self, scratch: Tensor) -> None:
        """Take memory of at least `scratch_bytes`; plans that never run at once may share it."""
        self._forget()
        self._scratch = scratch

    def __call__(self, inputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """Run it.

        Args:
            inputs: Each of the plan's; those with a free leading size have `count` there.
            count: Images or prompts, 1 to `largest`.

        Returns:
            Its outputs; those with a free leading size have `count` there. They are the plan's own memory, and hold
            until it runs again.

        Raises:
            EngineError: TensorRT refuses; or there are too many.
        """
        if not 1 <= count <= self.largest:
            raise EngineError(f"the plan {self._name} takes 1 to {self.largest} at once, not {count}")
        for name, given in inputs.items():
            self._fill(name, given)
        bucket = min(self.largest, 1 << (count - 1).bit_length())
        if bucket not in self._replays:
            self._replays[bucket] = self._record(bucket)
        else:
            self._replays[bucket]()
        return {name: self._view(name, count) for name in self._outputs}

    def run(self, inputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """Run it as often as any count needs; the outputs are the caller's own.

        Args:
            inputs: As for a call.
            count: Images or prompts; may be 0.
        """
        results = {
            name: self._buffers[name].new_empty((count, *self._buffers[name].shape[1:])) for name in self._outputs
        }
        for first in range(0, count, self.largest):
            rows = slice(first, min(first + self.largest, count))
            # By length: to TensorRT a size that can only be 1 is not free.
            part = {name: given[rows] if len(given) == count else given for name, given in inputs.items()}
            for name, made in self(part, rows.stop - first).items():
                results[name][rows] = made
        return results

    def compiled(self) -> bytes:
        """What was compiled of it on this GPU, for `compiled` of the next process; empty if nothing was."""
        return self._maker.compiled()

    def close(self) -> None:
        """Free its memory."""
        self._forget()
        self._buffers.clear()
        self._scratch = None
        del self._maker, self.engine

    def _forget(self) -> None:
        self._replays.clear()
        self._contexts.clear()

    def _fill(self, name: str, given: Tensor) -> None:
        if name not in self._inputs:
            raise EngineError(f"the plan {self._name} has no input {name}, but {', '.join(self._inputs)}")
        wanted = self._view(name, len(given))
        if wanted.shape != given.shape:
            raise EngineError(f"the plan {self._name} takes {name} as {tuple(wanted.shape)}, not {tuple(given.shape)}")
        wanted.copy_(given)

    def _view(self, name: str, count: int) -> Tensor:
        return self._buffers[name][:count] if name in self._free else self._buffers[name]

    def _record(self, bucket: int) -> Callable[[], None]:
        """A context of its own for each bucket: a recording holds only as long as its context keeps its shapes."""
        context = self._context()
        for name in self._inputs:
            shape = tuple(self._view(name, bucket).shape)
            self._ask(f"refuses {name} of shape {shape}", context.set_input_shape, name, shape)
        missing = context.infer_shapes()
        if missing:
            raise EngineError(f"the plan {self._name} lacks the shapes of {', '.join(missing)}")
        for name in (*self._inputs, *self._outputs):
            buffer = self._view(name, bucket)
            shape = tuple(context.get_tensor_shape(name))
            if shape != tuple(buffer.shape):
                raise EngineError(f"the plan {self._name} makes {name} of shape {shape}, not {tuple(buffer.shape)}")
            self._ask(f"refuses memory for {name}", context.set_tensor_address, name, buffer.data_ptr())

        def work(stream: int) -> None:
            self._ask("does not run", context.execute_async_v3, stream)

        return self._host.gpu.record(work, lambda stream: self._maker.can_be_recorded(context, stream))

    def _context(self) -> Any:
        """A context on the shared scratch memory, or on its own where none is shared."""
        if self._scratch is None:
            self._scratch = torch.empty(max(1, self.scratch_bytes), dtype=torch.uint8, device=self._host.gpu.device)
        context = self._maker.create()
        if context is None:
            torch.cuda.empty_cache()  # TensorRT asks CUDA for memory, and cannot have what torch keeps for later
            context = self._ask("makes no context (memory is short?)", self._maker.create)
        context.set_device_memory(self._scratch.data_ptr(), self._scratch.numel())
        self._contexts.append(context)
        return context

    def _names(self) -> tuple[list[str], list[str]]:
        engine, mode = self.engine, self._host.trt.TensorIOMode
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [one for one in names if engine.get_tensor_mode(one) == mode.INPUT]
        return inputs, [one for one in names if one not in inputs]

    def _largest(self) -> int:
        free = [self.engine.get_tensor_profile_shape(one, 0)[2][0] for one in self._inputs if one in self._free]
        return min(free, default=1)

    def _ask(self, refusal: str, call: Callable[..., Any], *arguments: Any) -> Any:
        _, errors = get_logger(self._host.trt)
        return errors.ask(f"the plan {self._name}: TensorRT {refusal}", call, *arguments)


def load_plan(host: Host, plan: bytes, name: str) -> Any:
    """The engine that TensorRT makes of a plan; it keeps alive what it needs.

    Raises:
        EngineError: TensorRT refuses it.
    """
    runtime = start(host.trt, "Runtime")
    _, errors = get_logger(host.trt)
    return errors.ask(f"the plan {name}: TensorRT does not load the plan", runtime.deserialize_cuda_engine, plan)


def _dtypes(trt: Any) -> dict[Any, torch.dtype]:
    return {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}
