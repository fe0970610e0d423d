r"""Reproduce the paper's table from the data at hand, beside the paper's own numbers.

  python -m cervix_jax.reproduce --sipakmed=/path/to/SIPaKMeD --herlev=/path/to/Herlev
  python -m cervix_jax.reproduce --dry_run

Writes RESULTS.md, results.json and results.png to `--out`, anew after every run, and the runs to
`<out>/runs`. What is finished is not run again; what cannot be run is left out with the reason.
"""

import os
import shlex
import sys
from pathlib import Path

from absl import flags, logging

from cervix_jax import figures
from cervix_jax.audit.dataset import audit_dataset
from cervix_jax.command.preemption import Preempted
from cervix_jax.command.run import EXIT_FAILED, EXIT_PREEMPTED, run_command
from cervix_jax.data import catalog
from cervix_jax.data.splits import PROTOCOLS
from cervix_jax.errors import InputError
from cervix_jax.files.atomic import read_json, write_json, write_text
from cervix_jax.files.paths import user_path
from cervix_jax.reproduce import results
from cervix_jax.reproduce.experiments import (
    Experiment,
    Settings,
    left_out,
    missing_data,
    plan,
    run_all,
)
from cervix_jax.reproduce.rows import ROWS
from cervix_jax.training.loop import NonFiniteLossError

SHORTCUTS = "sipakmed/single_cell"
DEFAULT_PROTOCOLS = ["paper", "paper_clusters", "cluster", "block"]

GROUPS = {
    "Data and weights": ["sipakmed", "herlev", "data_dir", "densenet121"],
    "What to run": ["only", "protocols", "seeds", "set", "shortcuts"],
    "Output": ["out", "dry_run"],
}


def main(argv: list[str]) -> int | None:
    """Command line."""
    del argv
    args = flags.FLAGS
    for name in ("sipakmed", "herlev"):
        given = args[name].value
        if given and not user_path(given, f"--{name}").is_dir():
            raise InputError(f"--{name}={given}: there is no such folder.")
    settings = Settings(
        out=Path(args.out),
        manual_dirs={"sipakmed": args.sipakmed, "herlev": args.herlev},
        densenet121=args.densenet121,
        seeds=args.seeds,
        overrides=tuple(args.set),
        data_dir=args.data_dir,
    )
    experiments = plan(args.only or [row.id for row in ROWS], args.protocols, settings)
    if not experiments:
        raise InputError("--only and --protocols leave nothing to run; see --help.")
    if args.dry_run:
        missing = left_out(experiments)
        for experiment in experiments:
            state = "finished" if experiment.is_finished else "to run"
            print(f"{experiment.name}: {missing.get(experiment.folder, state)}")
        return None
    shortcuts = _shortcuts(settings, experiments) if args.shortcuts else None

    def write(skipped: dict[Path, str]) -> None:
        _write(settings.out, experiments, skipped, shortcuts)

    try:
        write(run_all(experiments, logging.info, after_each=write))
    except Preempted as error:
        logging.warning("Preempted: %s. The same command goes on from there.", error)
        return EXIT_PREEMPTED
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    print((settings.out / "RESULTS.md").read_text(encoding="utf-8"))
    print(f"written to {settings.out}")
    return None


def _shortcuts(settings: Settings, experiments: list[Experiment]) -> dict | None:
    """The shortcut baselines of the single cells, made once; None without those cells."""
    path = settings.out / "shortcuts.json"
    if known := read_json(path):
        return known
    source = next((e for e in experiments if e.config.data.dataset == SHORTCUTS), None)
    if source is None or missing_data(source):
        return None
    data = source.config.data
    dataset = catalog.load(
        data.dataset,
        manual_dir=data.manual_dir,
        data_dir=data.data_dir,
        check_counts=data.check_counts,
    )
    folds = source.config.split.folds
    found = audit_dataset(dataset, folds=folds, jobs=os.cpu_count() or 1)
    kept = {name: found[name] for name in ("dataset", "chance", "baselines")}
    write_json(path, kept)
    return kept


def _write(
    out: Path, experiments: list[Experiment], skipped: dict[Path, str], shortcuts: dict | None
) -> None:
    environment = results.newest_environment(experiments)
    found = {
        "command": shlex.join(["python", "-m", "cervix_jax.reproduce", *sys.argv[1:]]),
        "environment": (read_json(environment) if environment else None) or {},
        "outcomes": [results.measure(e) for e in experiments if e.is_finished],
        "skipped": {e.name: skipped[e.folder] for e in experiments if e.folder in skipped},
        "shortcuts": shortcuts,
    }
    write_json(out / "results.json", found)
    write_text(out / "RESULTS.md", results.markdown(found))
    figures.intervals(
        results.intervals_to_draw(found),
        xlabel=results.XLABEL,
        title=results.TITLE,
        path=out / "results.png",
    )


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("out", "runs/reproduce", "Folder to write to.")
    flags.DEFINE_string("sipakmed", "", "SIPaKMeD's folder; default where TFDS looks.")
    flags.DEFINE_string("herlev", "", "Herlev's folder; default where TFDS looks.")
    flags.DEFINE_string("data_dir", "", "Folder of prepared data sets; default that of TFDS.")
    flags.DEFINE_string(
        "densenet121", "", "ImageNet weights of DenseNet-121, as model.init_from takes them."
    )
    flags.DEFINE_list(
        "only",
        [],
        f"Rows to run, of {', '.join(row.id for row in ROWS)}; or <row>/<protocol>.",
    )
    flags.DEFINE_list("protocols", DEFAULT_PROTOCOLS, "Splits to run.")
    flags.register_validator(
        "protocols",
        lambda names: set(names) <= set(PROTOCOLS),
        message=f"choose of {', '.join(PROTOCOLS)}",
    )
    flags.DEFINE_integer("seeds", 1, "Seeds of every run.", lower_bound=1)
    flags.DEFINE_multi_string(
        "set",
        [],
        "A config field of all runs, e.g. --set=image_size=96, or of one row, --set=own:seed=1, or "
        "of all that the paper has, --set=paper:num_epochs=10.",
    )
    flags.DEFINE_bool("shortcuts", True, "Also the shortcut baselines of the audit.")
    flags.DEFINE_bool("dry_run", False, "Only say what would be run.")


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS)
