"""What a run shows while it runs."""

import io

from rich.console import Console

from sam_batch.job.progress import ListingProgress, RunProgress
from sam_batch.output.parts import Receipt


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def shown(terminal, receipts, width=200):
    """Add (seconds, receipt) pairs; returns what was printed and the last line."""
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width)
    with RunProgress(console, total=40, clock=clock) as progress:
        for seconds, receipt in receipts:
            clock.now = seconds
            progress.add(receipt)
        return out, progress.line()


def test_line_gives_rates_failures_and_the_time_left():
    _, line = shown(False, [(5.0, Receipt(0, ok=9, failed=1, masks=100))])
    assert line == "10/40 images  2.00 images/s  20.0 masks/s  1 failed  0:15 left"


def test_rate_is_that_of_the_last_minute():
    _, line = shown(False, [(1000.0, Receipt(0, ok=10)), (1010.0, Receipt(1, ok=10))])
    assert "1.00 images/s" in line


def test_without_a_terminal_a_plain_line_comes_every_ten_seconds():
    out, _ = shown(False, [(seconds, Receipt(0, ok=1)) for seconds in (1, 9, 11, 15, 22)])
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["3/40", "5/40"]


def test_on_a_terminal_there_is_a_bar():
    out, _ = shown(True, [(1, Receipt(0, ok=40))])
    assert "40/40 images" in out.getvalue()


def test_a_narrow_terminal_shows_a_line_that_fits():
    out, _ = shown(True, [(5, Receipt(0, ok=10))], width=60)
    assert "10/40  2.00/s  0 failed  0:15 left" in out.getvalue()
    assert "…" not in out.getvalue()


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out, _ = shown(True, [(11, Receipt(0, ok=10))])
    assert out.getvalue().startswith("10/40 images")


def test_a_listing_shows_how_far_it_is_every_ten_seconds():
    clock, out = Clock(), io.StringIO()
    with ListingProgress(Console(file=out, force_terminal=False, width=200), clock) as progress:
        for seconds, found in ((5.0, 1), (11.0, 2), (12.0, 3)):
            clock.now = seconds
            progress.found(found)
    assert out.getvalue() == "listing the input: 2 images found\n"


def test_on_a_terminal_a_listing_shows_it_in_place():
    out = io.StringIO()
    with ListingProgress(Console(file=out, force_terminal=True, width=200), Clock()) as progress:
        progress.found(1024)
    assert "listing the input" in out.getvalue()
