"""The targets of `make fuzz` know what they are given: some hundred inputs each, in this process."""

import random
from itertools import islice

import pytest
from support import fuzz


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_only_declared_errors_come_of_torn_and_twisted_bytes(target):
    seeds = fuzz.seeds_of(target)
    for data in islice(fuzz.mutated(seeds, random.Random(7)), 20):
        fuzz.TARGETS[target](data)


def test_a_target_that_finds_something_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(fuzz.TARGETS, "pixels", lambda data: 1 / 0)
    monkeypatch.setattr(fuzz.resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(fuzz.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ZeroDivisionError):
        fuzz.run_target("pixels", 60, 0, tmp_path)
    assert (tmp_path / "input").read_bytes()
