"""What colour alone and shape alone can tell on the phantom: the numbers of its README.

python -m tfds_builders.cervix_phantom.calibrate --confounding 0 0.5 1
"""

import argparse
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score

from tfds_builders.cervix_phantom.anatomy import CLASS_NAMES, CROP_MARGIN
from tfds_builders.cervix_phantom.field import render_field
from tfds_builders.cervix_phantom.settings import PhantomSettings
from tfds_builders.cervix_phantom.stains import slide_position

_BORDER = 2  # pixels at the edge of a crop
_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
_FOLDS = 5


@dataclass(frozen=True)
class CropFeatures:
    """Hand-made features of single-cell crops, one row a crop.

    Attributes:
        colour: float64 [n, 27], RGB percentiles of the crop.
        border: float64 [n, 9], RGB percentiles of its outermost two pixels.
        shape: float64 [n, 6], areas of cell, nucleus and halo, their ratios, and the distance of
            nucleus and cell centres over the cell's radius; all from the masks.
        labels: int64 [n].
        slides: int64 [n], position of the crop's slide among those of its class.
    """

    colour: np.ndarray
    border: np.ndarray
    shape: np.ndarray
    labels: np.ndarray
    slides: np.ndarray


def crop_features(settings: PhantomSettings) -> CropFeatures:
    """Renders every field and measures its crops."""
    colour, border, shape, labels, slides = [], [], [], [], []
    for class_index in range(len(CLASS_NAMES)):
        for cluster in range(1, settings.clusters_per_class + 1):
            field = render_field(class_index, cluster, settings)
            for cell in field.cells:
                crop = field.image[cell.crop_window(CROP_MARGIN)]
                edge = np.ones(crop.shape[:2], bool)
                edge[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
                colour.append(np.percentile(crop, _PERCENTILES, axis=(0, 1)).ravel())
                border.append(np.percentile(crop[edge], (10, 50, 90), axis=0).ravel())
                areas = [m.sum() for m in (cell.cell_mask, cell.nucleus_mask, cell.halo_mask)]
                centres = [np.argwhere(m).mean(axis=0) for m in (cell.cell_mask, cell.nucleus_mask)]
                offset = np.hypot(*(centres[1] - centres[0])) / np.sqrt(areas[0] / np.pi)
                shape.append([*areas, areas[1] / areas[0], areas[2] / areas[0], offset])
                labels.append(class_index)
                slides.append(slide_position(cluster, settings))
    arrays = map(np.array, (colour, border, shape, labels, slides))
    return CropFeatures(*arrays)


def random_split_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean accuracy of a random forest in stratified 5-fold cross-validation."""
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return float(cross_val_score(_forest(), features, labels, cv=folds).mean())


def new_slide_accuracy(features: np.ndarray, labels: np.ndarray, slides: np.ndarray) -> float:
    """The same in 5 folds that put every slide position on one side."""
    folds = GroupKFold(_FOLDS)
    return float(cross_val_score(_forest(), features, labels, groups=slides, cv=folds).mean())


def _forest() -> RandomForestClassifier:
    return RandomForestClassifier(200, random_state=0)


def main() -> None:
    """Prints one row of a Markdown table for every confounding asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--confounding", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(
        "| confounding | colour, random split | colour, new slides | border, random split ", end=""
    )
    print("| border, new slides | shape, random split |\n|---|---|---|---|---|---|")
    for confounding in given.confounding:
        found = crop_features(PhantomSettings(seed=given.seed, confounding=confounding))
        accuracies = [
            score
            for features in (found.colour, found.border)
            for score in (
                random_split_accuracy(features, found.labels),
                new_slide_accuracy(features, found.labels, found.slides),
            )
        ]
        accuracies.append(random_split_accuracy(found.shape, found.labels))
        cells = " | ".join(f"{score:.3f}" for score in accuracies)
        print(f"| {confounding:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
