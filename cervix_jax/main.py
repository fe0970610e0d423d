r"""Train a network, validate it every epoch, and evaluate the best checkpoint on the test split.

  python -m cervix_jax.main --config=configs/rcan.py
  python -m cervix_jax.main --config=configs/rcan.py:sipakmed/single_cell \
      --config.data.manual_dir=/path/to/SIPaKMeD --workdir=runs/rcan

The first example trains on synthetic images and needs no data set. An epoch is one pass over the
training images, a checkpoint the saved weights and optimiser state. Repeating a command with the
same --workdir resumes its run, or reports that the run is finished. The configs are rcan,
densenet121, resnet50, ran92, efficientnet_lite0, transfer_herlev and nuclei. `configs/NAME.py` is
read from the working directory if it exists there, else from the package. The text after the colon
selects the data set. Set any field of the config with --config.<field>=<value>; --help together
with --config lists all fields. Exit code 75 means that the run was saved after SIGTERM (a request
to stop), or stopped because another process of the same run ended; repeat the command with that
--workdir to resume.
"""

import datetime
import shlex
import sys
from pathlib import Path

import jax
import ml_collections
from absl import flags, logging
from ml_collections import config_flags

from cervix_jax import distributed, peers
from cervix_jax.command.preemption import Preempted
from cervix_jax.command.run import EXIT_FAILED, EXIT_PREEMPTED, run_command
from cervix_jax.command.startup import require_devices
from cervix_jax.config.fields import check_fields
from cervix_jax.errors import InputError
from cervix_jax.evaluate.summary_text import summary
from cervix_jax.training import cross_validation
from cervix_jax.training.hooks import EpochHook, HookError, find_hook
from cervix_jax.training.loop import NonFiniteLossError
from cervix_jax.training.run import train_and_evaluate

GROUPS = {
    "The run": ["config", "workdir", "hook", "profile", "progress"],
    "Several processes (detected automatically under Slurm, Open MPI and on Cloud TPU)": [
        "distributed", "coordinator_address", "num_processes", "process_id",
    ],
}  # fmt: skip


def default_workdir(config_path: str) -> Path:
    """The folder of a run without --workdir: `runs/<config>-<time>`."""
    name = Path(config_path.split(":")[0]).stem
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def same_command(folder: Path) -> str:
    """The command line that resumes this run, with its folder as --workdir."""
    given = [a for a in sys.argv[1:] if not a.lstrip("-").startswith("workdir=")]
    return shlex.join(["python", "-m", "cervix_jax.main", *given, f"--workdir={folder}"])


def _say_how_to_go_on(folder: Path) -> None:
    if distributed.is_main_process():
        print(f"resume with: {same_command(folder)}", file=sys.stderr)


def main(argv: list[str]) -> int | None:
    """Train, validate and evaluate as the flags of the command line specify."""
    del argv
    args = flags.FLAGS
    given = args["config"].config_filename  # pyright: ignore[reportAttributeAccessIssue]
    check_fields(args.config, f"--config={given}")
    distributed.initialize(
        args.distributed, args.coordinator_address, args.num_processes, args.process_id
    )
    with peers.ended_with_the_others():
        return _run(args, given)


def _run(args: flags.FlagValues, given: str) -> int | None:
    require_devices()
    # All processes use the first one's folder, as the default name contains the start time.
    own = args.workdir or str(default_workdir(given))
    folder = Path(distributed.gather_text(own)[0])
    if distributed.is_main_process():
        print(f"run: {folder}", flush=True)
    logging.info(
        "JAX %s on %s; process %d of %d",
        jax.__version__, jax.local_devices(), jax.process_index(), jax.process_count(),
    )  # fmt: skip
    try:
        text = _train(args.config, folder, args.profile, find_hook(args.hook))
    except Preempted as error:
        logging.warning("Preempted: %s. Repeat the command to resume from there.", error)
        _say_how_to_go_on(folder)
        return EXIT_PREEMPTED
    except KeyboardInterrupt:
        if any(folder.glob("checkpoints/[0-9]*")) or any(folder.glob("seed*")):
            _say_how_to_go_on(folder)
        raise
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except HookError as error:
        print(f"error: {error}", file=sys.stderr)
        _say_how_to_go_on(folder)
        return EXIT_FAILED
    if distributed.is_main_process():
        print(text)
        print(f"run written to {folder}")
    return None


def _train(
    config: ml_collections.ConfigDict, folder: Path, profile: str, on_epoch: EpochHook | None
) -> str:
    if not config.cross_validation.seeds:
        return summary(train_and_evaluate(config, folder, profile=profile, on_epoch=on_epoch))
    if profile:
        raise InputError(
            f"--profile={profile} records a single run; set cross_validation.seeds to 0."
        )
    return cross_validation.table(
        cross_validation.cross_validate(config, folder, on_epoch=on_epoch)
    )


def define_flags() -> None:
    """Define the flags of this command."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Config file, as <file>[:<argument>]; required.",
        lock_config=True,
    )
    flags.DEFINE_string("workdir", "", "Folder of the run; default runs/<config>-<time>.")
    flags.DEFINE_string(
        "hook",
        "",
        "Function that receives the metrics of every epoch, as <module>:<function>, or the name of "
        "an entry point in the group cervix_jax.hooks of an installed package; default none.",
    )
    flags.DEFINE_string(
        "profile",
        "",
        "Training steps to time, as <first>:<last>; the times (a TensorBoard profile) are written "
        "to <workdir>/profile; default none.",
    )
    flags.DEFINE_enum(
        "distributed", "auto", distributed.MODES,
        "Connect the processes of a run (jax.distributed); auto: under Slurm and "
        "Open MPI, on Cloud TPU and if --coordinator_address or JAX_COORDINATOR_ADDRESS is set.",
    )  # fmt: skip
    flags.DEFINE_string(
        "coordinator_address", None, "Address of process 0 as host:port (or the environment "
        "variable JAX_COORDINATOR_ADDRESS).",
    )  # fmt: skip
    flags.DEFINE_integer(
        "num_processes", None, "Number of processes (or the environment variable "
        "JAX_NUM_PROCESSES).",
    )  # fmt: skip
    flags.DEFINE_integer(
        "process_id", None, "Number of this process, from 0 (or the environment variable "
        "JAX_PROCESS_ID).",
    )  # fmt: skip
    flags.mark_flag_as_required("config")


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS, devices=False, alone=False)
