r"""Errors of a cross-validation under `block`, by properties of the cells.

  python benchmarks/block_errors.py --run=runs/block --manual_dir=/path/to/SIPaKMeD \
      --sheets=/tmp/sheets --out=benchmarks/results/block_errors.json

The script reads the test predictions of the run's folds (all seeds with predictions) and the
images. It counts errors by pair of classes, by tenth of each class's cluster numbers (SIPaKMeD
publishes no slides, but neighbouring numbers share a stain), by field, stain, size, near duplicates
with other labels, and agreement of the seeds. `--beside` compares with another run on the same
cells, such as one under `cluster`, to separate errors caused by the split from others. No network
is run.

Stain is the mean and standard deviation of a crop's optical densities (R, G, B), including light
and background. Sharpness is the logarithm of the mean square of the grey crop's Laplacian. Both are
averaged over the cells of a field and divided by their standard deviation over the training fields.
Size is the logarithm of the crop's area in square micrometres. `--sheets` writes contact sheets:
each error, the most similar training cell of its true class, and that of its predicted class.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from error_cues import along, cues_of, named, where_fields_are_mixed
from error_sheets import draw_errors
from PIL import Image
from scipy.ndimage import laplace

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cervix_jax.data import catalog  # noqa: E402
from cervix_jax.data.dataset import Dataset  # noqa: E402
from cervix_jax.data.divide import split_dataset  # noqa: E402
from cervix_jax.data.duplicates import find_duplicates  # noqa: E402
from cervix_jax.evaluate.sides import read_side  # noqa: E402
from cervix_jax.files.atomic import write_json  # noqa: E402
from cervix_jax.statistics.side_by_side import Side  # noqa: E402

THUMB = 12  # side of what alikeness is measured on
TENTHS = 10
DRAWS = 200  # of errors dealt to other cells of their fold and class


def features(dataset: Dataset) -> dict[str, np.ndarray]:
    """Features of all cells: `stain` [N, 6], `sharp` [N, 1], `size` [N] (log um^2), `thumb`."""
    stain, sharp, size, thumbs = [], [], [], []
    for index in range(len(dataset)):
        pixels = np.asarray(dataset.decoded_source[index]["image"])
        density = -np.log10((pixels.astype(np.float32) + 1) / 256)
        flat = density.reshape(-1, 3)
        stain.append(np.concatenate([flat.mean(0), flat.std(0)]))
        height, width = pixels.shape[:2]
        size.append(np.log(height * width * (dataset.microns_per_pixel or 1.0) ** 2))
        grey = Image.fromarray(pixels).convert("L")
        edges = laplace(np.asarray(grey, np.float32))
        sharp.append([np.log(np.mean(edges**2) + 1e-3)])
        small = grey.resize((THUMB, THUMB), Image.Resampling.BOX)
        thumbs.append(np.asarray(small, np.float32).ravel())
    found = {"stain": stain, "sharp": sharp, "size": size, "thumb": thumbs}
    return {name: np.array(values) for name, values in found.items()}


class Cells:
    """All cells with their features and test predictions.

    Attributes:
      fold: int [N], the fold that tests the cell; -1 without predictions.
      wrong: float [N], share of the seeds with a wrong prediction.
      called: int [N], the predicted class by the mean probabilities of the seeds.
      sure: float [N], mean probability of that class.
      field: int [N] and `field_names`.
      tenth: int [N], tenth of the class's fields in the order of their numbers.
    """

    def __init__(self, dataset: Dataset, found: Mapping[str, np.ndarray], side: Side, folds: int):
        self.dataset, self.names = dataset, dataset.class_names
        self.stain, self.sharp = found["stain"], found["sharp"]
        self.size, self.thumb = found["size"], found["thumb"]
        self.labels = dataset.labels
        self.field_names, self.field = np.unique(dataset.groups, return_inverse=True)
        self.splits = [split_dataset(dataset, protocol="block", fold=f) for f in range(folds)]
        self.tenth = _tenths(self.splits, self.field)
        self.fold = np.full(len(dataset), -1)
        self.wrong, self.called, self.sure, self.seeds = _called(dataset, side, self.fold)
        self.error = self.called != self.labels
        self.tested = self.fold >= 0

    def train(self, fold: int) -> np.ndarray:
        """Positions of the cells that a fold trains on."""
        return np.flatnonzero(self.splits[fold] == "train")


def _tenths(splits: list[np.ndarray], field: np.ndarray) -> np.ndarray:
    """Half blocks: one half of a test block is in the validation part of the fold before."""
    found = np.zeros(len(field), int)
    for fold, split in enumerate(splits):
        before = splits[fold - 1] == "val"
        found[(split == "test") & before] = 2 * fold
        found[(split == "test") & ~before] = 2 * fold + 1
    return found


def _called(
    dataset: Dataset, side: Side, fold_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[int, int]]:
    place = {name: index for index, name in enumerate(dataset.filenames)}
    total = np.zeros((len(dataset), len(dataset.class_names)))
    wrong, count = np.zeros(len(dataset)), np.zeros(len(dataset))
    seeds = Counter(fold for _, fold in side.tables)
    for (_, fold), table in side.tables.items():
        table = table.in_order_of(dataset.class_names)
        rows = np.array([place[name] for name in table.filenames])
        total[rows] += table.probabilities
        wrong[rows] += table.predicted != dataset.labels[rows]
        count[rows] += 1
        fold_of[rows] = fold
    total /= np.maximum(count, 1)[:, None]
    return wrong / np.maximum(count, 1), total.argmax(1), total.max(1), dict(sorted(seeds.items()))


def by_pair(cells: Cells, chosen: np.ndarray) -> list[dict[str, Any]]:
    """Confusions by pair of classes, the most frequent first."""
    wrong = chosen & cells.error
    pairs = Counter(zip(cells.labels[wrong].tolist(), cells.called[wrong].tolist(), strict=True))
    return [
        {"class": cells.names[true], "called": cells.names[called], "errors": count,
         "of": int((chosen & (cells.labels == true)).sum())}
        for (true, called), count in pairs.most_common()
    ]  # fmt: skip


def by_tenth(cells: Cells) -> dict[str, Any]:
    """Errors of every tenth of a class's fields, in the order of their numbers."""
    rates: dict[str, list[float | None]] = {}
    counts: list[int] = []
    for label, name in enumerate(cells.names):
        own = [cells.tested & (cells.labels == label) & (cells.tenth == t) for t in range(TENTHS)]
        rates[name] = [round(float(cells.error[o].mean()), 3) if o.any() else None for o in own]
        counts += [int(cells.error[o].sum()) for o in own]
    ordered = np.sort(counts)[::-1].cumsum()
    return {
        "error_rates": rates,
        "tenths": len(counts),
        "tenths_that_hold_half_of_the_errors": int(np.searchsorted(ordered, ordered[-1] / 2) + 1),
    }


