"""From weights to plans: export the graphs, and build those plans that are missing.

The plans of a model belong together: of the encoder, of the decoder's first half, and of its second half; one more of
the first half where prompts are not one point or one box each. This needs a library and the name of a kind of GPU;
running them, `engine_set` needs the GPU.
"""

import contextlib
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sam_batch.config_engine import TensorRTConfig
from sam_batch.engine.onnx.export import export
from sam_batch.engine.onnx.graph_set import PROMPTED, GraphSet, read_graphs
from sam_batch.engine.tensorrt.build import build_plan, options
from sam_batch.engine.tensorrt.flavour import Flavour
from sam_batch.engine.tensorrt.host import Target
from sam_batch.engine.tensorrt.plan_key import PlanKey, Profile
from sam_batch.engine.tensorrt.plans import PlanStore, Record
from sam_batch.errors import ConfigError, EngineError, EngineFileError
from sam_batch.model.checkpoints import ResolvedCheckpoint
from sam_batch.model.families import family_of
from sam_batch.model.family import Positions
from sam_batch.model.load import load_resolved

USUAL_PROMPTS = 64  # at once
SCRATCH_SHARE = 0.25  # of a GPU's memory, for what a decoder needs while it runs
DEFAULT_OPSET = 20  # the newest that every supported TensorRT reads


class PlanSet:
    """The plans of one model in one precision, for one kind of machine.

    Args:
        target: What they are built with, and for.
        settings: Folder, sizes and limits.
        checkpoint: The weights.
        precision: fp16 or fp32.
        prompts: Whether there will be prompts that are not one point or one box each; without them a plan less is
            built and held.
    """

    def __init__(
        self,
        target: Target,
        settings: TensorRTConfig,
        checkpoint: ResolvedCheckpoint,
        precision: str,
        *,
        prompts: bool = False,
    ) -> None:
        self._target, self._settings = target, settings
        self._checkpoint, self._precision, self._prompts = checkpoint, precision, prompts
        self._positions = positions_for(settings, precision, target.flavour)
        self.store = PlanStore(Path(settings.folder))

    def build(self, console: Console, *, rebuild: str | None = None) -> list[Record]:
        """Build the plans that are missing, with a bar for each.

        Args:
            console: For the bars, and to say that another builds here and is waited for.
            rebuild: Build those that are there as well, but for what was built in the rebuild of this name: machines
                that share the folder build once.

        Returns:
            What was built; empty if all were there.

        Raises:
            ConfigError: A package that exports is missing.
            OutputError: The folder cannot be written.
            EngineError: A graph cannot be built or stored. What was finished stays.
        """
        with _alone(self.store, console):
            graphs = _exported(
                self._settings,
                self._checkpoint,
                self._precision,
                None,
                attention=False,
                positions=self._positions,
                prompts=self._prompts,
                anew=False,
            )
            missing = {name: key for name, key in self.keys(graphs).items() if not self._is_there(key, rebuild)}
            if missing:
                console.print(self._needs(graphs, missing), highlight=False, soft_wrap=True)
            bars = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            with Progress(*bars, console=console, disable=not console.is_terminal) as progress:
                return [self._build(name, key, graphs, rebuild, progress) for name, key in missing.items()]

    def keys(self, graphs: GraphSet) -> dict[str, PlanKey]:
        """The key of each graph's plan, for this machine and with these settings."""
        shapes = profiles(graphs, self._settings, self._target.memory_bytes)
        built_with = options(self._settings.workspace_bytes, self._settings.max_aux_streams)
        return {
            name: PlanKey(
                graph=name,
                model=graphs.model,
                precision=graphs.precision,
                checkpoint_sha256=graphs.checkpoint_sha256,
                onnx_sha256=graphs.sha256[name],
                machine=self._target.flavour.bound_to(self._target.machine),
                profiles=shapes[name],
                options=built_with,
            )
            for name in graphs.inputs
            if self._prompts or name != PROMPTED
        }

    def graphs(self) -> GraphSet:
        """The exported graphs that plans are made of.

        Raises:
            EngineFileError: There are none, or none for the prompts that there will be.
        """
        folder = self._folder()
        if not folder.is_dir():
            raise EngineFileError(
                f"{self._settings.folder}: no TensorRT engines of {self._checkpoint.name} in {self._precision} "
                "were built here; run sam-batch engine build CONFIG"
            )
        graphs = read_graphs(folder)
        if self._prompts and (graphs.max_tokens or 0) < self._settings.max_tokens:
            raise EngineFileError(
                f"{self._settings.folder}: the engines of {self._checkpoint.name} were built for prompts of one point "
                f"or one box, or of fewer tokens than engine.tensorrt.max_tokens ({self._settings.max_tokens}); "
                "run sam-batch engine build CONFIG"
            )
        return graphs

    def _needs(self, graphs: GraphSet, names: Iterable[str]) -> str:
        """What plans will take of a GPU's memory, in words."""
        most = most_at_once(graphs, self._settings, self._target.memory_bytes)
        parts = []
        for name in names:
            each = "images" if name == "encoder" else "prompts"
            mebibytes = graphs.scratch_bytes[name] * most[each] / 2**20
            parts.append(f"{name} {mebibytes:.0f} MiB for {most[each]} {each} at once")
        return f"to build, with the memory of the GPU that each needs at most, about, while it runs: {', '.join(parts)}"

    def _folder(self) -> Path:
        return graphs_folder(self._settings, self._checkpoint, self._precision, self._positions)

    def _is_there(self, key: PlanKey, rebuild: str | None) -> bool:
        try:
            record = self.store.find(key)
        except EngineFileError:
            return False
        return rebuild in (None, record.rebuild)

    def _build(self, name: str, key: PlanKey, graphs: GraphSet, rebuild: str | None, progress: Progress) -> Record:
        onnx = self._folder() / f"{name}.onnx"
        started = time.monotonic()
        cache = self.store.timing_cache(self._target.machine)
        try:
            built = build_plan(self._target, onnx, key.profiles, key.options, cache, progress)
        except EngineError as error:
            if name != "encoder" or not graphs.attention:
                raise
            raise EngineError(  # TensorRT does not take that operator apart
                f"{error}; if there is no fused kernel for its Attention operator, "
                "export it without: sam-batch engine export CONFIG --opset 20"
            ) from error
        inside = built.inside.to_text() if built.inside else ""
        record = self.store.store(key, built.plan, time.monotonic() - started, rebuild, inside)
        if built.timing_cache:
            self.store.store_timing_cache(self._target.machine, built.timing_cache)
        return record


