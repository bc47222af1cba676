"""With steps that are done in a blink: what a stopped or failed run leaves, and what the next one does with it."""

import json

import pytest

from benchmarks.harness.steps import Step, run_steps

ABOUT = {"device": "a card", "commit": "abc", "versions": {"python": "3"}}


def step(name, code, **more):
    return Step(name, ("-S", "-c", code), **more)


@pytest.fixture
def run(tmp_path):
    def run(*steps, seconds=60.0, device="a card"):
        whole = run_steps(steps, tmp_path / "gpu.jsonl", ABOUT | {"device": device}, seconds)
        return whole, [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]

    return run


def test_a_step_is_a_line_with_its_last_json_object_and_its_log_is_kept(run, tmp_path):
    whole, (row,) = run(step("speed", """print('table'); print('{"rate": 2}'); print('bye')"""))
    assert whole
    assert (row["step"], row["outcome"], row["figures"], row["last_words"]) == ("speed", "ok", {"rate": 2}, [])
    assert row.keys() >= {"command", "seconds", "date", "device", "commit", "versions"}
    assert (tmp_path / "gpu" / "speed.log").read_text().splitlines()[0] == "table"


def test_a_step_that_fails_says_why_and_the_next_goes_on(run):
    whole, (failed, ok) = run(step("bad", "print('so far'); raise SystemExit('no memory')"), step("good", "print(1)"))
    assert not whole
    assert (failed["outcome"], failed["last_words"]) == ("failed", ["so far", "no memory", "exit code 1"])
    assert (ok["outcome"], ok["last_words"]) == ("ok", ["1"])


def test_what_succeeded_is_not_done_again_and_what_failed_is(run, capsys):
    steps = (step("good", "print(1)"), step("bad", "raise SystemExit(3)"))
    run(*steps)
    _, rows = run(*steps)
    assert [row["step"] for row in rows] == ["good", "bad", "bad"]
    assert "good: done before" in capsys.readouterr().out


def test_another_device_or_command_is_done_again(run):
    run(step("one", "print(1)"))
    run(step("one", "print(1)"), device="another card")
    _, rows = run(step("one", "print(2)"))
    assert [row["outcome"] for row in rows] == ["ok", "ok", "ok"]


def test_a_line_that_was_cut_short_is_no_success(run, tmp_path):
    (tmp_path / "gpu.jsonl").write_text('{"step": "one", "outc\n')
    assert run_steps([step("one", "print(1)")], tmp_path / "gpu.jsonl", ABOUT, 60.0)
    assert len((tmp_path / "gpu.jsonl").read_text().splitlines()) == 2


def test_a_step_is_stopped_when_its_time_is_over(run):
    code = "import time; print('begun', flush=True); time.sleep(60)"
    whole, (row,) = run(step("long", code, minutes=1 / 60))
    assert not whole
    assert (row["outcome"], row["last_words"][-1]) == ("timeout", "stopped: its time was over")
    assert row["seconds"] < 30


def test_no_step_begins_when_the_time_of_all_is_over(tmp_path, capsys):
    assert not run_steps([step("one", "print(1)")], tmp_path / "gpu.jsonl", ABOUT, 0.0)
    assert not (tmp_path / "gpu.jsonl").exists()
    assert "one: not begun" in capsys.readouterr().out


def test_a_step_without_its_library_is_left_out(run):
    whole, (row,) = run(step("engines", "print(1)", needs=("no_such_module", "nor_this")))
    assert whole
    assert (row["outcome"], row["last_words"]) == ("left out", ["no_such_module or nor_this is not installed"])


@pytest.mark.parametrize(("printed", "said"), [('{"same": 0.5}', "0.5"), ('{"same": null}', "None"), ("", "None")])
def test_figures_that_are_too_low_or_missing_are_a_failure(run, printed, said):
    _, (row,) = run(step("parity", f"print('''{printed}''')", least={"same": 0.95}))
    assert (row["outcome"], row["last_words"][-1]) == ("failed", f"same is {said}, not 0.95 or more")


def test_the_scratch_folder_is_there_and_gone_afterwards(run, tmp_path):
    code = "import os, sys; print(sys.argv[1], os.path.isdir(sys.argv[1]))"
    _, (row,) = run(Step("job", ("-S", "-c", code, "{scratch}")))
    folder, there = row["last_words"][0].split()
    assert there == "True"
    assert not tmp_path.joinpath(folder).exists()
