"""What a test makes the stand-in do."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Knobs:
    """What a test may make the stand-in do, and what it has seen; `reset` between tests."""

    builds: bool = True
    build_error: str = "Out of memory: requested 1 GiB"  # if it does not
    pool_limits: list[int] = field(default_factory=list)
    timing_caches_fit: bool = True  # False: as on another GPU
    steps: int = 3  # of a build
    on_step: Callable[[], None] | None = None
    contexts: bool = True
    runs: bool = True
    plans_loaded: int = 0
    timing_caches: list[bytes] = field(default_factory=list)

    def reset(self) -> None:
        self.__init__()


KNOBS = Knobs()
