"""What lies in a folder, and calls of the system that fail."""

from collections.abc import Callable
from pathlib import Path


def files(root: str) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in Path(root).rglob("*") if path.is_file())


def failing(function: Callable[..., object], error: BaseException, after: bool) -> Callable[..., object]:
    def wrapper(*args: object, **kwargs: object) -> object:
        if after:
            function(*args, **kwargs)
        raise error

    return wrapper
