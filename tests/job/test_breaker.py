"""A run in which most images fail ends on its way; a small one, or one that may fail, does not."""

import pytest

from sam_batch.config_run import RunConfig
from sam_batch.errors import JobError
from sam_batch.job.breaker import IMAGES, Breaker
from sam_batch.output.parts import Receipt


def count(breaker, images, failed):
    for shard in range(images // 10):
        breaker.count(Receipt(shard, ok=10 - failed, failed=failed))


def test_fewer_images_end_nothing():
    breaker = Breaker(RunConfig())
    count(breaker, IMAGES - 10, failed=10)
    with pytest.raises(
        JobError, match=r"1000 of the last 1000 images failed, more than run\.abort_failure_rate = 0\.5"
    ):
        count(breaker, 10, failed=10)


def test_the_last_images_count_whatever_went_before():
    breaker = Breaker(RunConfig())
    count(breaker, 50_000, failed=5)
    count(breaker, 500, failed=0)
    count(breaker, 700, failed=7)
    with pytest.raises(JobError):
        count(breaker, 250, failed=7)


@pytest.mark.parametrize("allowed", [{"max_failure_rate": 1.0}, {"abort_failure_rate": 1.0}])
def test_what_may_fail_ends_nothing(allowed):
    count(Breaker(RunConfig(**allowed)), 5000, failed=10)


def test_shards_larger_than_what_is_looked_at_are_looked_at_whole():
    breaker = Breaker(RunConfig())
    with pytest.raises(JobError, match=r"3000 of the last 4000"):
        breaker.count(Receipt(0, ok=1000, failed=3000))
