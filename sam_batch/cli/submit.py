"""`sam-batch submit`: a job for a Ray cluster, followed from this terminal."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from sam_batch.cli import terminal
from sam_batch.cli.arguments import Arguments, read_config
from sam_batch.cli.terminal import answer

submit_app = typer.Typer()


@submit_app.command()
def submit(
    arguments: Arguments,
    address: Annotated[
        str, typer.Option(metavar="URL", help="Of the cluster's dashboard, such as http://head-node:8265.")
    ],
) -> None:
    """Let a Ray cluster run a job, and follow it; ends with the job's exit code.

    The nodes have sam-batch and the weights; the configuration is sent. Ctrl-C asks whether to stop the job, too.
    """
    config = read_config(arguments, "submit")
    from sam_batch.job.ray.submit import submit as submit_job

    with terminal.quiet(verbose=False) as console:
        code = submit_job(config, address, console, lambda: _wants_to_stop(console))
    answer(f"results in {config.output.uri}" if code == 0 else f"the job ended with exit code {code}")
    raise typer.Exit(code)


def _wants_to_stop(console: Console) -> bool:
    """Where nobody can be asked, the job is left alone."""
    if not sys.stdin.isatty():
        return False
    return console.input("\nstop the job on the cluster, too? [y/N] ", markup=False).strip().lower() in ("y", "yes")
