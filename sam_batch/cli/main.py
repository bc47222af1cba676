"""The command line: arguments to a configuration, a verb to do, its result to an exit code.

What can be set is declared in `sam_batch.config`; the options here are shorter names for some of it.
"""

import json
import os
import shlex
import sys
import traceback
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from sam_batch import __version__, configfile
from sam_batch.cli import terminal
from sam_batch.cli.arguments import Arguments, Json, OutputOrArguments, is_argument, read_config, read_job_of
from sam_batch.cli.engine import engine_app
from sam_batch.cli.outputs import outputs_app
from sam_batch.cli.submit import submit_app
from sam_batch.cli.terminal import answer
from sam_batch.config import Config
from sam_batch.errors import ConfigError, ExitCode, SamBatchError

if TYPE_CHECKING:
    from sam_batch.output.summary import Summary

# Threads that spin while they wait starve each other where cores are few; read when torch is imported, later.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

EXAMPLES = """Examples:

sam-batch run input.uri=photos/ output.uri=out model.name=vit_b

sam-batch show photo.jpg --open   (one image, in seconds)

sam-batch app --open   (the same with the mouse, in a browser)

sam-batch config init > job.yaml   (every setting, explained)

sam-batch plan job.yaml   (what a run would do)

sam-batch run job.yaml run.executor=inline --limit 10

sam-batch status out

sam-batch report out   (one page: pictures, charts, failures)

sam-batch export out --to coco output.coco.segmentation=polygons

sam-batch merge out more --to all.json --renumber   (one COCO file of two outputs)

sam-batch filter out better --pred-iou-thresh 0.95   (another output, of its better masks)

sam-batch draw out outlined output.color_masks.outlines=true   (its pictures anew, elsewhere)

sam-batch compare out truth.json   (counts, IoU, recall; also of two outputs)

sam-batch tune out --truth truth.json   (which thresholds to use, where output.candidates was on)
"""


class _Verbs(TyperGroup):
    """Answers a forgotten verb, and says that it was interrupted, which Typer would turn into an exit code alone."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and is_argument(args[0]):
            raise ConfigError(f"{args[0]}: is no verb; to label images: sam-batch run {shlex.join(args)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(ExitCode.INTERRUPTED) from None


app = typer.Typer(
    name="sam-batch",
    cls=_Verbs,
    help="Label image datasets with the Segment Anything Model.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(outputs_app)  # without a name: its verbs are verbs of the program
app.add_typer(submit_app)
app.add_typer(engine_app, name="engine")
config_app = typer.Typer(help="Show, describe or start a configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Say which version this is.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show where an error comes from.")] = False,
) -> None:
    """Read elsewhere: `version` by its callback, `verbose` by `terminal.wants_traceback`."""


@app.command()
def run(
    arguments: Arguments,
    limit: Annotated[int | None, typer.Option(help="input.limit: only the first so many images.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="run.retry_failed: the failed again.")] = False,
    overwrite: Annotated[
        str | None, typer.Option(metavar="OUTPUT", help="Throw the results of this output away first; name it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --overwrite: only list the files that it would remove.")
    ] = False,
    worker: Annotated[
        str | None, typer.Option(metavar="I/N", help="Share the job without Ray: 1/8 to 8/8, or auto on Slurm.")
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="run.verbose: Ray's log, tracebacks.")] = False,
    as_json: Json = False,
) -> None:
    """Label every image that has no result yet.

    Progress goes to standard error, the result to standard output.
    """
    shorthand = [f"input.limit={limit}"] if limit is not None else []
    shorthand += ["run.retry_failed=true"] if retry_failed else []
    shorthand += ["run.verbose=true"] if verbose else []
    alone = [] if worker is None else ["run.executor=inline"]  # overrides of the user's come later
    config = _logged(read_config([*alone, *arguments, *shorthand], "run"))
    if dry_run:
        _list_removals(config, overwrite)
        return
    if worker is not None:
        _end(_run_worker(config, worker, overwrite), as_json=as_json)
    from sam_batch.job.run import run_job

    with terminal.quiet(config.run.verbose) as console:
        report = run_job(config, console, overwrite)
    _end(report, as_json=as_json)


def _run_worker(config: Config, worker: str, overwrite: str | None) -> "Summary":
    from sam_batch.job.share import Share, gpus_here, own_gpu

    if overwrite is not None:
        raise ConfigError("--overwrite: is for one driver alone; run once with it and --limit 1, then start workers")
    share = Share.parse(worker, os.environ)
    gpu = own_gpu(os.environ, gpus_here())
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch is imported
    from sam_batch.job.worker import run_worker

    with terminal.quiet(config.run.verbose) as console:
        return run_worker(config, console, share)


@app.command()
def finish(arguments: OutputOrArguments, as_json: Json = False) -> None:
    """Close a job whose workers have done all shards: summary.json and exports. The last worker does so itself."""
    from sam_batch.job.worker import close

    config = _logged(read_job_of(arguments))
    with terminal.quiet(config.run.verbose) as console:
        report = close(config, console)
    _end(report, as_json=as_json)


def _logged(config: Config) -> Config:
    """The same, once standard error is what it asks for."""
    if config.run.log == "json":
        terminal.speak_json()
    return config


def _end(report: "Summary", *, as_json: bool) -> NoReturn:
    if report.error:
        terminal.complain(report.error)
    answer(report.to_json() if as_json else report.to_text(), report.exit_code)
    raise typer.Exit(report.exit_code)


def _list_removals(config: Config, overwrite: str | None) -> None:
    from sam_batch.data.storage import shown
    from sam_batch.job.status import would_be_removed

    if overwrite is None:
        raise ConfigError("--dry-run: lists what --overwrite would remove; what a run would do, `sam-batch plan` says")
    for key in would_be_removed(config, overwrite):
        typer.echo(shown(key))


@app.command()
def show(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A photograph: its path or URI.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[SETTINGS]", help="As for run; without a model: the demo model.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="PATH", help="Of the picture (.png, .jpg); else among temporary files.")
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Looser, the given and stricter thresholds, in a row.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show the picture on the screen.")] = False,
    as_json: Json = False,
) -> None:
    """Find everything in one image, and draw it."""
    from sam_batch.cli.show import open_picture, read_settings, show_image

    with terminal.quiet(verbose=False):
        told, place = show_image(read_settings(image, settings or []), to, grid=grid)
    answer(json.dumps({"picture": str(place), "told": told.splitlines()}) if as_json else told)
    if open_:
        open_picture(place)


@app.command("app")
def app_(
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[SETTINGS]", help="As for run; without a model: the demo model.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; with another, whoever reaches it works as you do here.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
    open_: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Try settings and prompts on images, run jobs and look at results, in a browser."""
    from sam_batch.cli.app import read_settings, serve_app

    serve_app(read_settings(settings or []), host, port, show=open_)


