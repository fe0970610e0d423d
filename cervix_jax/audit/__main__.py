"""Check a data set for leakage and shortcuts, or measure which image cues a run relies on.

  python -m cervix_jax.audit --dataset=sipakmed/single_cell --manual_dir=/path/to/SIPaKMeD
  python -m cervix_jax.audit --workdir=runs/rcan

Leakage means that test images come from a group (field, slide or patient) that also has images in
the training or validation data. A shortcut is an image cue, such as colour or image size, that
predicts the class although it does not describe the cell. With `--dataset` the command writes
`audit.json`, `baselines.png` (accuracy from shortcuts alone) and `images.csv` (the group of every
image; groups that share an image or a near duplicate are merged) to `--out`. With `--workdir` it
writes `audit.json` and `changes.png` (accuracy on changed images, e.g. grey ones) to
`<workdir>/audit`.
"""

from pathlib import Path

from absl import flags

from cervix_jax.audit import report
from cervix_jax.audit.baselines import TREES
from cervix_jax.audit.dataset import audit_dataset
from cervix_jax.audit.write import write_dataset_audit, write_run_audit
from cervix_jax.command.flags import class_map_flag, dataset_flags, run_flags
from cervix_jax.command.run import run_command
from cervix_jax.data import catalog
from cervix_jax.data.class_map import parse_class_map
from cervix_jax.data.duplicates import MAX_DISTANCE
from cervix_jax.data.fingerprints import HASH_BITS
from cervix_jax.data.splits import PROTOCOLS
from cervix_jax.errors import InputError
from cervix_jax.files.paths import require_place_for_folder, user_path

GROUPS = {
    "What to audit": ["dataset", "workdir", "step"],
    "Output": ["out", "progress"],
    "Data": ["manual_dir", "data_dir", "class_map", "setting", "check_counts"],
    "Splits of --dataset": ["protocol", "folds", "seed"],
    "Method": ["trees", "max_distance", "jobs"],
}


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    args = flags.FLAGS
    if bool(args.dataset) == bool(args.workdir):
        raise InputError(
            "give either --dataset, e.g. --dataset=sipakmed/single_cell, to audit a data set, or "
            "--workdir to audit a trained run."
        )
    if args.out:
        require_place_for_folder(user_path(args.out, "--out"), "--out")
    text, folder = _audit_run(args) if args.workdir else _audit_dataset(args)
    print(f"{text}\n\nwritten to {folder}")


def _audit_dataset(args: flags.FlagValues) -> tuple[str, Path]:
    dataset = catalog.load(
        args.dataset,
        manual_dir=args.manual_dir,
        data_dir=args.data_dir,
        settings=catalog.parse_data_settings(args.dataset, args.setting),
        check_counts=args.check_counts,
    )
    found = audit_dataset(
        dataset,
        protocol=args.protocol,
        folds=args.folds,
        seed=args.seed,
        trees=args.trees,
        max_distance=args.max_distance,
        jobs=args.jobs,
    )
    folder = Path(args.out or Path("runs") / f"audit-{dataset.title.replace('/', '-')}")
    write_dataset_audit(found, dataset, folder)
    return report.dataset_text(found), folder


def _audit_run(args: flags.FlagValues) -> tuple[str, Path]:
    # Imported here, as only this audit needs JAX; the audit of a data set starts faster without it.
    from cervix_jax.audit.model import audit_run
    from cervix_jax.runs.run import load_run

    run = load_run(args.workdir, args.step)
    class_map = parse_class_map(args.class_map, run.class_names)
    data = run.open_data(args.manual_dir, args.data_dir, class_map=class_map, progress=True)
    found = audit_run(run, data, jobs=args.jobs)
    folder = Path(args.out or Path(args.workdir) / "audit")
    write_run_audit(found, folder)
    return report.run_text(found), folder


def define_flags() -> None:
    """Flags of this command."""
    dataset_flags("Data set to audit, e.g. sipakmed/single_cell.")
    run_flags()
    class_map_flag()
    flags.DEFINE_string(
        "out", "", "Output folder; default: runs/audit-<data set>, or <workdir>/audit."
    )
    flags.DEFINE_enum(
        "protocol",
        "cluster",
        PROTOCOLS,
        "Split protocol to examine in detail; docs/data.md describes all. paper: the split by file "
        "name of Wang et al. 2021 (arXiv 2106.00557).",
    )
    flags.DEFINE_integer("folds", 5, "Number of folds of every protocol.", lower_bound=2)
    flags.DEFINE_integer("seed", 0, "Seed of the splits.", lower_bound=0)
    flags.DEFINE_integer(
        "trees",
        TREES,
        "Number of decision trees of each random forest, a classifier that predicts the class from "
        "shortcuts.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "max_distance",
        MAX_DISTANCE,
        "Maximum number of differing bits between the 256-bit image hashes of near duplicates.",
        lower_bound=0,
        upper_bound=HASH_BITS,
    )
    flags.DEFINE_integer("jobs", 0, "Number of threads; 0 uses every core.", lower_bound=0)


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS)
