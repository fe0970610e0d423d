"""The variables that schedulers set, as their pages have them, and the shard that they mean."""

import pytest

from cervix_jax.errors import InputError
from cervix_jax.predict.schedulers import shard_of_scheduler
from cervix_jax.predict.shard import WHOLE, Shard


def array(own, first=1, last=16, count=16, step=1):
    names = {"ID": own, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


def step(own, count):
    """A process of `srun`; the batch script around it has all but the first."""
    return {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_STEP_NUM_TASKS": count,
            "SLURM_PROCID": own, "SLURM_NTASKS": "9"}  # fmt: skip


SKY = {"SKYPILOT_NODE_RANK": "2", "SKYPILOT_NUM_NODES": "4"}
POOL = {"SKYPILOT_JOB_RANK": "1", "SKYPILOT_NUM_JOBS": "3"}
POD = {"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "4"}


@pytest.mark.parametrize(
    ("environment", "shard", "why"),
    [
        ({}, WHOLE, ""),
        (array(3), Shard(3, 16), "SLURM_ARRAY_TASK_ID=3 of SLURM_ARRAY_TASK_COUNT=16"),
        (array(0, 0, 3, 4), Shard(1, 4), "SLURM_ARRAY_TASK_ID=0 of SLURM_ARRAY_TASK_COUNT=4"),
        (array(7, 1, 7, 4, 2), Shard(4, 4), "SLURM_ARRAY_TASK_ID=7 of SLURM_ARRAY_TASK_COUNT=4"),
        # Whether the last index or the end of the range is given as the greatest.
        (array(8, 0, 15, 4, 4), Shard(3, 4), "SLURM_ARRAY_TASK_ID=8 of SLURM_ARRAY_TASK_COUNT=4"),
        ({k: v for k, v in array(2).items() if k[17:] not in ("STEP", "MAX")}, Shard(2, 16),
         "SLURM_ARRAY_TASK_ID=2 of SLURM_ARRAY_TASK_COUNT=16"),
        (array(5, 5, 5, 1), WHOLE, ""),
        (step("1", "2"), Shard(2, 2), "SLURM_PROCID=1 of SLURM_STEP_NUM_TASKS=2"),
        ({k: v for k, v in step("8", "").items() if "NUM" not in k}, Shard(9, 9),
         "SLURM_PROCID=8 of SLURM_NTASKS=9"),
        (step("0", "1"), WHOLE, ""),
        # A batch script is process 0 of as many tasks as its job has, and no step.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "9", "SLURM_JOB_ID": "1"}, WHOLE, ""),
        (array(3, 1, 4, 4) | step("1", "2"), Shard(6, 8),
         "SLURM_ARRAY_TASK_ID=3 of SLURM_ARRAY_TASK_COUNT=4 and SLURM_PROCID=1 of "
         "SLURM_STEP_NUM_TASKS=2"),
        (SKY, Shard(3, 4), "SKYPILOT_NODE_RANK=2 of SKYPILOT_NUM_NODES=4"),
        (SKY | {"SKYPILOT_NODE_RANK": "0", "SKYPILOT_NUM_NODES": "1"}, WHOLE, ""),
        (SKY | POOL, Shard(7, 12),
         "SKYPILOT_JOB_RANK=1 of SKYPILOT_NUM_JOBS=3 and SKYPILOT_NODE_RANK=2 of "
         "SKYPILOT_NUM_NODES=4"),
        (POD, Shard(3, 4), "JOB_COMPLETION_INDEX=2 of JOB_COMPLETIONS=4"),
        # SkyPilot on Slurm or Kubernetes: both say the same.
        (SKY | step("2", "4"), Shard(3, 4), "SLURM_PROCID=2 of SLURM_STEP_NUM_TASKS=4"),
        (POD | step("0", "1"), Shard(3, 4), "JOB_COMPLETION_INDEX=2 of JOB_COMPLETIONS=4"),
    ],
)  # fmt: skip
def test_the_shard(environment, shard, why):
    assert shard_of_scheduler(environment) == (shard, why)


def test_every_process_of_a_product_has_one_shard():
    shards = [
        shard_of_scheduler(array(own, 10, 30, 3, 10) | step(str(process), "4"))[0]
        for own in (10, 20, 30)
        for process in range(4)
    ]
    assert shards == [Shard(number, 12) for number in range(1, 13)]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (array(9, 1, 9, 3), r"SLURM_ARRAY_TASK_ID=9 .* has gaps; submit it as --array=1-3"),
        (array(3, 1, 9, 3), "has gaps"),
        (array(4, 1, 7, 4, 2), "has gaps"),
        (array(0), "has gaps"),
        (array(1, 1, 1, 0), "has gaps"),
        (array(1, step=0), "has gaps"),
        (array("x"), "SLURM_ARRAY_TASK_ID='x' is not a number; give --shard=k/n, or --shard=1/1"),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "1"}, "TASK_COUNT is missing"),
        (step("4", "4"), "SLURM_PROCID=4 is not below SLURM_STEP_NUM_TASKS=4"),
        (step("0", "0"), "SLURM_PROCID=0 is not below"),
        (step("-1", "4"), "SLURM_PROCID='-1' is not a number"),
        ({"SKYPILOT_NODE_RANK": "0"}, "SKYPILOT_NUM_NODES is missing"),
        (SKY | {"SKYPILOT_NUM_NODES": "2"}, "SKYPILOT_NODE_RANK=2 is not below"),
        ({"JOB_COMPLETION_INDEX": "2"}, "add JOB_COMPLETIONS, with the value of the Job's compl"),
        (POD | {"JOB_COMPLETIONS": "1.5"}, "JOB_COMPLETIONS='1.5' is not a number"),
        (
            POD | SKY | {"SKYPILOT_NODE_RANK": "1"},
            "two schedulers give different shards: SkyPilot 2/4, .*Kubernetes 3/4, as set by",
        ),
    ],
)
def test_what_does_not_fit_together(environment, message):
    with pytest.raises(InputError, match=message):
        shard_of_scheduler(environment)
