"""The audit of a trained run: test accuracy after removing one image cue at a time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.audit import perturbations
from cervix_jax.audit.baselines import balanced_accuracy
from cervix_jax.audit.features import has_masks
from cervix_jax.audit.perturbations import StainStatistics
from cervix_jax.data.decode import resize_square
from cervix_jax.data.experiment import ExperimentData
from cervix_jax.data.resolution import network_scale
from cervix_jax.files.background import remove_background
from cervix_jax.files.threads import map_in_order
from cervix_jax.progress import Bar
from cervix_jax.runs.run import Run, as_classifier
from cervix_jax.statistics.comparison import mcnemar
from cervix_jax.statistics.intervals import wilson_interval

UNCHANGED = "unchanged"
DESCRIPTIONS = {
    UNCHANGED: "original images",
    "grey": "luminance only",
    "stain_normalised": "mean and deviation in CIELAB set to those of training images (Reinhard)",
    "background_removed": "background replaced by white",
    "border_only": "all but a frame of a tenth of the side filled with its median colour",
    "patches_shuffled": "4 x 4 patches in random order",
}
MIN_EXCESS = 0.5  # recall minus false-positive rate from which a class counts as recognised
STAIN_IMAGES = 500  # maximum number of training images for the mean stain
Change = Callable[[Mapping[str, Any], int], np.ndarray]


def audit_run(
    run: Run | str | Path,
    data: ExperimentData | None = None,
    *,
    split: str = "test",
    jobs: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Accuracy of a run on changed images.

        audit_run("runs/rcan")["changes"]["grey"]["accuracy"]

    Args:
      run: a trained run, or its folder.
      data: the run's data with the split of training; None opens them.
      split: split whose images are changed.
      jobs: number of threads that change images; 0 uses one per core, at most 8.
      progress: show progress bars.

    Returns:
      JSON-ready dict: `dataset, split, protocol, fold, folds, step, n, majority` (share of the
      commonest class), `leakage`, `masks` (number of images masked by "data set" and by
      "segmentation"), `reading`, and `changes`: name to `description, accuracy, accuracy_interval`
      (Wilson, 95 %), `balanced_accuracy, drop` (in accuracy), `lost, gained` (number of images
      right only when unchanged, only when changed), `p_value` (McNemar's exact test for a change in
      accuracy), `kept` (share of the accuracy above `majority` that remains; None if there is
      none) and `by_class`: for every class with examples its `recall`, and `called`, the share of
      images of other classes that are predicted as it.
    """
    run = as_classifier(run)
    data = data or run.open_data(progress=progress)
    indices, source = data.indices(split), data.dataset.decoded_source
    labels = data.dataset.labels[indices]
    majority = float(np.bincount(labels).max() / len(labels))
    scale = network_scale(run.config.data, data.dataset.microns_per_pixel, data.dataset.name)
    changes = _changes(_training_stain(run, data, progress))
    correct: dict[str, np.ndarray] = {}
    described: dict[str, dict] = {}
    for name, change in changes.items():

        def square(index: int, change: Change = change) -> np.ndarray:
            changed = change(source[int(index)], int(index))
            return resize_square(changed, run.config.image_size, run.config.data.resize, scale)

        images = Bar(
            map_in_order(square, indices, workers=jobs),
            desc=name,
            total=len(indices),
            unit="image",
            leave=False,
            disable=not progress,
        )
        squares = np.stack(list(images))
        predicted = run.logits(squares, batch_size=run.config.eval_batch_size).argmax(-1)
        correct[name] = predicted == labels
        described[name] = _compare(correct[name], correct[UNCHANGED], majority) | {
            "description": DESCRIPTIONS[name],
            "balanced_accuracy": balanced_accuracy(labels, predicted),
            "by_class": _by_class(labels, predicted, data.dataset.class_names),
        }
    masked = sum(has_masks(source[int(index)]) for index in indices)
    report = {
        "dataset": data.dataset.name,
        "data_title": data.dataset.title,
        "split": split,
        "protocol": run.config.split.protocol,
        "fold": run.config.split.fold,
        "folds": run.config.split.folds,
        "step": run.step,
        "n": len(labels),
        "majority": majority,
        "leakage": data.leakage(split).share,
        "masks": {"data set": masked, "segmentation": len(labels) - masked},
        "changes": described,
    }
    return report | {"reading": reading(report)}


