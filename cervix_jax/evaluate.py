"""`python -m cervix_jax.evaluate`: metrics of a trained run, with what a reader must know of them.

Writes `evaluate/<split>.json`, `<split>_predictions.csv` and `<split>_confusion_matrix.png`.
"""

import csv
from pathlib import Path

import ml_collections
import numpy as np
from absl import flags

from cervix_jax import cli, distributed, figures
from cervix_jax.atomic import replacing, write_json
from cervix_jax.data.experiment import ExperimentData, open_data
from cervix_jax.data.splits import SPLITS
from cervix_jax.inference import Predictions, make_forward, predict_split
from cervix_jax.metrics import classification_report
from cervix_jax.run import load_run


def write_evaluation(
    folder: Path,
    split: str,
    predictions: Predictions,
    data: ExperimentData,
    config: ml_collections.ConfigDict,
    step: int,
) -> dict:
    """Write the report, the predictions and the confusion matrix of one split.

    Args:
      folder: `<workdir>/evaluate`.
      split: "train", "val" or "test".
      predictions: on the examples of that split.
      data: where they came from.
      config: the run's config.
      step: training step of the weights.

    Returns:
      What `<split>.json` holds: the metrics of `classification_report`, and `dataset, split,
      protocol, fold, folds, groups` (number of groups), `leakage` (share of the examples whose
      group is also in the data the model was made with, train or val), `leakage_train` (the same
      for train alone) and `step`.
    """
    dataset, labels = data.dataset, predictions.labels
    groups = np.asarray(dataset.groups)[predictions.indices]
    report = classification_report(labels, predictions.probabilities, dataset.class_names)
    seen = data.leakage(split)
    report |= {
        "dataset": dataset.name,
        "split": split,
        "protocol": config.split.protocol,
        "fold": config.split.fold,
        "folds": config.split.folds,
        "groups": len(set(groups.tolist())),
        "leakage": seen.share,
        "leakage_train": seen.num_seen_in_train / seen.num_test,
        "step": step,
    }
    with (
        replacing(folder / f"{split}_predictions.csv") as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["filename", "group", "label", *(f"p_{c}" for c in dataset.class_names)])
        for index, group, label, row in zip(
            predictions.indices, groups, labels, predictions.probabilities, strict=True
        ):
            filename, name = dataset.filenames[index], dataset.class_names[label]
            rows.writerow([filename, group, name, *(f"{p:.6g}" for p in row)])
    figures.confusion_matrix(
        np.asarray(report["confusion_matrix"]),
        dataset.class_names,
        f"{dataset.name}, {split}: {headline(report)}",
        folder / f"{split}_confusion_matrix.png",
    )
    write_json(folder / f"{split}.json", report)
    return report


def headline(report: dict) -> str:
    """Accuracy with its interval and count, in a few words."""
    low, high = report["accuracy_interval"]
    return f"accuracy {report['accuracy']:.4f} (95 % {low:.3f} to {high:.3f}, n = {report['n']})"


def summary(report: dict) -> str:
    """The report as a few lines of text."""
    width = max(len(name) for name in report["class_names"])
    lines = [
        f"{report['split']} {headline(report)}, balanced accuracy "
        f"{report['balanced_accuracy']:.4f}",
        f"protocol {_protocol(report)}; "
        f"{report['leakage']:.1%} of the examples come from groups in train or val",
        f"{'':{width}}  precision  recall      f1  support",
    ]
    for name, row in report["per_class"].items():
        lines.append(
            f"{name:{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}  "
            f"{row['support']:7d}"
        )
    return "\n".join(lines)


def _protocol(report: dict) -> str:
    if report["protocol"] == "paper":  # one fixed split
        return "paper"
    return f"{report['protocol']}, fold {report['fold']} of {report['folds']}"


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    args = flags.FLAGS
    run = load_run(args.workdir, args.step)
    mesh = distributed.make_mesh()
    data = open_data(run.config, mesh, manual_dir=args.manual_dir, data_dir=args.data_dir)
    forward = make_forward(run.graphdef, run.config.model.normalization, mesh)
    predictions = predict_split(
        forward,
        run.variables,
        data.pipeline,
        data.indices(args.split),
        run.config.eval_batch_size,
        progress=args.split,
    )
    folder = Path(args.workdir) / "evaluate"
    report = write_evaluation(folder, args.split, predictions, data, run.config, run.step)
    print(summary(report))
    print(f"written to {folder}")


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    flags.DEFINE_enum("split", "test", SPLITS, "Which split to evaluate.")
    flags.DEFINE_string("step", "best", "Checkpoint: best, latest, or a step.")
    flags.DEFINE_string("manual_dir", "", "Where the raw data lies, if it moved since training.")
    flags.DEFINE_string("data_dir", "", "Where prepared data lies, if it moved since training.")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
