"""The list of steps, and, where there are minutes for it, all of them on the CPU."""

import json
from importlib import import_module

import pytest

from benchmarks import batches, gpu


def test_the_list_shows_every_step_and_runs_none(capsys, monkeypatch):
    monkeypatch.setattr(gpu, "run_steps", None)
    assert gpu.main(["--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names[:2] == ["tests", "parity-fp32"]
    assert len(set(names)) == len(names) == len(gpu.gpu_steps())


def test_every_program_of_the_steps_is_tried_small():
    def programs(steps):
        return {step.command[1] for step in steps}

    assert programs(gpu.tiny_steps()) == programs(gpu.gpu_steps())


OWN = {step.name: step.command for step in gpu.gpu_steps() if step.command[1].startswith("benchmarks.")}


@pytest.mark.parametrize("name", OWN)
def test_programs_know_the_arguments_that_steps_give_them(name):
    _, module, *arguments = OWN[name]
    assert import_module(module).parse(arguments)


def test_without_a_gpu_the_tiny_steps_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "output_of", lambda *command: "")
    with pytest.raises(SystemExit, match="no GPU here; --tiny"):
        gpu.main(["--output", str(tmp_path / "gpu.jsonl")])


def test_lines_say_the_versions_of_what_is_installed():
    about = gpu.describe(on_gpu=False)
    assert about["versions"].keys() >= {"python", "torch", "numpy", "segment-anything", "ray"}


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0), ([(1, 3), (2, 4)], 3), ([(5, 6), (1, 2)], 2), ([(0, 9), (1, 2), (8, 10)], 10)],
    ids=["none", "overlapping", "unordered", "within"],
)
def test_overlapping_kernels_are_busy_once(spans, length):
    assert batches.covered(spans) == length


@pytest.mark.slow
def test_every_tiny_step_succeeds_on_the_cpu(tmp_path):
    """Each starts Python and torch anew, and one exports a model: two minutes on two cores."""
    output = tmp_path / "gpu.jsonl"
    assert gpu.main(["--tiny", "--minutes", "9", "--output", str(output)]) == 0
    rows = {row["step"]: row for row in map(json.loads, output.read_text().splitlines())}
    assert rows.keys() == {step.name for step in gpu.tiny_steps()}
    assert rows["parity-fp32"]["figures"]["matched_fraction"] >= 0.95
    assert rows["batches"]["figures"]["batches"]["16"]["busy_share"] > 0
