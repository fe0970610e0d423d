"""`python -m cervix_jax.main --config=configs/rcan.py`: train, then evaluate on the test split."""

import datetime
import os
import platform
from pathlib import Path

import jax
from absl import flags, logging
from ml_collections import config_flags

from cervix_jax import cli
from cervix_jax.evaluate import summary
from cervix_jax.train import Preempted, train_and_evaluate

EXIT_PREEMPTED = 75


def default_workdir(config_path: str) -> Path:
    """`runs/<config>-<time>`, for a run that was given no folder."""
    name = Path(config_path.split(":")[0]).stem
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def main(argv: list[str]) -> int | None:
    """Command line."""
    del argv
    args = flags.FLAGS
    cache_compilations()
    folder = Path(args.workdir or default_workdir(args["config"].config_filename))
    logging.info("JAX %s on %s", jax.__version__, jax.devices())
    try:
        report = train_and_evaluate(args.config, folder)
    except Preempted as error:
        logging.warning("Preempted: %s. The same command goes on from there.", error)
        return EXIT_PREEMPTED
    print(summary(report))
    print(f"run written to {folder}")
    return None


def cache_compilations() -> None:
    """Keep compiled programs in a per-user folder, so that a second start is faster.

    One folder a processor model, since code compiled for one CPU may not run on another. The
    environment variable JAX_COMPILATION_CACHE_DIR overrides it.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    jax.config.update("jax_compilation_cache_dir", str(root / "cervix_jax" / platform.machine()))


def define_flags() -> None:
    """Flags of this command."""
    config_flags.DEFINE_config_file(
        "config", None, "A config file, with its argument after a colon.", lock_config=True
    )
    flags.DEFINE_string("workdir", "", "Folder of the run; default runs/<config>-<time>.")
    flags.mark_flag_as_required("config")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
