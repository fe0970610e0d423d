r"""Train the networks of Wang et al. (2021) and print the results beside the published ones.

  python -m cervix_jax.reproduce --sipakmed=/path/to/SIPaKMeD --herlev=/path/to/Herlev
  python -m cervix_jax.reproduce --dry_run

The paper is arXiv 2106.00557. An experiment is a row of its table, or a further row of this package
(own*, cric_*). The command writes
RESULTS.md, results.json and results.png to `--out` after every run, predictions to
`<out>/predictions` and runs to `<out>/runs`. Finished runs are not repeated. A run that is not
possible is listed with the reason. Several commands can run in parallel with the same `--out`, with
the same or different rows: each run is trained by only one of them, and the tables hold all
results.
"""

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from absl import flags, logging

from cervix_jax.audit.dataset import audit_dataset
from cervix_jax.command.preemption import Preempted
from cervix_jax.command.run import EXIT_FAILED, EXIT_PREEMPTED, run_command
from cervix_jax.data import catalog
from cervix_jax.data.splits import PROTOCOLS
from cervix_jax.errors import InputError
from cervix_jax.files.atomic import write_json
from cervix_jax.files.lock import InUseError, held
from cervix_jax.files.paths import user_path
from cervix_jax.reproduce.experiments import (
    Experiment,
    Settings,
    left_out,
    missing_data,
    plan,
    run_all,
)
from cervix_jax.reproduce.outcomes import collect, keep_note, keep_outcome, keep_reason, write_page
from cervix_jax.reproduce.rows import ROWS
from cervix_jax.training.loop import NonFiniteLossError

SHORTCUTS = "sipakmed/single_cell"
DEFAULT_PROTOCOLS = ["paper", "paper_clusters", "cluster", "block"]

GROUPS = {
    "Data and weights": ["sipakmed", "herlev", "cric", "data_dir", "densenet121"],
    "What to run": ["only", "protocols", "seeds", "set", "shortcuts"],
    "Output": ["out", "note", "dry_run", "progress"],
}
# Placeholders in the published command for folders and files of this machine.
PLACES = {
    "sipakmed": "/path/to/SIPaKMeD",
    "herlev": "/path/to/Herlev",
    "cric": "/path/to/CRIC",
    "densenet121": "/path/to/densenet121",
}


def main(argv: list[str]) -> int | None:
    """Command line."""
    del argv
    args = flags.FLAGS
    for name in ("sipakmed", "herlev", "cric"):
        given = args[name].value
        if given and not user_path(given, f"--{name}").is_dir():
            raise InputError(f"--{name}={given}: there is no such folder.")
    settings = Settings(
        out=Path(args.out),
        manual_dirs={"sipakmed": args.sipakmed, "herlev": args.herlev, "cric": args.cric},
        densenet121=args.densenet121,
        seeds=args.seeds,
        overrides=tuple(args.set),
        data_dir=args.data_dir,
    )
    experiments = plan(args.only or [row.id for row in ROWS], args.protocols, settings)
    if not experiments:
        raise InputError("--only and --protocols leave nothing to run; see --help for the rows.")
    missing = left_out(experiments)
    if args.dry_run:
        for experiment in experiments:
            state = "finished" if experiment.is_finished else "to run"
            print(f"{experiment.name}: {missing.get(experiment.folder, state)}")
        return None
    collect(settings.out)  # reading errors must show before anything is written
    if args.note:
        keep_note(settings.out, args.note)
    for experiment in experiments:
        if experiment.folder in missing:
            logging.info("%s: left out, %s", experiment.name, missing[experiment.folder])
            keep_reason(settings.out, experiment, _without_places(missing[experiment.folder]))
    write_page(settings.out)  # writing errors must show before anything is run
    if args.shortcuts:
        _keep_shortcuts(settings, experiments)
    to_run = [experiment for experiment in experiments if experiment.folder not in missing]
    finished = {experiment.folder for experiment in to_run if experiment.is_finished}
    command = published_command()

    def keep(experiment: Experiment) -> None:
        keep_outcome(settings.out, experiment, command, ran=experiment.folder not in finished)
        write_page(settings.out)

    try:
        run_all(to_run, logging.info, after_each=keep)
    except Preempted as error:
        logging.warning("Preempted: %s. Repeat the same command to continue.", error)
        return EXIT_PREEMPTED
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    write_page(settings.out)
    print((settings.out / "RESULTS.md").read_text(encoding="utf-8"))
    print(f"written to {settings.out}")
    return None


