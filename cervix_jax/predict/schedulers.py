"""The shard of a process from the environment variables of the scheduler that started it.

Slurm numbers the tasks of a job array (https://slurm.schedmd.com/job_array.html) and of a step of
`srun`. SkyPilot numbers the nodes of a cluster and the jobs of a pool
(https://docs.skypilot.co/en/stable/running-jobs/environment-variables.html). Kubernetes numbers the
pods of an indexed Job (https://kubernetes.io/docs/concepts/workloads/controllers/job/), but does
not give their total number.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from cervix_jax.errors import InputError
from cervix_jax.predict.shard import WHOLE, Shard

AUTO = "auto"  # the value of --shard
_ARRAY = "SLURM_ARRAY_TASK"
_WAY_OUT = "give --shard=k/n, or --shard=1/1 for all"
_MISSING = {
    "JOB_COMPLETIONS": (
        "add JOB_COMPLETIONS, with the value of the Job's completions, to the env of its container"
    ),
}


@dataclasses.dataclass(frozen=True)
class _Rank:
    """A number among several, from 0, and the variables that give it."""

    index: int
    count: int
    why: str


def shard_of_scheduler(environment: Mapping[str, str]) -> tuple[Shard, str]:
    """The shard of a process and the variables that give it; all units and "" if there are none.

    Numbers of one scheduler multiply: an array of 4 tasks that start 2 processes each has 8 shards.

    Args:
      environment: such as `os.environ`.

    Raises:
      InputError: a variable is not a number, variables contradict each other, or the total number
        of shards is missing.
    """
    found: dict[str, tuple[Shard, str]] = {}
    for scheduler, ranks in (
        ("Slurm", _slurm(environment)),
        ("SkyPilot", _skypilot(environment)),
        ("Kubernetes", _kubernetes(environment)),
    ):
        shard, why = WHOLE, []
        for rank in ranks:
            shard = Shard(
                (shard.number - 1) * rank.count + rank.index + 1, shard.count * rank.count
            )
            why.append(rank.why)
        if shard.count > 1:
            found[scheduler] = shard, " and ".join(why)
    if len({shard for shard, _ in found.values()}) > 1:
        said = "; ".join(f"{name} {shard}, as set by {why}" for name, (shard, why) in found.items())
        raise InputError(f"two schedulers give different shards: {said}; {_WAY_OUT}.")
    return next(iter(found.values()), (WHOLE, ""))


def _slurm(environment: Mapping[str, str]) -> Iterator[_Rank]:
    if f"{_ARRAY}_ID" in environment:
        yield _array(environment)
    # Slurm numbers a batch script as process 0 of all its tasks; only a step has the others.
    if "SLURM_STEP_NODELIST" in environment and "SLURM_PROCID" in environment:
        step = "SLURM_STEP_NUM_TASKS" in environment
        yield _rank(environment, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS" if step else "SLURM_NTASKS")


def _array(environment: Mapping[str, str]) -> _Rank:
    own, first, count = (_number(environment, f"{_ARRAY}_{n}") for n in ("ID", "MIN", "COUNT"))
    step = _number(environment, f"{_ARRAY}_STEP", 1)
    last = _number(environment, f"{_ARRAY}_MAX", first + step * (count - 1))
    why = f"{_ARRAY}_ID={own}"
    index, rest = divmod(own - first, max(step, 1))
    if step < 1 or rest or not 0 <= index < count or (last - first) // step + 1 != count:
        raise InputError(
            f"{why} belongs to an array of {count} from {first} to {last} in steps of {step}, "
            f"which has gaps; submit it as --array=1-{max(count, 1)}, or {_WAY_OUT}."
        )
    return _Rank(index, count, f"{why} of {_ARRAY}_COUNT={count}")


def _skypilot(environment: Mapping[str, str]) -> Iterator[_Rank]:
    for rank, count in (
        ("SKYPILOT_JOB_RANK", "SKYPILOT_NUM_JOBS"),
        ("SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES"),
    ):
        if rank in environment:
            yield _rank(environment, rank, count)


def _kubernetes(environment: Mapping[str, str]) -> Iterator[_Rank]:
    if "JOB_COMPLETION_INDEX" in environment:
        yield _rank(environment, "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS")


def _rank(environment: Mapping[str, str], name: str, of: str) -> _Rank:
    index, count = _number(environment, name), _number(environment, of)
    if index >= count:
        raise InputError(f"{name}={index} is not below {of}={count}; {_WAY_OUT}.")
    return _Rank(index, count, f"{name}={index} of {of}={count}")


def _number(environment: Mapping[str, str], name: str, missing: int | None = None) -> int:
    text = environment.get(name, "")
    if not text and missing is not None:
        return missing
    if not text:
        what = _MISSING.get(name, f"set {name}")
        raise InputError(
            f"{name} is missing, so the number of shards is unknown; {what}, or {_WAY_OUT}."
        )
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"the environment variable {name}={text!r} is not a number; {_WAY_OUT}.")
    return int(text)
