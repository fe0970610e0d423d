r"""Estimate memory, time and communication of a config on a TPU, without having a TPU.

  python -m cervix_jax.compile --config=configs/rcan.py:sipakmed/single_cell --topology=v5e:2x4 \
      --batch_size=256 --programs=train --out=rcan_v5e.json

The command compiles the config's programs for the TPU. It requires the extra `tpu` (pip install
'cervix_jax[tpu]') but no TPU and no data. It reports whether training, evaluation, prediction,
integrated gradients and the exported program fit into a chip's memory, and estimates their time.
docs/accelerators.md explains every line of the output. A large model takes minutes per program. Set
any field with --config.<field>=<value>.
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
    "Programs": ["config", "programs", "batch_size", "num_classes"],
    "Chips": ["topology"],
    "Results": ["largest_batch", "out", "texts", "progress"],
}


def main(argv: list[str]) -> None:
    """Compile the programs that the flags of the command line select."""
    del argv
    use_cpu()
    args = flags.FLAGS
    given = args["config"].config_filename  # pyright: ignore[reportAttributeAccessIssue]
    check_fields(args.config, f"--config={given}")
    with contextlib.ExitStack() as stack:
        # Check that the file can be written before compiling for minutes.
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
    """Define the flags of this command."""
    config_flags.DEFINE_config_file(
        "config", None, "Config file, as <file>[:<argument>]; required.", lock_config=True
    )
    flags.DEFINE_string(
        "topology",
        "v5e:2x4",
        "TPU slice: v4, v5e, v5p or v6e with its shape, or a type such as v5litepod-8.",
    )
    flags.DEFINE_list("programs", list(PROGRAMS), "Programs to compile, separated by commas.")
    flags.DEFINE_integer(
        "batch_size", 0,
        "Batch size of every program over all chips, in images; 0 uses the batch sizes of the "
        "config.",
    )  # fmt: skip
    flags.DEFINE_integer("num_classes", 0, "Number of classes; 0 uses that of the data set.")
    flags.DEFINE_enum(
        "largest_batch", "estimate", LARGEST,
        "Method to find the largest batch that fits; estimate: from the first compilation; "
        "verify: with further compilations.",
    )  # fmt: skip
    flags.DEFINE_string("out", "", "JSON file for the complete results; default none.")
    flags.DEFINE_string(
        "texts",
        "",
        "Folder for the optimised HLO text of each program, <program>.hlo.gz; default none.",
    )
    flags.mark_flag_as_required("config")


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS, devices=False)
