r"""Predictions of a linear probe over all folds, in the folders of a cross-validation.

  python benchmarks/probe_folds.py --dataset=sipakmed/single_cell --protocol=block --size=128 \
      --manual_dir=/path/to/SIPaKMeD --data_dir=DATA --cache=CACHE --out=runs/probe_block

A multinomial logistic regression on frozen features of ImageNet's EfficientNet-Lite0
(`frozen_probe`) is fitted to the training part of each fold. Its penalty is fixed, so the
validation part remains available for temperatures and conformal sets. `--view=colour` (or border,
grey) uses the audit's colour percentiles instead, to measure the accuracy of a shortcut through the
stain. The script writes `<out>/seed0/fold<f>/evaluate/{val,test}_predictions.csv`, which
`uncertainty_under_shift.py` and `fields_or_cells.py` read instead of those of a trained network.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.special import softmax
from sides import ROOT

sys.path.insert(0, str(ROOT))

import frozen_probe

from cervix_jax.audit.features import measure
from cervix_jax.data import load, split_table
from cervix_jax.evaluate.predictions_file import SUFFIX, write_table
from cervix_jax.statistics.table import PredictionTable

PENALTY = 0.01
SHORTCUTS = ("colour", "border", "grey")


def main(arguments: list[str] | None = None) -> None:
    """Fit and predict every fold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for name in ("dataset", "protocol", "manual_dir", "data_dir", "cache", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument(
        "--view",
        default="stretch",
        help="view of the image, see frozen_probe.py; or colour, border, grey",
    )
    parser.add_argument("--size", type=int, default=128, help="side of the square in pixels")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--any_counts", action="store_true", help="accept an incomplete data set")
    given = parser.parse_args(arguments)
    where = {"manual_dir": given.manual_dir, "data_dir": given.data_dir}
    dataset = load(given.dataset, **where, check_counts=not given.any_counts)
    if given.view in SHORTCUTS:
        values = measure(dataset, jobs=1).features[given.view]
    else:
        values = frozen_probe.features(dataset, given.view, given.size, Path(given.cache))
    labels, place = np.asarray(dataset.labels), {n: i for i, n in enumerate(dataset.filenames)}
    for fold in range(given.folds):
        rows = split_table(
            given.dataset, protocol=given.protocol, fold=fold, folds=given.folds, **where,
            check_counts=not given.any_counts,
        )  # fmt: skip
        parts = {
            split: np.asarray([place[row["filename"]] for row in rows if row["split"] == split])
            for split in ("train", "val", "test")
        }
        train = parts.pop("train")
        mean, deviation = values[train].mean(0), values[train].std(0) + 1e-6
        weights = frozen_probe.fit_probe(
            (values[train] - mean) / deviation, labels[train], len(dataset.class_names), PENALTY
        )
        for split, part in parts.items():
            logits = ((values[part] - mean) / deviation) @ weights[:-1] + weights[-1]
            table = PredictionTable(
                tuple(dataset.filenames[index] for index in part),
                np.asarray(dataset.groups, str)[part],
                labels[part],
                softmax(logits, axis=1),
                tuple(dataset.class_names),
                logits,
            )
            folder = Path(given.out) / "seed0" / f"fold{fold}" / "evaluate"
            folder.mkdir(parents=True, exist_ok=True)
            write_table(folder / f"{split}{SUFFIX}", table)
            print(f"fold {fold}, {split}: {table.correct.mean():.4f} of {len(part)}", flush=True)


if __name__ == "__main__":
    main()
