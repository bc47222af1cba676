"""TensorRT engines for a job: built, verified, and chosen before any worker starts.

Plans belong to the machine that runs them, so each step here is a function of one machine: the command line calls it
in its own process, a cluster's driver once on each node with a GPU. Such a function answers in words (`Verdict`), since
an error may not cross from a node to a driver that lacks its packages.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from sam_batch.config import Config
from sam_batch.data import listing, pixels
from sam_batch.data.storage import read_uri
from sam_batch.engine.choice import EngineChoice, TensorRTChoice
from sam_batch.engine.factory import tensorrt_choice
from sam_batch.engine.onnx.graph_set import GraphSet
from sam_batch.engine.tensorrt import host as tensorrt_host
from sam_batch.engine.tensorrt.engine_set import EngineSet
from sam_batch.engine.tensorrt.plan_set import PlanSet, exported, graphs_folder, positions_for
from sam_batch.engine.tensorrt.plans import PlanStore
from sam_batch.engine.verify import Comparison
from sam_batch.errors import (
    ConfigError,
    EngineError,
    EngineFileError,
    ImageError,
    InputError,
    JobError,
    NotFoundError,
    PermissionDeniedError,
    SamBatchError,
    UnverifiedError,
)
from sam_batch.job.executor import Answer, Executor
from sam_batch.job.ray.cluster import connected
from sam_batch.masks.geometry import resize_longest
from sam_batch.model.checkpoints import ResolvedCheckpoint
from sam_batch.prompts.needs import Needs
from sam_batch.records import UInt8Array

TRIED = 200  # images: where so many cannot be read, something else is wrong, and each may cost a request


class Verdict(NamedTuple):
    """Of one node on its engines.

    Attributes:
        fault: Why they cannot be used; empty if they can.
        figures: What their verification found.
    """

    fault: str = ""
    figures: str = ""


def engine_set(config: Config, checkpoint: ResolvedCheckpoint) -> EngineSet:
    """The engines of a job on this machine.

    Raises:
        ConfigError: TensorRT is not installed, or there is no GPU.
    """
    choice = _tensorrt(config)
    host = tensorrt_host.find_host(choice.settings.flavour)
    return EngineSet(host, choice.settings, checkpoint, choice.precision, prompts=choice.prompts)


def _tensorrt(config: Config) -> TensorRTChoice:
    return tensorrt_choice(config.engine, prompts=config.prompts.uri is not None)


def export(
    config: Config,
    checkpoint: ResolvedCheckpoint,
    console: Console,
    *,
    opset: int | None = None,
    attention: bool = False,
    anew: bool = False,
) -> tuple[Path, GraphSet]:
    """Write a model as ONNX graphs, which needs neither a GPU nor TensorRT; see `engine_set.exported`.

    Returns:
        Where they lie, and what they are.

    Raises:
        ConfigError: A package that exports is missing.
        OutputError: The folder cannot be written.
        EngineError: They cannot be exported.
    """
    choice = _tensorrt(config)
    settings, precision = choice.settings, choice.precision
    positions = positions_for(settings, precision, tensorrt_host.installed(settings.flavour))
    graphs = exported(
        settings,
        checkpoint,
        precision,
        console,
        positions=positions,
        opset=opset,
        attention=attention,
        prompts=choice.prompts,
        anew=anew,
    )
    return graphs_folder(settings, checkpoint, precision, positions), graphs


def build(
    config: Config, checkpoint: ResolvedCheckpoint, console: Console, *, rebuild: str | None = None
) -> Comparison:
    """Build what is missing on this machine and verify the engine; where all is ready, nothing is done.

    Engines that are ready need no input, and no folder that can be written.

    Args:
        config: The job; its first photographs serve for verification.
        checkpoint: The weights.
        console: For progress.
        rebuild: Build again what is there; see `EngineSet.build`.

    Raises:
        ConfigError: Something that building needs is missing, or the folder cannot be written.
        EngineError: It cannot be built.
        EngineFileError: It was built, but is too far from torch to be used.
    """
    engines = engine_set(config, checkpoint)
    if rebuild is None:
        with contextlib.suppress(ConfigError, EngineError):  # what is missing or damaged is mended below
            return engines.require_verified()
    pictures = photographs(config, checkpoint.image_side)  # what the input lacks shows before minutes of building
    _build(engines, console, rebuild)
    with contextlib.suppress(EngineFileError):  # another may have built and verified them meanwhile
        return engines.require_verified()
    return _verify(engines, pictures, config, console)


def build_ahead(
    config: Config,
    checkpoint: ResolvedCheckpoint,
    capabilities: Iterable[str],
    console: Console,
    *,
    rebuild: str | None = None,
) -> None:
    """Build what is missing for GPUs that need not be here; it is verified where it is first used.

    Args:
        config: The job; its input is not looked at.
        checkpoint: The weights.
        capabilities: Of the GPUs, such as 8.9.
        console: For progress.
        rebuild: As for `build`.

    Raises:
        ConfigError: Something that building needs is missing, TensorRT for RTX does not serve such a GPU, or the folder
            cannot be written.
        EngineError: It cannot be built.
    """
    choice = _tensorrt(config)
    targets = [tensorrt_host.find_target(choice.settings.flavour, capability) for capability in capabilities]
    for target in targets:
        plans = PlanSet(target, choice.settings, checkpoint, choice.precision, prompts=choice.prompts)
        _build(plans, console, rebuild)


def _build(plans: PlanSet, console: Console, rebuild: str | None) -> None:
    for record in plans.build(console, rebuild=rebuild):
        told = f"built {record.name}, {record.size / 1e6:.1f} MB in {record.seconds:.0f} s"
        console.print("; ".join(filter(None, (told, record.inside))), highlight=False, soft_wrap=True)


def verify(config: Config, checkpoint: ResolvedCheckpoint, console: Console) -> Comparison:
    """Compare the built engine with torch in float32 on photographs of the job's input.

    Raises:
        ConfigError: There are no photographs.
        EngineError: The engine does not run.
        EngineFileError: It is not built, or too far from torch to be used.
    """
    return _verify(engine_set(config, checkpoint), photographs(config, checkpoint.image_side), config, console)


def _verify(engines: EngineSet, pictures: list[UInt8Array], config: Config, console: Console) -> Comparison:
    found = engines.verify(pictures, config.generator.pred_iou_thresh)
    console.print(found.to_text(), highlight=False, soft_wrap=True)
    return engines.require_verified()


def photographs(config: Config, image_side: int) -> list[UInt8Array]:
    """The first images of the input that can be read, (h, w, 3), their longer side as the model takes them.

    Raises:
        InputError: There is none among its first `TRIED`.
        StorageError: The storage itself fails.
    """
    listed = listing.list_images(config.input, config.storage, output=config.output.uri).images[:TRIED]
    readable = (one for entry in listed for one in _photograph(config, entry.uri, image_side))
    found = list(islice(readable, config.engine.tensorrt.verify.images))
    if not found:
        raise InputError(
            f"input.uri: none of its first {len(listed)} images can be read, and engines are verified on some; "
            "name others"
        )
    return found


def _photograph(config: Config, uri: str, image_side: int) -> Iterator[UInt8Array]:
    # A job would give these a row; here another image will do.
    with contextlib.suppress(ImageError, NotFoundError, PermissionDeniedError):
        image = pixels.decode(read_uri(uri, config.storage, config.input.max_bytes), config.input)
        yield resize_longest(image.rgb_HW3, image_side)


def settle(
    config: Config,
    checkpoint: ResolvedCheckpoint,
    choice: EngineChoice,
    executor: Executor,
    console: Console,
    needs: Needs | None = None,
) -> EngineChoice:
    """Which engine a job uses, once it is known what its GPUs hold: `choice`, or TensorRT engines.

    Args:
        config: The job.
        checkpoint: The weights.
        choice: What `factory.resolve` made of the configuration.
        executor: Reaches the GPUs.
        console: Is told which engine it is, where that was open.
        needs: Of the job's prompts, if it has some.

    Raises:
        ConfigError: TensorRT was asked for, and its engines cannot take the prompts.
        EngineFileError: TensorRT was asked for, and its engines cannot be used.
        JobError: A node's GPU does not come free.
    """
    if not isinstance(choice, TensorRTChoice) and not _may_be_tensorrt(config, choice):
        return choice
    if needs is not None and (unmet := needs.unmet(_tensorrt(config))):
        if config.engine.kind == "tensorrt":
            raise ConfigError(f"engine.kind: {unmet}")
        console.print(f"engine: torch, since {unmet}", markup=False, highlight=False, soft_wrap=True)
        return choice
    wait = config.run.stall_timeout_seconds
    answers = executor.on_gpus(_ready_here, config, checkpoint, console=console, wait_seconds=wait)
    faults = _faults(answers) or ([] if answers else ["engine.kind: no GPU was found"])
    if not faults:
        console.print("engine: TensorRT, verified against torch in float32", highlight=False)
        return replace(_tensorrt(config), verified=answers[0].value.figures)
    if config.engine.kind == "tensorrt":
        raise EngineFileError(faults[0])
    told = f"engine: torch, since TensorRT cannot be used: {faults[0]}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    return choice


def build_on_cluster(
    config: Config, checkpoint: ResolvedCheckpoint, console: Console, *, rebuild: str | None = None
) -> None:
    """Build and verify on every node with a GPU of the Ray that RAY_ADDRESS names, else of this machine.

    Raises:
        ConfigError: No node has a GPU.
        JobError: Some node cannot use engines, or does not get to it; names each and says why.
    """
    with connected(config.run.verbose, console) as resources:
        from sam_batch.job.ray.executor import RayExecutor

        wait = config.run.stall_timeout_seconds
        executor = RayExecutor(resources)
        answers = executor.on_gpus(_build_here, config, checkpoint, rebuild, console=console, wait_seconds=wait)
    if not answers:
        raise ConfigError("engine.kind: tensorrt needs a GPU, and no node of the cluster has one")
    faults = _faults(answers)
    if faults:
        raise JobError(f"{len(faults)} of {len(answers)} nodes cannot use TensorRT: {'; '.join(faults)}")


def _faults(answers: Iterable[Answer]) -> list[str]:
    """Of the nodes that cannot use engines, each with its name."""
    return [f"{node}: {verdict.fault}" for node, verdict in answers if verdict.fault]


def _may_be_tensorrt(config: Config, choice: EngineChoice) -> bool:
    """Whether `auto` is worth a look: on a GPU, in a precision that engines have, where some were ever built."""
    engine = config.engine
    if engine.kind != "auto" or not choice.on_gpu or choice.precision == "bf16":
        return False
    return engine.tensorrt.build == "on_start" or any(PlanStore(Path(engine.tensorrt.folder)).records())


def _ready_here(config: Config, checkpoint: ResolvedCheckpoint, console: Console | None) -> Verdict:
    """On a node: whether its engines can be used; builds them first where that is wanted."""
    if config.engine.tensorrt.build == "on_start":
        return _build_here(config, checkpoint, rebuild=None, console=console)
    return _verdict(lambda: _verify_once(config, checkpoint, console or Console(quiet=True)))


def _verify_once(config: Config, checkpoint: ResolvedCheckpoint, console: Console) -> Comparison:
    """Verify engines that were built elsewhere, or by a build that was cut off, before they are first used here."""
    engines = engine_set(config, checkpoint)
    try:
        return engines.require_verified()
    except UnverifiedError:
        console.print("engine: TensorRT's is compared with torch in float32 before its first use", highlight=False)
        return _verify(engines, photographs(config, checkpoint.image_side), config, console)


def _build_here(
    config: Config, checkpoint: ResolvedCheckpoint, rebuild: str | None, console: Console | None
) -> Verdict:
    return _verdict(lambda: build(config, checkpoint, console or Console(quiet=True), rebuild=rebuild))


def _verdict(work: Callable[[], Comparison]) -> Verdict:
    try:
        return Verdict(figures=work().to_text())
    except (SamBatchError, OSError) as error:
        return Verdict(str(error) or type(error).__name__)