def _changes(stain: StainStatistics) -> dict[str, Change]:
    def background_removed(example: Mapping[str, Any], index: int) -> np.ndarray:
        del index
        cells = None
        if has_masks(example):
            cells = ((example["nucleus_mask"] > 0) | (example["cytoplasm_mask"] > 0))[..., 0]
        return remove_background(example["image"], cells)

    return {
        UNCHANGED: lambda example, _: example["image"],
        "grey": lambda example, _: perturbations.to_grey(example["image"]),
        "stain_normalised": lambda example, _: perturbations.normalise_stain(
            example["image"], stain
        ),
        "background_removed": background_removed,
        "border_only": lambda example, _: perturbations.keep_border(example["image"]),
        "patches_shuffled": lambda example, index: perturbations.shuffle_patches(
            example["image"], seed=index
        ),
    }


def _training_stain(run: Run, data: ExperimentData, progress: bool) -> StainStatistics:
    """Mean stain of up to 500 evenly spaced training images, at the model's image size."""
    train = data.indices("train")
    chosen = train[:: -(-len(train) // STAIN_IMAGES)]
    bar = Bar(chosen, desc="training stain", unit="image", leave=False, disable=not progress)
    source, size = data.dataset.decoded_source, run.config.image_size
    return perturbations.stain_statistics(
        resize_square(source[int(index)]["image"], size) for index in bar
    )


def _compare(changed: np.ndarray, unchanged: np.ndarray, majority: float) -> dict:
    """Results of one change from bool [n] of right answers with and without it."""
    apart = mcnemar(unchanged, changed)
    above = float(unchanged.mean()) - majority
    return {
        "accuracy": float(changed.mean()),
        "accuracy_interval": list(wilson_interval(int(changed.sum()), len(changed))),
        "drop": float(unchanged.mean() - changed.mean()),
        "lost": apart.only_first,
        "gained": apart.only_second,
        "p_value": apart.p_value,
        "kept": (float(changed.mean()) - majority) / above if above > 0 else None,
    }


def _by_class(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict:
    """Results per class, as a mark on images of one class hardly shows in the overall accuracy."""
    found = {}
    for number, name in enumerate(names):
        own, called = labels == number, predicted == number
        if own.any():
            others = float(called[~own].mean()) if not own.all() else 0.0
            found[name] = {"recall": float(called[own].mean()), "called": others}
    return found


def reading(report: dict) -> str:
    """The findings of the audit as plain sentences."""
    changes = report["changes"]
    accuracy, majority = changes[UNCHANGED]["accuracy"], report["majority"]
    if changes[UNCHANGED]["kept"] is None:
        return (
            f"Accuracy {accuracy:.3f} does not exceed the share of the commonest class "
            f"({majority:.3f}), so no cue can be measured."
        )
    text = [
        f"The model's accuracy is {accuracy:.3f}; always predicting the commonest class gives "
        f"{majority:.3f}. Of the difference it keeps {changes['grey']['kept']:.0%} without colour, "
        f"{changes['stain_normalised']['kept']:.0%} in one common stain, "
        f"{changes['background_removed']['kept']:.0%} without background, "
        f"{changes['border_only']['kept']:.0%} from the border alone and "
        f"{changes['patches_shuffled']['kept']:.0%} without outlines.",
        "The model was not trained on such images, so a drop is an upper bound for its reliance on "
        "the removed cue. Accuracy kept from the border or from shuffled patches does not come "
        "from cell shape.",
    ]
    for name, found in changes["border_only"]["by_class"].items():
        if found["recall"] - found["called"] >= MIN_EXCESS:
            text.append(
                f"From the border alone the model recognises {name}: it predicts this class for "
                f"{found['recall']:.0%} of its images and {found['called']:.0%} of the others. "
                "Look for a mark at the border."
            )
    return " ".join(text)
