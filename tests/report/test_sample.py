"""What a report shows is chosen from all rows, in bounded memory, and the same each time."""

import numpy as np
import pytest
from support.results import failed, random_masks, result_of

from sam_batch.output.schema import results_to_table
from sam_batch.records import Status
from sam_batch.report.sample import BINS, GROUP_SIZE, Histogram, Sample, seconds_per_image


def part(start, count):
    """Images named by their number, with one mask more each."""
    drawn = random_masks(20, 30, count)
    return results_to_table([result_of(f"{start + i:04}.jpg", drawn[: i + 1], start + i) for i in range(count)], {})


@pytest.fixture
def sample():
    gathered = Sample()
    for start in range(0, 60, 20):
        gathered.add(part(start, 20), seconds_per_image=1 + start)
    return gathered


def keys(sample, group):
    return [row["key"] for row in sample.groups[group].rows]


def test_everything_is_counted(sample):
    assert (sample.statuses, sample.masks) == ({"ok": 60}, 3 * 20 * 21 // 2)
    assert sample.histograms["masks"].counts.sum() == 60
    assert sample.histograms["predicted_iou"].counts.sum() == sample.masks


def test_groups_are_bounded_and_ranked(sample):
    assert [len(row["masks"]) for row in sample.groups["most"].rows] == [20] * 3 + [19] * 3 + [18] * 3 + [17] * 3
    assert [len(row["masks"]) for row in sample.groups["fewest"].rows][:4] == [1, 1, 1, 2]
    assert all(int(key[:4]) >= 40 for key in keys(sample, "slowest"))
    assert len(keys(sample, "random")) == GROUP_SIZE


def test_the_random_choice_depends_on_neither_order_nor_parts(sample):
    again = Sample()
    for start in (40, 0, 20):
        again.add(part(start, 20))
    assert keys(again, "random") == keys(sample, "random")


def test_empty_and_failed_images_have_their_groups():
    gathered = Sample()
    gathered.add(results_to_table([result_of("empty.jpg", [], 0, (4, 5)), failed("broken.jpg", 1)], {}))
    assert (keys(gathered, "fewest"), keys(gathered, "failed")) == (["empty.jpg"], ["broken.jpg"])
    assert gathered.failures == {"truncated": 1}
    assert keys(gathered, "slowest") == []


def test_a_histogram_counts_what_lies_outside_at_its_ends():
    histogram = Histogram(0, 1)
    histogram.add(np.array([-1.0, 0.0, 0.5, 1.0, 7.0]))
    assert (histogram.counts[0], histogram.counts[BINS // 2], histogram.counts[-1]) == (2, 1, 2)


def test_seconds_are_an_image_s_and_none_without_metrics():
    metrics = {status.value: 1 for status in Status} | {"load_seconds": 1.0, "segment_seconds": 4, "write_seconds": 1}
    assert (seconds_per_image(metrics), seconds_per_image({})) == (2.0, 0.0)
