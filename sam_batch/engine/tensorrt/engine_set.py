"""Engines that may be used: plans that were verified together on this machine, loaded.

What a job runs on is used when all plans are there, match this machine and these settings, and were verified together
within the limits of the configuration. How plans come about is `plan_set`'s work.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from sam_batch.config_engine import TensorRTConfig
from sam_batch.engine.onnx.graph_set import GraphSet
from sam_batch.engine.preprocess import preprocess
from sam_batch.engine.tensorrt.engine import TensorRTEngine
from sam_batch.engine.tensorrt.host import Host
from sam_batch.engine.tensorrt.inspect import Inspection, inspect
from sam_batch.engine.tensorrt.plan_set import PlanSet, most_at_once
from sam_batch.engine.tensorrt.plans import Record
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.engine.verify import Batches, Comparison, Photograph, compare
from sam_batch.errors import EngineError, EngineFileError, UnverifiedError
from sam_batch.model.checkpoints import ResolvedCheckpoint
from sam_batch.model.families import family_of
from sam_batch.model.load import load_resolved
from sam_batch.records import UInt8Array


class EngineSet(PlanSet):
    """The engines of one model in one precision, on one machine.

    Args:
        host: The machine.
        settings: Folder, sizes and limits.
        checkpoint: The weights.
        precision: fp16 or fp32.
        prompts: As for plans.
    """

    def __init__(
        self,
        host: Host,
        settings: TensorRTConfig,
        checkpoint: ResolvedCheckpoint,
        precision: str,
        *,
        prompts: bool = False,
    ) -> None:
        super().__init__(host, settings, checkpoint, precision, prompts=prompts)
        self._host = host
        self._where = host.flavour.verified_on(host.machine)
        self._family = family_of(checkpoint.name)

    def verify(self, pictures: Sequence[UInt8Array], pred_iou_thresh: float) -> Comparison:
        """Compare the engine with torch in float32 and keep what comes out beside the plans.

        Args:
            pictures: At least one, (h, w, 3) with a longer side of the model's input.
            pred_iou_thresh: Masks above it are compared.

        Raises:
            EngineFileError: Plans are missing, altered, or built anew meanwhile.
            EngineError: The engine fails, or the GPU's memory is too little for it and torch side by side.
        """
        graphs = self.graphs()
        records, plans = self._read(graphs)
        try:
            with self._both(graphs, records, plans) as (engine, reference):
                photographs = [Photograph(preprocess(one, engine.spec)[0], *one.shape[:2]) for one in pictures]
                batches = Batches(**most_at_once(graphs, self._settings, self._host.memory_bytes))
                found = compare(engine, reference, photographs, pred_iou_thresh, batches, prompts=self._prompts)
                compiled = engine.compiled()
        except torch.OutOfMemoryError as error:
            raise EngineError(
                "too little GPU memory to verify: the engine and torch in float32 must fit side by side; end what else "
                "uses the GPU, or lower engine.tensorrt.max_images or engine.tensorrt.max_prompts and build anew"
            ) from error
        with self.store.locked():  # other GPUs may share the folder
            self.store.set_verified(records, self._where, found.to_json())
            for record in records:
                if data := compiled[record.key["graph"]]:
                    self.store.store_compiled(record, self._where, data)
        return found

    @contextlib.contextmanager
    def _both(
        self, graphs: GraphSet, records: Sequence[Record], plans: dict[str, bytes]
    ) -> Iterator[tuple[TensorRTEngine, TorchEngine]]:
        """The engine, and torch in float32 with the same weights."""
        module, name = load_resolved(self._checkpoint), graphs.model
        device = str(self._host.gpu.device)
        with (
            contextlib.closing(self._engine(graphs, records, plans, module)) as engine,
            contextlib.closing(
                TorchEngine(module, self._family, model=name, precision="fp32", device=device)
            ) as reference,
        ):
            del module  # else closing them would not free it
            yield engine, reference

    def require_verified(self) -> Comparison:
        """What verification found, if these engines may be used.

        Raises:
            EngineFileError: They may not; says why, and which command mends it. `UnverifiedError` where it is known of
                none of them.
        """
        keys = self.keys(self.graphs())
        return self._require_verified([self.store.find(key) for key in keys.values()])

    def _require_verified(self, records: Sequence[Record]) -> Comparison:
        stored = self.store.verified(records, self._where)
        try:
            found = Comparison.of(stored)
        except KeyError:
            raise UnverifiedError(
                f"{self._settings.folder}: was verified by another version; run sam-batch engine verify CONFIG"
            ) from None
        if not found.masks:
            raise EngineFileError(
                f"{self._settings.folder}: the {self._precision} engines of {self._checkpoint.name} could not be "
                f"judged: no mask passes generator.pred_iou_thresh on the {found.images} photographs they were tried "
                "on; raise engine.tensorrt.verify.images or name others in input.uri, then run sam-batch engine verify "
                "CONFIG"
            )
        faults = found.faults(self._settings.verify)
        if faults:
            raise EngineFileError(
                f"{self._settings.folder}: the {self._precision} engines of {self._checkpoint.name} differ too much "
                f"from torch in float32 ({'; '.join(faults)}); use engine.precision=fp32 or engine.kind=torch"
            )
        return found

    def load(self) -> TensorRTEngine:
        """The engine, verified.

        Raises:
            EngineFileError: As `require_verified`.
            EngineError: TensorRT refuses a plan.
        """
        graphs = self.graphs()  # reads all of their gigabytes, so once
        records, plans = self._read(graphs)
        self._require_verified(records)
        return self._engine(graphs, records, plans, load_resolved(self._checkpoint))

    def _engine(
        self, graphs: GraphSet, records: Sequence[Record], plans: dict[str, bytes], module: nn.Module
    ) -> TensorRTEngine:
        """With what was compiled of the plans when they ran here before."""
        compiled = {record.key["graph"]: self.store.compiled(record, self._where) for record in records}
        return TensorRTEngine(self._host, graphs, plans, self._family, module, compiled)

    def _read(self, graphs: GraphSet) -> tuple[list[Record], dict[str, bytes]]:
        """All plans, by their graphs, and the sidecars they were compared with: others may build anew meanwhile."""
        found = {name: self.store.read(key) for name, key in self.keys(graphs).items()}
        return [record for record, _ in found.values()], {name: plan for name, (_, plan) in found.items()}

    def inspect(self) -> Iterator[Inspection]:
        """What TensorRT made of each graph.

        Raises:
            EngineFileError: Plans are missing or altered.
            EngineError: TensorRT refuses one.
        """
        for name, key in self.keys(self.graphs()).items():
            _, plan = self.store.read(key)
            yield inspect(self._host, plan, name)
