"""`sam-batch engine`: TensorRT engines, exported, built, verified, listed and looked into."""

from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console

from sam_batch.cli.arguments import Arguments, read_config
from sam_batch.cli.terminal import answer
from sam_batch.errors import ConfigError

engine_app = typer.Typer(help="Build and verify TensorRT engines.", no_args_is_help=True)

Force = Annotated[bool, typer.Option("--force", help="Do it anew, whatever is there.")]


@engine_app.command()
def export(
    arguments: Arguments,
    opset: Annotated[int | None, typer.Option(min=20, help="Of ONNX; every TensorRT from 10.3 reads 20.")] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Use its operator, of opset 23; TensorRT must fuse it.")
    ] = False,
    force: Force = False,
) -> None:
    """Write a model as ONNX graphs, which `build` else does by itself. Needs neither a GPU nor TensorRT."""
    config = read_config(arguments, "engine export")
    from sam_batch.engine.factory import resolve_weights
    from sam_batch.job import settle

    folder, graphs = settle.export(
        config, resolve_weights(config), Console(stderr=True), opset=opset, attention=attention, anew=force
    )
    operator = ", with the Attention operator" if graphs.attention else ""
    told = f"{graphs.model} in {graphs.precision}, opset {graphs.opset}, positions {graphs.positions}{operator}"
    answer(f"{folder}: {told}")


@engine_app.command()
def build(
    arguments: Arguments,
    force: Force = False,
    cluster: Annotated[bool, typer.Option("--cluster", help="On each node with a GPU of the Ray cluster.")] = False,
    ahead: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="CAPABILITY",
            help="For GPUs of this compute capability, such as 8.9, without one; they are verified on the first "
            "that uses them. May be given again. Needs TensorRT for RTX.",
        ),
    ] = None,
) -> None:
    """Build the engines that are missing, and verify them on the job's first photographs."""
    config = read_config(arguments, "engine build")
    if ahead and cluster:
        raise ConfigError("--for: builds on this machine alone; leave out --cluster")
    from sam_batch.engine.factory import resolve_weights
    from sam_batch.job import settle

    checkpoint, rebuild = resolve_weights(config), uuid4().hex if force else None
    if ahead:
        settle.build_ahead(config, checkpoint, ahead, Console(stderr=True), rebuild=rebuild)
        answer(f"built for {', '.join(ahead)}; the first job on such a GPU verifies them before it uses them")
        return
    if cluster:
        settle.build_on_cluster(config, checkpoint, Console(stderr=True), rebuild=rebuild)
    else:
        settle.build(config, checkpoint, Console(stderr=True), rebuild=rebuild)
    answer("ready: engine.kind auto and tensorrt use these engines")


@engine_app.command()
def verify(arguments: Arguments) -> None:
    """Compare the built engines with torch in float32 on the job's first photographs."""
    config = read_config(arguments, "engine verify")
    from sam_batch.engine.factory import resolve_weights
    from sam_batch.job import settle

    settle.verify(config, resolve_weights(config), Console(stderr=True))
    answer("passed: engine.kind auto and tensorrt use these engines")


@engine_app.command("list")
def list_engines(arguments: Arguments) -> None:
    """Say which engines lie in engine.tensorrt.folder, for which GPU, and whether they were verified."""
    folder = read_config(arguments, "engine list").engine.tensorrt.folder
    from sam_batch.engine.tensorrt.plans import PlanStore

    lines = [record.to_text() for record in PlanStore(Path(folder)).records()]
    answer("\n".join(lines) or f"{folder}: no engines; sam-batch engine build makes them")


@engine_app.command()
def inspect(arguments: Arguments) -> None:
    """Say what TensorRT made of each graph: layers, precisions, fused attention, memory."""
    config = read_config(arguments, "engine inspect")
    from sam_batch.engine.factory import resolve_weights
    from sam_batch.job import settle

    for found in settle.engine_set(config, resolve_weights(config)).inspect():
        answer(found.to_text())
