r"""Train a network, validate it every epoch, and evaluate the best checkpoint on the test split.

  python -m cervix_jax.main --config=configs/rcan.py
  python -m cervix_jax.main --config=configs/rcan.py:sipakmed/single_cell \
      --config.data.manual_dir=/path/to/SIPaKMeD --workdir=runs/rcan

The first needs no data. The same command again resumes, or says that the run is finished. Configs
are rcan, densenet121, resnet50, ran92, efficientnet_lite0 and transfer_herlev; `configs/NAME.py`
means this package's own where the working directory has no such file. What follows the colon is
the data set. Every field can be set with --config.<field>=<value>; --help together with --config
lists them. Exit code 75 means stopped by SIGTERM after saving, or that another process of the run
is gone; the same command goes on.
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
    "The run": ["config", "workdir", "hook", "profile"],
    "Several processes (found by themselves under Slurm, Open MPI and on Cloud TPU)": [
        "distributed", "coordinator_address", "num_processes", "process_id",
    ],
}  # fmt: skip


def default_workdir(config_path: str) -> Path:
    """`runs/<config>-<time>`, for a run that was given no folder."""
    name = Path(config_path.split(":")[0]).stem
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def same_command(folder: Path) -> str:
    """The command line that goes on with this run, which names its folder."""
    given = [a for a in sys.argv[1:] if not a.lstrip("-").startswith("workdir=")]
    return shlex.join(["python", "-m", "cervix_jax.main", *given, f"--workdir={folder}"])


def _say_how_to_go_on(folder: Path) -> None:
    if distributed.is_main_process():
        print(f"go on with: {same_command(folder)}", file=sys.stderr)


def main(argv: list[str]) -> int | None:
    """Command line."""
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
    # The first process's, since the name of the default says when it was started.
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
        logging.warning("Preempted: %s. The same command goes on from there.", error)
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
        raise InputError(f"--profile={profile} records one run: leave cross_validation.seeds out.")
    return cross_validation.table(
        cross_validation.cross_validate(config, folder, on_epoch=on_epoch)
    )


def define_flags() -> None:
    """Flags of this command."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "A config file, with its argument after a colon.",
        lock_config=True,
    )
    flags.DEFINE_string("workdir", "", "Folder of the run; default runs/<config>-<time>.")
    flags.DEFINE_string(
        "hook",
        "",
        "Function that gets the metrics of every epoch, as <module>:<function>, or the name of a "
        "hook of an installed package.",
    )
    flags.DEFINE_string(
        "profile", "", "Steps to record for TensorBoard, <first>:<last>, in <workdir>/profile."
    )
    flags.DEFINE_enum(
        "distributed", "auto", distributed.MODES,
        "Whether to connect several processes: auto does under Slurm and Open MPI, on Cloud TPU "
        "and where --coordinator_address or JAX_COORDINATOR_ADDRESS is given.",
    )  # fmt: skip
    flags.DEFINE_string("coordinator_address", None, "host:port of process 0.")
    flags.DEFINE_integer("num_processes", None, "Processes in all (or JAX_NUM_PROCESSES).")
    flags.DEFINE_integer("process_id", None, "Which of them this is (or JAX_PROCESS_ID).")
    flags.mark_flag_as_required("config")


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS, devices=False, alone=False)
