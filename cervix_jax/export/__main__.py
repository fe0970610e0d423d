"""Export a run as files that work without cervix_jax.

  python -m cervix_jax.export --workdir=runs/rcan --out=rcan

The folder `--out` then holds the program (`model.stablehlo`), `weights.safetensors`, `README.md`
(the model card) and `card.json` (classes, input size and other facts for programs). The program
maps uint8 RGB images [N, S, S, 3] of the run's image_size S (for a run with two inputs
[N, S, 2 S, 3]) to probabilities on CPU, CUDA and TPU.
`examples/run_exported.py` runs the program.
"""

from pathlib import Path

from absl import flags

from cervix_jax.command.flags import run_flags
from cervix_jax.command.run import run_command
from cervix_jax.errors import InputError
from cervix_jax.export.folder import PROGRAM, WEIGHTS, export_run
from cervix_jax.runs.run import load_run


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    args = flags.FLAGS
    for name in ("workdir", "out"):
        if not args[name].value:
            raise InputError(f"--{name} is missing; give --workdir=<run> and --out=<new folder>.")
    out = Path(args.out)
    card = export_run(load_run(args.workdir, args.step), out)
    for name in (PROGRAM, WEIGHTS):
        print(f"{name}: {(out / name).stat().st_size / 1e6:.2f} MB")
    print(f"largest difference from the run: {card['check']['largest_difference']:.1e}")
    if card["evaluation"] is None:
        print(
            f"step {card['step']} has no test evaluation, so the cards have no metrics; run "
            f"python -m cervix_jax.evaluate --workdir={args.workdir} first to include them."
        )
    print(f"exported {card['model']}, step {card['step']}, to {out}")


def define_flags() -> None:
    """Flags of this command."""
    run_flags("workdir", "step")
    flags.DEFINE_string("out", "", "Output folder, new or empty; required.")


if __name__ == "__main__":
    define_flags()
    run_command(main)
