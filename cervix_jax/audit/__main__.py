"""Audit a data set and its splits for leaks and shortcuts, or a run for what it lives on.

  python -m cervix_jax.audit --dataset=sipakmed/single_cell --manual_dir=/path/to/SIPaKMeD
  python -m cervix_jax.audit --workdir=runs/rcan

With `--dataset` it writes `audit.json` and `baselines.png` to `--out`, with `--workdir`
`audit.json` and `changes.png` to `<workdir>/audit`.
"""

import os
import textwrap
from pathlib import Path
from typing import Any

from absl import flags

from cervix_jax import figures
from cervix_jax.audit import report
from cervix_jax.audit.baselines import TREES
from cervix_jax.audit.dataset import audit_dataset
from cervix_jax.audit.duplicates import HASH_BITS, MAX_DISTANCE
from cervix_jax.command.flags import run_flags
from cervix_jax.command.run import run_command
from cervix_jax.config.base import parse_data_settings
from cervix_jax.data import catalog
from cervix_jax.data.splits import PROTOCOLS
from cervix_jax.errors import InputError
from cervix_jax.files.atomic import write_json
from cervix_jax.files.paths import require_place_for_folder, user_path

GROUPS = {
    "What to audit": ["dataset", "workdir", "step", "out"],
    "Data": ["manual_dir", "data_dir", "setting", "check_counts"],
    "Splits of --dataset": ["protocol", "folds", "seed"],
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
    jobs = args.jobs or os.cpu_count() or 1
    text, folder = _audit_run(args, jobs) if args.workdir else _audit_dataset(args, jobs)
    print(f"{text}\n\nwritten to {folder}")


def _audit_dataset(args: Any, jobs: int) -> tuple[str, Path]:
    dataset = catalog.load(
        args.dataset,
        manual_dir=args.manual_dir or None,
        data_dir=args.data_dir or None,
        settings=parse_data_settings(args.dataset, args.setting),
        check_counts=args.check_counts,
    )
    found = audit_dataset(
        dataset,
        protocol=args.protocol,
        folds=args.folds,
        seed=args.seed,
        trees=args.trees,
        max_distance=args.max_distance,
        jobs=jobs,
    )
    folder = Path(args.out or Path("runs") / f"audit-{dataset.name.replace('/', '-')}")
    bars = {
        protocol: [
            (each[protocol]["mean"], *[each[protocol]["deviation"] or 0.0] * 2)
            for each in found["baselines"].values()
        ]
        for protocol in found["splits"]
    }
    figures.grouped_bars(
        bars,
        [f"{name}\n{_wrapped(found['descriptions'][name])}" for name in found["baselines"]],
        reference=("chance", found["chance"]),
        ylabel="balanced accuracy",
        title=f"{dataset.name}: random forests on simple features, {args.folds} folds",
        path=folder / "baselines.png",
    )
    write_json(folder / "audit.json", found)
    return report.dataset_text(found), folder


def _audit_run(args: Any, jobs: int) -> tuple[str, Path]:
    # JAX is only needed here; the audit of a data set starts faster without.
    from cervix_jax import distributed
    from cervix_jax.audit.model import audit_run
    from cervix_jax.data.experiment import open_data
    from cervix_jax.runs.run import load_run

    run = load_run(args.workdir, args.step)
    data = open_data(
        run.config, distributed.make_mesh(), manual_dir=args.manual_dir, data_dir=args.data_dir
    )
    found = audit_run(run, data, jobs=jobs)
    folder = Path(args.out or Path(args.workdir) / "audit")
    changes = found["changes"]
    figures.grouped_bars(
        {
            "": [
                (
                    each["accuracy"],
                    each["accuracy"] - each["accuracy_interval"][0],
                    each["accuracy_interval"][1] - each["accuracy"],
                )
                for each in changes.values()
            ]
        },
        [f"{name}\n{_wrapped(each['description'])}" for name, each in changes.items()],
        reference=("commonest class", found["majority"]),
        ylabel="accuracy (95 % interval)",
        title=f"{found['dataset']}, {found['split']}, n = {found['n']}: what the model lives on",
        path=folder / "changes.png",
    )
    write_json(folder / "audit.json", found)
    return report.run_text(found), folder


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 24)


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("dataset", "", "Data set to audit, e.g. sipakmed/single_cell.")
    run_flags()
    flags.DEFINE_string("out", "", "Folder to write to.")
    flags.DEFINE_boolean("check_counts", True, "Insist on the official number of images.")
    flags.DEFINE_multi_string(
        "setting", [], "Variation of the data set as name=value, may be repeated."
    )
    flags.DEFINE_enum("protocol", "cluster", PROTOCOLS, "Split protocol to look at closely.")
    flags.DEFINE_integer("folds", 5, "Folds of every protocol.", lower_bound=2)
    flags.DEFINE_integer("seed", 0, "Seed of the splits.", lower_bound=0)
    flags.DEFINE_integer("trees", TREES, "Trees of each random forest.", lower_bound=1)
    flags.DEFINE_integer(
        "max_distance",
        MAX_DISTANCE,
        "Most differing bits of near duplicates, of 256.",
        lower_bound=0,
        upper_bound=HASH_BITS,
    )
    flags.DEFINE_integer("jobs", 0, "Threads; 0 uses every core.", lower_bound=0)


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS)
