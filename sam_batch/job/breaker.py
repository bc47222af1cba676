"""Ends a run in which most images fail: what breaks them all at once is hardly the images.

Whole stores that do not answer make no failed images and are `job.outage`'s business.
"""

from collections import deque

from sam_batch.config_run import RunConfig
from sam_batch.errors import JobError
from sam_batch.output.parts import Receipt

IMAGES = 1000  # the last so many are looked at, and no fewer: a small job ends by itself soon enough


class Breaker:
    """Watches the share of failed images among the last ones.

    Args:
        config: Of the run; what `max_failure_rate` allows is no reason to end it.
    """

    def __init__(self, config: RunConfig) -> None:
        self._rate = max(config.abort_failure_rate, config.max_failure_rate)
        self._last: deque[Receipt] = deque()
        self._images = self._failed = 0

    def count(self, receipt: Receipt) -> None:
        """Count a shard that was committed.

        Raises:
            JobError: Too many of the last images failed.
        """
        self._last.append(receipt)
        self._images += receipt.images
        self._failed += receipt.failed
        while self._images - self._last[0].images >= IMAGES:
            oldest = self._last.popleft()
            self._images -= oldest.images
            self._failed -= oldest.failed
        if self._images >= IMAGES and self._failed > self._rate * self._images:
            raise JobError(
                f"{self._failed} of the last {self._images} images failed, more than run.abort_failure_rate = "
                f"{self._rate:g} allows; `sam-batch status OUTPUT --failed` lists the reasons. Mend them and go on "
                "with --retry-failed, or allow more"
            )
