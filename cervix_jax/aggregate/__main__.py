"""Classify clusters from their cells by learned attention.

  python -m cervix_jax.aggregate --workdir=runs/rcan

The run's network turns each cell into features; on the clusters of its training (and validation)
cells a small head learns which cells count (attention-based multiple-instance learning), and is
evaluated on the clusters of its test cells. Rules that are not learned are part of
`cervix_jax.evaluate`. Writes `evaluate/test_by_attention.json`, its predictions and pictures, and
`test_attention.csv` with the weight of every cell.
"""

import csv
from pathlib import Path

import numpy as np
from absl import flags
from scipy.special import log_softmax

from cervix_jax import distributed
from cervix_jax.aggregate.bags import Bags, make_bags
from cervix_jax.aggregate.features import extract
from cervix_jax.aggregate.fit import Settings, fit_and_predict
from cervix_jax.command.run import run_command
from cervix_jax.data.experiment import ExperimentData, open_data
from cervix_jax.errors import InputError
from cervix_jax.evaluate.write import write_report
from cervix_jax.files.atomic import replacing
from cervix_jax.runs.run import Run, load_run
from cervix_jax.statistics.aggregation import aggregate
from cervix_jax.statistics.summary import headline
from cervix_jax.statistics.table import PredictionTable

NAME = "test_by_attention"
RULE = "mean_log_probability"


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    args = flags.FLAGS
    run = load_run(args.workdir, args.step)
    data = open_data(
        run.config, distributed.make_mesh(), manual_dir=args.manual_dir, data_dir=args.data_dir
    )
    settings = Settings(epochs=args.epochs, heads=args.heads, seed=args.seed)
    report, rule = evaluate_attention(run, data, settings, Path(args.workdir) / "evaluate")
    right, total = rule
    print(f"{report['groups']} groups of {report['dataset']}, protocol {report['protocol']}")
    print(f"attention: {headline(report)}, NLL {report['nll']:.4f}")
    print(f"{RULE}, not learned: {right} of {total}")
    print(f"written to {Path(args.workdir) / 'evaluate'}")


def evaluate_attention(
    run: Run, data: ExperimentData, settings: Settings, folder: Path
) -> tuple[dict, tuple[int, int]]:
    """Learn on the groups that are not tested on, and evaluate on those that are.

    Args:
      run: the trained run.
      data: its data and their division.
      settings: of the training.
      folder: `<workdir>/evaluate`.

    Returns:
      What `test_by_attention.json` holds, and how many groups, of how many, the mean
      log-probability is right on.

    Raises:
      InputError: no image shares its group with another, or a group is in training and test.
    """
    dataset, test = data.dataset, data.splits == "test"
    groups, labels = np.asarray(dataset.groups, str), np.asarray(dataset.labels)
    if len(set(groups.tolist())) == len(groups):
        raise InputError(f"{dataset.name}: every image is a group of its own; nothing to join.")
    both = sorted(set(groups[test].tolist()) & set(groups[~test].tolist()))
    if both:
        raise InputError(
            f"split.protocol={run.config.split.protocol!r} puts images of {len(both)} groups, "
            f"{both[0]!r} first, into training and test; train under paper_clusters, cluster or "
            "block."
        )
    features, logits = extract(run, data, np.arange(len(labels)), progress="features")
    logits = log_softmax(logits, axis=1)
    bags = [make_bags(groups[m], labels[m], features[m], logits[m])[0] for m in (~test, test)]
    train, tested = bags
    ((probabilities, attention),) = fit_and_predict(train, [tested], settings, progress="heads")
    table = PredictionTable(
        tuple(tested.names.tolist()),
        tested.names,
        tested.labels,
        probabilities / probabilities.sum(1, keepdims=True),
        tuple(dataset.class_names),
    )
    facts = {
        "dataset": dataset.name,
        "split": "test by attention",
        "protocol": run.config.split.protocol,
        "fold": run.config.split.fold,
        "folds": run.config.split.folds,
        "refit": True,  # the head is trained on the validation groups in any case
        "groups": len(tested),
        "leakage": 0.0,
        "leakage_train": 0.0,
        "step": run.step,
        "heads": settings.heads,
    }
    report = write_report(folder, NAME, table, facts)
    names = np.asarray(dataset.filenames, str)[test]
    _write_weights(folder / "test_attention.csv", names, groups[test], tested, attention)
    cells = PredictionTable(
        tuple(names.tolist()), groups[test], labels[test], np.exp(logits[test]), table.class_names
    )
    joined, _ = aggregate(cells, RULE)
    return report, (int(joined.correct.sum()), len(joined.labels))


def _write_weights(
    path: Path, names: np.ndarray, groups: np.ndarray, bags: Bags, attention: np.ndarray
) -> None:
    """One line a cell: `filename, group, attention`; the weights of a group sum to 1."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "group", "attention"])
        for name, weights in zip(bags.names, attention, strict=True):
            # The cells of a bag lie in the order in which they are in the data set.
            for number, row in enumerate(np.flatnonzero(groups == name)):
                rows.writerow([names[row], name, f"{weights[number]:.6g}"])


def define_flags() -> None:
    """Flags of this command."""
    defaults = Settings()
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string("step", "best", "Checkpoint: best, latest, or a step.")
    flags.DEFINE_string("manual_dir", "", "Where the raw data lies, if it moved since training.")
    flags.DEFINE_string("data_dir", "", "Where prepared data lies, if it moved since training.")
    flags.DEFINE_integer("epochs", defaults.epochs, "Passes over the groups.", lower_bound=1)
    flags.DEFINE_integer("heads", defaults.heads, "Heads that are averaged.", lower_bound=1)
    flags.DEFINE_integer("seed", defaults.seed, "Of weights, order and dropout.", lower_bound=0)
    flags.mark_flag_as_required("workdir")


if __name__ == "__main__":
    define_flags()
    run_command(main)
