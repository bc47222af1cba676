import torch

from sam_batch.model.containers import places

ONE = torch.ones(1)


def found(tree):
    return {str(place): set(place.state) for place in places(tree) if place.state}


def test_the_whole_comes_before_its_parts_and_each_part_has_its_own_names():
    tree = {"a": ONE, "model": {"module.b": ONE, "epoch": 3}, "epoch": 1}
    assert found(tree) == {"": {"a"}, "model": {"module.b"}, "model / module.*": {"b"}}
    assert next(iter(found(tree))) == ""


def test_a_name_is_a_prefix_only_up_to_its_dot():
    assert found({"modules.a": ONE, "networks": {"a": ONE}}) == {"": {"modules.a"}}


def test_what_is_trained_comes_before_its_average():
    assert list(found({"ema": {"a": ONE}, "model": {"a": ONE}, "teacher.a": ONE, "net.a": ONE}))[1:] == [
        "model", "ema", "net.*", "teacher.*",
    ]  # fmt: skip


def test_numbers_for_names_are_passed_over():
    assert found({1: ONE, "a": ONE, "model": [ONE]}) == {"": {"a"}}
