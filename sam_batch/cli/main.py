"""The command line: arguments to a configuration, a verb to do, its result to an exit code.

What can be set is declared in `sam_batch.config`; the options here are shorter names for some of it.
"""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from sam_batch import __version__, configfile
from sam_batch.cli.arguments import Arguments, read_config
from sam_batch.cli.engine import engine_app
from sam_batch.errors import ConfigError, ExitCode, SamBatchError

# Threads that spin while they wait starve each other where cores are few; read when torch is imported, later.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class _Verbs(TyperGroup):
    """Says that it was interrupted, which Typer would turn into an exit code alone."""

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
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(engine_app, name="engine")
config_app = typer.Typer(help="Show, describe or start a configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@app.command()
def run(
    arguments: Arguments,
    limit: Annotated[int | None, typer.Option(help="input.limit: only the first so many images.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="run.retry_failed: the failed again.")] = False,
    overwrite: Annotated[
        str | None, typer.Option(metavar="OUTPUT", help="Throw the results of this output away first; name it.")
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="run.verbose: Ray's log, tracebacks.")] = False,
) -> None:
    """Label every image that has no result yet."""
    shorthand = [f"input.limit={limit}"] if limit is not None else []
    shorthand += ["run.retry_failed=true"] if retry_failed else []
    shorthand += ["run.verbose=true"] if verbose else []
    config = read_config([*arguments, *shorthand])
    from sam_batch.job.run import run_job

    with _quiet(config.run.verbose) as console:
        report = run_job(config, console, overwrite)
        console.print(report.to_text(), markup=False, highlight=False, soft_wrap=True)
        if report.error:
            console.print(f"error: {report.error}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(report.exit_code)


@app.command()
def plan(
    arguments: Arguments,
    images_per_second: Annotated[float | None, typer.Option("--rate", min=0, help="Estimate the time at it.")] = None,
) -> None:
    """Say what a run would do, and do nothing."""
    from sam_batch.job.status import dry_run

    typer.echo(dry_run(read_config(arguments)).to_text(images_per_second))


@app.command()
def status(arguments: Arguments) -> None:
    """Say how far a job has come."""
    from sam_batch.job.status import status as job_status

    typer.echo(job_status(read_config(arguments)).to_text())


@app.command()
def version() -> None:
    """Say which version this is."""
    typer.echo(__version__)


@config_app.command("show")
def config_show(arguments: Arguments) -> None:
    """Print the effective configuration: files, overrides and defaults."""
    typer.echo(configfile.to_yaml(read_config(arguments)), nl=False)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON Schema that editors check and complete YAML files with."""
    typer.echo(configfile.json_schema(), nl=False)


@config_app.command("init")
def config_init() -> None:
    """Print a commented configuration to start from."""
    typer.echo(configfile.template(), nl=False)


@contextlib.contextmanager
def _quiet(verbose: bool) -> Iterator[Console]:
    """A console on the real stderr, while what Ray prints past Python's logging goes nowhere."""
    if verbose:
        console = Console(stderr=True)
        with _logged_on(console, logging.INFO):
            yield console
        return
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    with Path(os.devnull).open("w") as nowhere, os.fdopen(saved[1], "w", buffering=1, closefd=False) as terminal:
        _redirect([nowhere.fileno(), nowhere.fileno()])
        try:
            console = Console(file=terminal)
            with _logged_on(console, logging.WARNING):
                yield console
        finally:
            _redirect(saved)
            for descriptor in saved:
                os.close(descriptor)


@contextlib.contextmanager
def _logged_on(console: Console, level: int) -> Iterator[None]:
    """Show what the package logs from this level on."""
    log, handler = logging.getLogger("sam_batch"), _ConsoleHandler(console)
    before = log.level
    log.setLevel(level)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


class _ConsoleHandler(logging.Handler):
    """Prints each message once; above a progress bar, if there is one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._shown:
            self._shown.add(message)
            line = f"{record.levelname.lower()}: {message}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _redirect(targets: list[int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for descriptor, target in zip((1, 2), targets, strict=True):
        os.dup2(target, descriptor)


def main() -> None:
    """The program `sam-batch`."""
    try:
        app()
    except SamBatchError as error:
        _complain(error)
        sys.exit(ExitCode.USAGE if isinstance(error, ConfigError) else ExitCode.FAILED)


def _complain(error: SamBatchError) -> None:
    typer.echo(f"error: {error}", err=True)
    if "-v" in sys.argv or "--verbose" in sys.argv:
        traceback.print_exception(error)


if __name__ == "__main__":
    main()