def by_field(cells: Cells, chosen: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Concentration of errors in fields, compared with errors permuted within fold and class."""
    stratum = cells.fold * len(cells.names) + cells.labels
    rows = np.flatnonzero(chosen)
    random = np.random.default_rng(seed)

    def gathered(error: np.ndarray) -> tuple[int, int]:
        counts = np.bincount(cells.field[rows], weights=error, minlength=len(cells.field_names))
        ordered = np.sort(counts)[::-1].cumsum()
        sizes = np.bincount(cells.field[rows], minlength=len(cells.field_names))
        whole = int(((counts == sizes) & (sizes >= 3)).sum())
        return int(np.searchsorted(ordered, ordered[-1] / 2) + 1), whole

    dealt = []
    for _ in range(DRAWS):
        error = cells.error[rows].copy()
        for value in np.unique(stratum[rows]):
            own = stratum[rows] == value
            error[own] = random.permutation(error[own])
        dealt.append(gathered(error))
    half, whole = gathered(cells.error[rows])
    return {
        "fields": len(np.unique(cells.field[rows])),
        "fields_with_an_error": len(np.unique(cells.field[rows][cells.error[rows]])),
        "fields_that_hold_half_of_the_errors": half,
        "the_same_of_errors_dealt_at_random": float(np.mean([d[0] for d in dealt])),
        "fields_of_3_or_more_cells_all_wrong": whole,
        "the_same_dealt_at_random": float(np.mean([d[1] for d in dealt])),
    }


def duplicates(cells: Cells) -> dict[str, Any]:
    """Near duplicates with other labels, and the number of errors among them."""
    pairs = find_duplicates(cells.dataset.fingerprints())
    odd = [p for p in pairs if cells.labels[p.first] != cells.labels[p.second]]
    involved = sorted({index for p in odd for index in (p.first, p.second)})
    known = [index for index in involved if cells.tested[index]]
    apart = [p for p in pairs if cells.fold[p.first] != cells.fold[p.second]]
    return {
        "pairs": len(pairs),
        "pairs_across_folds": len(apart),
        "pairs_of_other_labels": len(odd),
        "cells_in_them": len(involved),
        "errors_among_them": int(cells.error[known].sum()),
        "files": [
            [cells.dataset.filenames[p.first], cells.dataset.filenames[p.second]] for p in odd[:20]
        ],
    }


def agreement(cells: Cells, chosen: np.ndarray) -> dict[str, Any]:
    """Errors by number of wrong seeds, and the mean probability of the wrong class."""
    wrong = chosen & cells.error
    return {
        "seeds_by_fold": {str(fold): count for fold, count in cells.seeds.items()},
        "wrong_in_every_seed": int((chosen & (cells.wrong == 1)).sum()),
        "wrong_in_some": int((chosen & (cells.wrong > 0) & (cells.wrong < 1)).sum()),
        "share_of_errors_above_0.8": round(float((cells.sure[wrong] > 0.8).mean()), 3),
    }


def beside(cells: Cells, side: Side) -> dict[str, Any]:
    """The same cells, tested by another run."""
    fold = np.full(len(cells.labels), -1)
    _, called, _, seeds = _called(cells.dataset, side, fold)
    both = cells.tested & (fold >= 0)
    other = called != cells.labels
    return {
        "run": Path(side.name).name,
        "seeds_by_fold": {str(fold): count for fold, count in seeds.items()},
        "cells": int(both.sum()),
        "wrong_in_both": int((both & cells.error & other).sum()),
        "wrong_here_only": int((both & cells.error & ~other).sum()),
        "wrong_there_only": int((both & ~cells.error & other).sum()),
    }


def summary(cells: Cells, cues: Mapping[str, Any], chosen: np.ndarray) -> dict[str, Any]:
    """All counts for some of the tested cells."""
    return {
        "cells": int(chosen.sum()),
        "errors": int((chosen & cells.error).sum()),
        "error_rate": round(float(cells.error[chosen].mean()), 4),
        "by_pair": by_pair(cells, chosen),
        "by_field": by_field(cells, chosen),
        "cues": {
            name: along(cells, chosen, values) | named(cells, chosen, said)
            for name, (values, said) in cues.items()
        },
        "seeds": agreement(cells, chosen),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="folder of a cross-validation under block")
    parser.add_argument(
        "--beside", default="", help="folder of another cross-validation on the same cells"
    )
    parser.add_argument("--manual_dir", default=None)
    parser.add_argument("--data_dir", default=None)
    parser.add_argument("--sheets", default="", help="folder for the contact sheets")
    parser.add_argument("--out", required=True, help="JSON to write")
    args = parser.parse_args()
    dataset = catalog.load(
        "sipakmed/single_cell", manual_dir=args.manual_dir, data_dir=args.data_dir
    )
    side = read_side(args.run)
    cells = Cells(dataset, features(dataset), side, folds=5)
    cues = cues_of(cells)
    found: dict[str, Any] = {
        "run": Path(args.run).name,
        "by_tenth_of_the_cluster_numbers": by_tenth(cells),
        "stain_under_block_and_cluster": where_fields_are_mixed(cells),
        "duplicates": duplicates(cells),
        "all": summary(cells, cues, cells.tested),
        "folds": {
            str(fold): summary(cells, cues, cells.fold == fold)
            for fold in sorted(set(cells.fold[cells.tested].tolist()))
        },
    }
    if args.beside:
        found["beside"] = beside(cells, read_side(args.beside))
    write_json(args.out, found)
    print(json.dumps(found["all"], indent=1)[:3000])
    if args.sheets:
        for fold in found["folds"]:
            chosen = (cells.fold == int(fold)) & cells.error
            draw_errors(
                cells, chosen, cells.train(int(fold)), Path(args.sheets) / f"fold{fold}.png"
            )


if __name__ == "__main__":
    main()
