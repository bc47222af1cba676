"""Which shards of a job are whose, where several processes share it: by their number alone, so nobody need be asked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sam_batch.errors import ConfigError

AUTO: Final = "auto"
_SHARE: Final = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Share:
    """One of several workers' part of a job.

    Attributes:
        number: Of the worker, from 1.
        count: How many there are.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, shards: set[int]) -> set[int]:
        """The worker's own among some shards."""
        return {shard for shard in shards if shard % self.count == self.number - 1}

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """What `--worker` says.

        Args:
            text: `2/8`, or `auto` for what Slurm or torchrun say in the environment.
            environment: Of the process.

        Raises:
            ConfigError: It says neither, or the environment does not.
        """
        if text == AUTO:
            return cls._of_torchrun(environment) if "WORLD_SIZE" in environment else cls._of_slurm(environment)
        match = _SHARE.fullmatch(text)
        if match is None:
            raise ConfigError(f"--worker {text}: write number/count, from 1/8 to 8/8, or auto on Slurm and in torchrun")
        return cls._checked(int(match[1]), int(match[2]), f"--worker {text}")

    @classmethod
    def _of_torchrun(cls, environment: Mapping[str, str]) -> Self:
        rank, size = _numbers(environment, "RANK", "WORLD_SIZE")
        return cls._checked(rank + 1, size, f"--worker auto: RANK={rank} of WORLD_SIZE={size}")

    @classmethod
    def _of_slurm(cls, environment: Mapping[str, str]) -> Self:
        """A task of an array, of a step of several, or of both: each task of the array has as many."""
        tasks, task, arrays, array = 1, 0, 1, 0
        if "SLURM_STEP_NUM_TASKS" in environment:  # inside srun alone
            task, tasks = _numbers(environment, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
        if "SLURM_ARRAY_TASK_ID" in environment:
            names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")
            array, first, arrays = _numbers(environment, *names)
            array -= first
        if tasks * arrays == 1 and "SLURM_JOB_ID" not in environment:
            raise ConfigError(
                "--worker auto: neither Slurm (SLURM_ARRAY_TASK_ID, or SLURM_PROCID in srun) nor torchrun (RANK) says "
                "which worker this is; write --worker 1/8"
            )
        told = f"--worker auto: task {array} of {arrays} in the array, and {task} of {tasks} in its step"
        return cls._checked(array * tasks + task + 1, arrays * tasks, told)

    @classmethod
    def _checked(cls, number: int, count: int, told: str) -> Self:
        if not 1 <= number <= count:
            raise ConfigError(f"{told}: there is no such worker; of eight they are 1/8 to 8/8")
        return cls(number, count)


def _numbers(environment: Mapping[str, str], *names: str) -> list[int]:
    try:
        return [int(environment[name]) for name in names]
    except (KeyError, ValueError) as error:
        raise ConfigError(f"--worker auto: {', '.join(names)}: are not all numbers; write --worker 1/8") from error


def gpus_here() -> int:
    """NVIDIA GPUs of this machine or container, without a driver being asked."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def own_gpu(environment: Mapping[str, str], gpus: int) -> str | None:
    """Which of a machine's GPUs is this worker's, as CUDA_VISIBLE_DEVICES says it; None where that is as it is.

    Args:
        environment: Of the process; torchrun and Slurm say which of the workers on its machine it is.
        gpus: On this machine.
    """
    local = environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", ""))
    visible = environment.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    return visible[int(local) % len(visible)] if local.isdigit() and len(visible) > 1 else None
