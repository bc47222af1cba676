"""The verb `submit`, over a job that is said to have ended."""

import pytest

from sam_batch.job.ray import submit


@pytest.mark.parametrize(("code", "said"), [(0, "results in "), (3, "the job ended with exit code 3")])
def test_it_ends_with_the_exit_code_of_the_job(job, call, monkeypatch, code, said):
    def submit_job(config, address, console, stop):
        assert (address, stop()) == ("http://head:8265", False)  # nobody to be asked
        console.print("1 of 1 images", highlight=False)
        return code

    monkeypatch.setattr(submit, "submit", submit_job)
    ended, out, told = call("submit", job, "--address", "http://head:8265")
    assert (ended, out.startswith(said), told) == (code, True, "1 of 1 images\n")