def positions_for(settings: TensorRTConfig, precision: str, flavour: Flavour) -> Positions:
    """How graphs take relative positions; `auto` does without the matrix where attention is then known to be fused."""
    if settings.positions != "auto":
        return settings.positions
    if precision != "fp16" or not flavour.fuses_places:
        return "written"
    return "tiled" if settings.max_images == 1 else "folded"


def graphs_folder(
    settings: TensorRTConfig, checkpoint: ResolvedCheckpoint, precision: str, positions: Positions
) -> Path:
    """Where a model's ONNX graphs lie."""
    return Path(settings.folder) / "onnx" / f"{checkpoint.name}-{precision}-{checkpoint.sha256[:12]}-{positions}"


def exported(
    settings: TensorRTConfig,
    checkpoint: ResolvedCheckpoint,
    precision: str,
    console: Console,
    *,
    positions: Positions,
    opset: int | None = None,
    attention: bool = False,
    prompts: bool = False,
    anew: bool = False,
) -> GraphSet:
    """A model's ONNX graphs: those that are there, which need no folder that can be written, else exported now.

    Args:
        settings: Names the folder.
        checkpoint: The weights.
        precision: fp16 or fp32.
        console: Is told that another builds here and is waited for.
        positions: What `positions_for` returned.
        opset: Of ONNX; None takes what is there, and exports in `DEFAULT_OPSET`.
        attention: With the operator of that name; False takes it as well where `opset` is None.
        prompts: With the graph for prompts of any parts; False takes it as well.
        anew: Export them in any case.

    Raises:
        ConfigError: A package that exports is missing.
        OutputError: The folder cannot be written.
        EngineError: They cannot be exported.
    """
    most = settings.max_tokens if prompts else None
    folder = graphs_folder(settings, checkpoint, precision, positions)
    if not anew and (graphs := _there(folder, opset, attention, most)):
        return graphs
    with _alone(PlanStore(Path(settings.folder)), console):  # a build reads the graphs
        return _exported(
            settings,
            checkpoint,
            precision,
            opset,
            attention=attention,
            positions=positions,
            prompts=prompts,
            anew=anew,
        )