@app.command()
def plan(
    arguments: Arguments,
    images_per_second: Annotated[
        float | None, typer.Option("--rate", min=0, help="Images a second: estimate the time at it.")
    ] = None,
    images_measured: Annotated[
        int | None, typer.Option("--measure", min=1, help="Label so many images into a temporary folder, and estimate.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of an hour of an engine: a GPU, a node.")] = None,
    limit: Annotated[int | None, typer.Option(help="input.limit: only the first so many images.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a run would do, and do nothing."""
    from sam_batch.job.status import dry_run

    if price is not None and images_per_second is None and images_measured is None:
        raise ConfigError("--price: hours cost it, which --measure N finds out, or --rate R knows")
    shorthand = [f"input.limit={limit}"] if limit is not None else []
    config = read_config([*arguments, *shorthand], "plan")
    found = dry_run(config)
    estimate = None
    if images_measured is not None and found.images_to_do:
        from sam_batch.job.measure import measure

        with terminal.quiet(verbose=False) as console:
            estimate = measure(config, found, images_measured, price, console)
    if as_json:
        answer(found.to_json(estimate.to_dict() if estimate else None))
        return
    told = found.to_text(images_per_second, price)
    answer(f"{told}\n{estimate.to_text()}" if estimate else told)


@app.command("version")
def version() -> None:
    """Say which version this is."""
    answer(__version__)


@config_app.command("show")
def config_show(arguments: Arguments) -> None:
    """Print the effective configuration: files, overrides and defaults."""
    answer(configfile.to_yaml(read_config(arguments, "config show")))


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON Schema that editors check and complete YAML files with."""
    answer(configfile.json_schema())


@config_app.command("init")
def config_init() -> None:
    """Print a commented configuration to start from."""
    answer(configfile.template())


def main() -> None:
    """The program `sam-batch`."""
    terminal.prepare_streams()
    sys.excepthook = terminal.show_unforeseen
    try:
        get_command(app)(prog_name="sam-batch")  # not app(), which sets a hook of its own
    except SamBatchError as error:
        if terminal.wants_traceback():
            traceback.print_exception(error)
        terminal.complain(error)
        sys.exit(ExitCode.USAGE if isinstance(error, ConfigError) else ExitCode.FAILED)


if __name__ == "__main__":
    main()
