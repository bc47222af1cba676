"""Files on this machine that a verb's option names: new ones, which overwrite nothing."""

from pathlib import Path

from sam_batch.data.storage import shown
from sam_batch.errors import ConfigError, OutputError


def require_free(option: str, to: str, suffixes: tuple[str, ...]) -> Path:
    """Refuse a place that cannot be used, before anything is done for it.

    Args:
        option: That names it, such as `--to`.
        to: What it says.
        suffixes: One of which the name must have; lower-case.

    Raises:
        ConfigError: It is no path on this machine, or ends otherwise.
        OutputError: Something lies there.
    """
    place = Path(to).expanduser()
    if "://" in to or place.suffix.lower() not in suffixes:
        named = [suffix for suffix in suffixes if suffix != ".jpeg"]
        raise ConfigError(f"{option} {to}: name a path on this machine that ends in {' or '.join(named)}")
    if place.exists():
        raise _taken(option, place)
    return place


def write_new(option: str, place: Path, data: bytes) -> None:
    """Write a file that is not there yet.

    Raises:
        OutputError: It is, or cannot be written.
    """
    try:
        with place.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise _taken(option, place) from None
    except OSError as error:
        raise OutputError(f"{option} {shown(str(place))}: cannot be written: {error.strerror}") from error


def _taken(option: str, place: Path) -> OutputError:
    return OutputError(f"{option} {shown(str(place))}: is there already, and is not overwritten; name another")
