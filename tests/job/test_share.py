"""Whose shards are whose, and how a worker learns which one it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.errors import ConfigError
from sam_batch.job.share import Share, gpus_here, own_gpu


@given(count=st.integers(1, 9), shards=st.sets(st.integers(0, 50)))
def test_each_shard_is_one_workers(count, shards):
    shares = [Share(number, count).of(shards) for number in range(1, count + 1)]
    assert sorted(shard for share in shares for shard in share) == sorted(shards)


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
STEP = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8"}
ARRAY = {
    "SLURM_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_ARRAY_TASK_MIN": "1",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "8",  # of its batch script, outside of srun
}


@pytest.mark.parametrize(
    ("text", "environment", "share"),
    [
        ("2/8", TORCHRUN, "2/8"),
        ("auto", TORCHRUN, "4/4"),
        ("auto", STEP, "3/8"),
        ("auto", ARRAY, "3/4"),
        ("auto", ARRAY | STEP, "19/32"),
        ("auto", {"SLURM_JOB_ID": "7"}, "1/1"),
    ],
)
def test_a_worker_learns_which_it_is_from_its_argument_torchrun_or_slurm(text, environment, share):
    assert str(Share.parse(text, environment)) == share


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        ("0/8", {}, "there is no such worker; of eight they are 1/8 to 8/8"),
        ("9/8", {}, "there is no such worker"),
        ("1", {}, "write number/count, from 1/8 to 8/8, or auto"),
        ("auto", {}, "neither Slurm .* nor torchrun"),
        ("auto", {"WORLD_SIZE": "4"}, "RANK, WORLD_SIZE: are not all numbers"),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_ID": "7"}, "task 6 of 4 in the array"),
    ],
)
def test_what_is_no_worker_is_refused(text, environment, words):
    with pytest.raises(ConfigError, match=words):
        Share.parse(text, environment)


@pytest.mark.parametrize(
    ("environment", "gpus", "visible"),
    [
        (TORCHRUN, 8, "1"),
        (TORCHRUN | {"CUDA_VISIBLE_DEVICES": "4,6"}, 8, "6"),
        (TORCHRUN | {"CUDA_VISIBLE_DEVICES": "4"}, 8, None),  # its own already
        (STEP | {"SLURM_LOCALID": "5"}, 4, "1"),
        (STEP | {"SLURM_LOCALID": "5"}, 0, None),
        ({}, 8, None),
    ],
)
def test_workers_of_one_machine_take_a_gpu_each(environment, gpus, visible):
    assert own_gpu(environment, gpus) == visible
    assert gpus_here() >= 0
