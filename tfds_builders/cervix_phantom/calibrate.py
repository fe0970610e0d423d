"""What colour alone and shape alone can tell on the phantom: the numbers of its README.

python -m tfds_builders.cervix_phantom.calibrate --confounding 0 0.5 1 [--sipakmed FOLDER]
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score

from cervix_jax.errors import InputError
from tfds_builders.cervix_phantom.anatomy import CLASS_NAMES, CROP_MARGIN, folder
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
            nucleus and cell centres over the cell's radius; all from the masks. Without masks
            [n, 0].
        labels: int64 [n].
        slides: int64 [n], position of the crop's slide among those of its class; for real images,
            which of five contiguous blocks of cluster numbers the crop is from.
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
                colour.append(_colour(crop))
                border.append(_border(crop))
                areas = [m.sum() for m in (cell.cell_mask, cell.nucleus_mask, cell.halo_mask)]
                centres = [np.argwhere(m).mean(axis=0) for m in (cell.cell_mask, cell.nucleus_mask)]
                offset = np.hypot(*(centres[1] - centres[0])) / np.sqrt(areas[0] / np.pi)
                shape.append([*areas, areas[1] / areas[0], areas[2] / areas[0], offset])
                labels.append(class_index)
                slides.append(slide_position(cluster, settings))
    return CropFeatures(
        colour=np.array(colour),
        border=np.array(border),
        shape=np.array(shape),
        labels=np.array(labels),
        slides=np.array(slides),
    )


def sipakmed_features(root: Path) -> CropFeatures:
    """The same of SIPaKMeD's crops, found as `im_<class>/**/CROPPED/NNN_MM.*` under `root`."""
    colour, border, labels, slides = [], [], [], []
    for class_index, class_name in enumerate(CLASS_NAMES):
        paths = sorted(
            path
            for path in (root / folder(class_name)).rglob("CROPPED/*")
            if path.suffix.lower() in {".bmp", ".jpg", ".png"}
        )
        if not paths:
            raise InputError(f"no crops under {root / folder(class_name)}: give SIPaKMeD's folder.")
        _, rank = np.unique([int(path.name.split("_")[0]) for path in paths], return_inverse=True)
        slides.extend(rank * _FOLDS // (rank.max() + 1))
        for path in paths:
            with Image.open(path) as image:
                crop = np.asarray(image.convert("RGB"))
            colour.append(_colour(crop))
            border.append(_border(crop))
            labels.append(class_index)
    return CropFeatures(
        colour=np.array(colour),
        border=np.array(border),
        shape=np.empty((len(labels), 0)),
        labels=np.array(labels),
        slides=np.array(slides),
    )


def _colour(crop: np.ndarray) -> np.ndarray:
    return np.percentile(crop, _PERCENTILES, axis=(0, 1)).ravel()


def _border(crop: np.ndarray) -> np.ndarray:
    edge = np.ones(crop.shape[:2], bool)
    edge[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    return np.percentile(crop[edge], (10, 50, 90), axis=0).ravel()


def random_split_accuracy(features: np.ndarray, labels: np.ndarray, trees: int = 200) -> float:
    """Mean accuracy of a random forest in stratified 5-fold cross-validation."""
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return float(cross_val_score(_forest(trees), features, labels, cv=folds).mean())


def new_slide_accuracy(
    features: np.ndarray, labels: np.ndarray, slides: np.ndarray, trees: int = 200
) -> float:
    """The same in 5 folds that put every slide position on one side (at least 5 positions)."""
    folds = GroupKFold(_FOLDS)
    return float(cross_val_score(_forest(trees), features, labels, groups=slides, cv=folds).mean())


def _forest(trees: int) -> RandomForestClassifier:
    return RandomForestClassifier(trees, random_state=0)


def table_row(title: str, found: CropFeatures) -> str:
    """One row of the Markdown table."""
    scores = []
    for features in (found.colour, found.border, found.shape):
        if features.shape[1]:
            scores.append(f"{random_split_accuracy(features, found.labels):.3f}")
            scores.append(f"{new_slide_accuracy(features, found.labels, found.slides):.3f}")
        else:
            scores.extend("--")
    return f"| {title} | {' | '.join(scores)} |"


def main() -> None:
    """Prints a row for every confounding asked for, and one for SIPaKMeD if its folder is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--confounding", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sipakmed", type=Path)
    given = parser.parse_args()
    print("| data | colour, random split | colour, new slides | border, random split ", end="")
    print("| border, new slides | shape, random split | shape, new slides |\n" + "|---" * 7 + "|")
    for confounding in given.confounding:
        settings = PhantomSettings(seed=given.seed, confounding=confounding)
        print(table_row(f"confounding {confounding:g}", crop_features(settings)), flush=True)
    if given.sipakmed:
        print(table_row("SIPaKMeD", sipakmed_features(given.sipakmed)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