def _exported(
    settings: TensorRTConfig,
    checkpoint: ResolvedCheckpoint,
    precision: str,
    opset: int | None,
    *,
    attention: bool,
    positions: Positions,
    prompts: bool,
    anew: bool,
) -> GraphSet:
    """As `exported`, for who holds the folder."""
    most = settings.max_tokens if prompts else None
    folder = graphs_folder(settings, checkpoint, precision, positions)
    if not anew and (graphs := _there(folder, opset, attention, most)):
        return graphs
    return export(
        load_resolved(checkpoint),
        family_of(checkpoint.name),
        model=checkpoint.name,
        checkpoint_sha256=checkpoint.sha256,
        precision=precision,
        folder=folder,
        opset=opset or DEFAULT_OPSET,
        attention=attention,
        positions=positions,
        max_tokens=most,
    )


def _there(folder: Path, opset: int | None, attention: bool, max_tokens: int | None) -> GraphSet | None:
    """The graphs of a folder, if they are whole and what is asked for."""
    with contextlib.suppress(ConfigError, EngineError):  # none, or what is there is damaged
        graphs = read_graphs(folder)
        asked_for = (opset, attention) in ((None, False), (graphs.opset, graphs.attention))
        if asked_for and (graphs.max_tokens or 0) >= (max_tokens or 0):
            return graphs
    return None


def _alone(store: PlanStore, console: Console) -> AbstractContextManager[None]:
    """Hold the folder, as the only one who writes there."""
    told = f"another build is at work in {store.folder}; waiting for its end"
    return store.locked(lambda: console.print(told, highlight=False, soft_wrap=True))


def most_at_once(graphs: GraphSet, settings: TensorRTConfig, memory_bytes: int) -> dict[str, int]:
    """How many images and prompts plans take, by the names that sizes of graphs have.

    Args:
        graphs: Which say what a prompt needs.
        settings: May leave prompts open; then those that are usual, or as many as fill a share of the memory.
        memory_bytes: Of the GPU; 0 where it is not known.
    """
    if settings.max_prompts != "auto":
        return {"images": settings.max_images, "prompts": settings.max_prompts}
    each = max(size for name, size in graphs.scratch_bytes.items() if name != "encoder")
    fitting = int(memory_bytes * SCRATCH_SHARE) // each if memory_bytes else USUAL_PROMPTS
    prompts = min(USUAL_PROMPTS, 1 << (max(1, fitting).bit_length() - 1))
    return {"images": settings.max_images, "prompts": prompts}


def profiles(graphs: GraphSet, settings: TensorRTConfig, memory_bytes: int = 0) -> dict[str, dict[str, Profile]]:
    """For each graph, the shapes that its plan takes; tuned for full batches, of which a job consists."""
    most = most_at_once(graphs, settings, memory_bytes)

    def profile(shape: Sequence[int | str]) -> Profile:
        smallest, largest = (
            tuple(size if isinstance(size, int) else free[size] for size in shape)
            for free in (dict.fromkeys(most, 1), most)
        )
        return smallest, largest, largest

    return {
        name: {given: profile(shape) for given, shape in inputs.items() if any(size in most for size in shape)}
        for name, inputs in graphs.inputs.items()
    }