def published_command() -> str:
    """This command as it is published: flags that decide the results, folders replaced."""
    words = ["python", "-m", "cervix_jax.reproduce"]
    for name in (*GROUPS["What to run"], *PLACES):
        flag = flags.FLAGS[name]
        value: Any = flag.value
        if not flag.present or name == "shortcuts" or value in ("", [], None):
            continue
        if name in PLACES:
            words.append(f"--{name}={PLACES[name]}")
        elif name == "set":
            words += [f"--set={item}" for item in value]
        else:
            text = ",".join(value) if isinstance(value, list) else value
            words.append(f"--{name}={text}")
    return shlex.join(words)


def _without_places(text: str) -> str:
    """A text with the folders of this machine replaced by placeholders."""
    args = flags.FLAGS
    given = {args[name].value: place for name, place in PLACES.items()}
    given[args.data_dir] = "/path/to/data"
    for folder, place in given.items():
        text = text.replace(folder, place) if folder else text
    return text


def _keep_shortcuts(settings: Settings, experiments: list[Experiment]) -> None:
    """Compute the shortcut baselines of the single cells once, in one process."""
    path = settings.out / "shortcuts.json"
    source = next((e for e in experiments if e.config.data.dataset == SHORTCUTS), None)
    if path.is_file() or source is None or missing_data(source):
        return
    data = source.config.data
    dataset = catalog.load(
        data.dataset,
        manual_dir=data.manual_dir,
        data_dir=data.data_dir,
        check_counts=data.check_counts,
    )
    with contextlib.suppress(InUseError), held(path, str(path)):  # or another process makes them
        found = audit_dataset(dataset, folds=source.config.split.folds, jobs=os.cpu_count() or 1)
        write_json(path, {name: found[name] for name in ("dataset", "chance", "baselines")})


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("out", "runs/reproduce", "Output folder.")
    flags.DEFINE_string("sipakmed", "", "Folder of SIPaKMeD; default: <data_dir>/downloads/manual.")
    flags.DEFINE_string("herlev", "", "Folder of Herlev; default: <data_dir>/downloads/manual.")
    flags.DEFINE_string("cric", "", "Folder of CRIC; default: <data_dir>/downloads/manual.")
    flags.DEFINE_string(
        "data_dir", "", "Folder of prepared data sets; default: ~/tensorflow_datasets."
    )
    flags.DEFINE_string(
        "densenet121",
        "",
        "ImageNet weights of DenseNet-121, as accepted by the config field model.init_from; "
        "default none: random weights.",
    )
    flags.DEFINE_list(
        "only",
        [],
        f"Experiments (rows) to run, separated by commas: {', '.join(row.id for row in ROWS)}; "
        "<row>/<protocol> runs one protocol; docs/claims.md explains the rows; default all.",
    )
    flags.DEFINE_list(
        "protocols", DEFAULT_PROTOCOLS, "Split protocols to run, separated by commas."
    )
    flags.register_validator(
        "protocols",
        lambda names: set(names) <= set(PROTOCOLS),
        message=f"choose from {', '.join(PROTOCOLS)}",
    )
    flags.DEFINE_integer("seeds", 1, "Number of seeds of every run.", lower_bound=1)
    flags.DEFINE_multi_string(
        "set",
        [],
        "Config field for all runs, e.g. --set=image_size=96; for one row, --set=own:seed=1; for a "
        "data set, --set=cric:data.check_counts=False; or for all runs of the paper's table, "
        "--set=paper:num_epochs=10.",
    )
    flags.DEFINE_bool(
        "shortcuts",
        True,
        "Also train the shortcut baselines of `audit`, classifiers on e.g. colour.",
    )
    flags.DEFINE_string(
        "note",
        "",
        "Markdown file with notes for the top of RESULTS.md. A copy is kept in --out as note.md.",
    )
    flags.DEFINE_bool("dry_run", False, "List the runs without starting them.")


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS, alone=False)  # each run has its own lock
