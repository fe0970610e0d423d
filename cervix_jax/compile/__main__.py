r"""Compile the programs of a config for a TPU that is not there: memory, cycles, messages, time.

  python -m cervix_jax.compile --config=configs/rcan.py:sipakmed/single_cell --topology=v5e:2x4 \
      --batch_size=256 --programs=train --out=rcan_v5e.json

Needs the extra `tpu` (pip install 'cervix_jax[tpu]'), no TPU and no data. It says whether training,
evaluation, prediction, integrated gradients and the exported program fit into a chip's memory, and
estimates their time: docs/accelerators.md explains every line. A large network takes minutes for
each program. Every field can be set with --config.<field>=<value>.
"""

import contextlib
import sys

from absl import flags
from ml_collections import config_flags

from cervix_jax.command.run import run_command
from cervix_jax.compile.devices import use_cpu
from cervix_jax.compile.printed import table
from cervix_jax.compile.programs import PROGRAMS
from cervix_jax.compile.workflow import LARGEST, compile_config
from cervix_jax.config.fields import check_fields
from cervix_jax.files.atomic import replacing, write_json

GROUPS = {
    "What is compiled": ["config", "programs", "batch_size", "num_classes"],
    "For which chips": ["topology"],
    "What is found": ["largest_batch", "out", "texts"],
}


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    use_cpu()
    args = flags.FLAGS
    given = args["config"].config_filename  # pyright: ignore[reportAttributeAccessIssue]
    check_fields(args.config, f"--config={given}")
    with contextlib.ExitStack() as stack:
        # Before the minutes that compilations take it is seen that the file can be written.
        out = stack.enter_context(replacing(args.out)) if args.out else None
        report = compile_config(
            args.config,
            args.topology,
            batch_size=args.batch_size,
            num_classes=args.num_classes,
            programs=args.programs,
            largest=args.largest_batch,
            texts=args.texts,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        report = {"config": given} | report
        if out:
            write_json(out, report)
    print(table(report))


def define_flags() -> None:
    """Flags of this command."""
    config_flags.DEFINE_config_file(
        "config", None, "A config file, with its argument after a colon.", lock_config=True
    )
    flags.DEFINE_string(
        "topology", "v5e:2x4", "The slice: v4, v5e, v5p or v6e and its shape, or v5litepod-8."
    )
    flags.DEFINE_list("programs", list(PROGRAMS), "Which programs, with commas between them.")
    flags.DEFINE_integer(
        "batch_size", 0,
        "Images of a call on all chips together, of every program; default the config's own.",
    )  # fmt: skip
    flags.DEFINE_integer("num_classes", 0, "Classes; default those of the data set.")
    flags.DEFINE_enum(
        "largest_batch", "estimate", LARGEST,
        "The largest batch that fits: estimated from the one compilation, verified by a few "
        "more, or not looked for.",
    )  # fmt: skip
    flags.DEFINE_string("out", "", "A JSON file for all that was found.")
    flags.DEFINE_string("texts", "", "A folder for the compiled texts, <program>.hlo.gz.")
    flags.mark_flag_as_required("config")


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS, devices=False)
