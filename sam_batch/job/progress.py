"""How far a run is: a bar on a terminal, a short line on a narrow one, a plain line every ten seconds elsewhere."""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.status import Status

from sam_batch.output.parts import Receipt
from sam_batch.wording import counted

PLAIN_INTERVAL_SECONDS = 10.0
BAR_FROM_WIDTH = 110  # columns; with fewer there is no bar, and a shorter line
WINDOW_SECONDS = 60.0  # the rate is that of the last minute: start-up must not spoil it for hours


class RunProgress:
    """Counts receipts and shows images/s, masks/s, failed and the time left."""

    def __init__(self, console: Console, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._total = total
        self._done = 0
        self._failed = 0
        self._window: deque[tuple[float, int, int]] = deque([(clock(), 0, 0)])
        self._images = 0
        self._masks = 0
        self._printed = clock()
        self._is_live = console.is_terminal and not console.is_dumb_terminal
        columns: list[ProgressColumn] = [TextColumn("{task.description}")]
        if console.width >= BAR_FROM_WIDTH:
            columns = [BarColumn(), *columns]
        self._bar = Progress(*columns, console=console, disable=not self._is_live)
        self._task = self._bar.add_task(self._shown(), total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def add(self, receipt: Receipt) -> None:
        """Count a committed shard and show it."""
        self._done += receipt.images
        self._failed += receipt.failed
        self._images += receipt.images
        self._masks += receipt.masks
        now = self._clock()
        self._window.append((now, self._images, self._masks))
        while len(self._window) > 2 and now - self._window[0][0] > WINDOW_SECONDS:
            self._window.popleft()
        self._bar.update(self._task, completed=self._done, description=self._shown())
        if not self._is_live and now - self._printed >= PLAIN_INTERVAL_SECONDS:
            self._printed = now
            self._console.print(self.line(), highlight=False, soft_wrap=True)

    def line(self) -> str:
        """The state in one line."""
        images, masks = self._rates()
        left = (self._total - self._done) / images if images else None
        return (
            f"{self._done}/{self._total} images  {images:.2f} images/s  {masks:.1f} masks/s  "
            f"{self._failed} failed  {_duration(left)} left"
        )

    def _shown(self) -> str:
        """The state as the terminal has room for it."""
        if self._console.width >= BAR_FROM_WIDTH:
            return self.line()
        images, _ = self._rates()
        left = (self._total - self._done) / images if images else None
        return f"{self._done}/{self._total}  {images:.2f}/s  {self._failed} failed  {_duration(left)} left"

    def _rates(self) -> tuple[float, float]:
        (start, images, masks), (end, images_now, masks_now) = self._window[0], self._window[-1]
        seconds = end - start
        return ((images_now - images) / seconds, (masks_now - masks) / seconds) if seconds > 0 else (0.0, 0.0)


class ListingProgress:
    """Shows how many images were found: in place on a terminal, as a plain line every ten seconds elsewhere."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock, self._printed = console, clock, clock()
        self._status = Status("listing the input", console=console)
        self._is_live = console.is_terminal and not console.is_dumb_terminal

    def __enter__(self) -> Self:
        if self._is_live:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def found(self, images: int) -> None:
        """Show how many there are so far."""
        line = f"listing the input: {counted(images, 'image')} found"
        if self._is_live:
            self._status.update(line)
        elif self._clock() - self._printed >= PLAIN_INTERVAL_SECONDS:
            self._printed = self._clock()
            self._console.print(line, highlight=False)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
