"""ROAD (remove and debias): removed pixels are imputed from their neighbours.

If removed pixels were set to a constant, the network could detect the shape of the removed region
and base its score on it. Noisy linear imputation hides most of that shape. Rong et al. (2022), "A
Consistent and Efficient Evaluation Strategy for Attribution Methods".
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import splu

from cervix_jax.errors import InputError, check_count
from cervix_jax.explain.baselines import Baselines
from cervix_jax.explain.batches import as_it_is, score_samples
from cervix_jax.explain.contract import Reduction
from cervix_jax.explain.function import LogitsFn, Output
from cervix_jax.explain.measures.maps import (
    Ids,
    check_call,
    checked_ids,
    is_constant,
    pixel_ranks,
    reduce_channels,
)
from cervix_jax.progress import Bar

PERCENTAGES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
# (down, right, weight) of half of the neighbours; the other half lies opposite.
_NEIGHBOURS = ((0, 1, 1 / 6), (1, 0, 1 / 6), (1, 1, 1 / 12), (1, -1, 1 / 12))


@dataclasses.dataclass(frozen=True)
class Road:
    """Scores after removal of pixels; NaN for a constant map, which ranks no pixel.

    Attributes:
      percentages: float64 [P], percentages of removed pixels.
      morf: float64 [N, P], score with the most relevant pixels removed first; low is good.
      lerf: float64 [N, P], score with the least relevant pixels removed first; high is good.
      morf_kept: float64 [N, P], 1 if the target is still the predicted class, else 0.
      lerf_kept: float64 [N, P], as `morf_kept`.
    """

    percentages: np.ndarray
    morf: np.ndarray
    lerf: np.ndarray
    morf_kept: np.ndarray
    lerf_kept: np.ndarray

    @property
    def combined(self) -> np.ndarray:
        """Mean of (LeRF - MoRF) / 2 over the percentages, float64 [N]; 0 is chance, high good."""
        return (self.lerf - self.morf).mean(axis=1) / 2


def road(
    fn: LogitsFn,
    images: ArrayLike,
    targets: ArrayLike,
    maps: ArrayLike,
    *,
    percentages: Sequence[float] = PERCENTAGES,
    noise: float = 0.01,
    reduction: Reduction = "sum",
    ids: Ids = None,
    baselines: Baselines = None,
    output: Output = "probability",
    batch_size: int = 32,
    seed: int = 0,
    progress: str = "",
) -> Road:
    """The score after removal of the most relevant pixels and of the least relevant pixels.

    Images are imputed on the host, with one sparse factorisation for each image, percentage and
    order.

    Args:
      fn: as for `explain.saliency`.
      images: float [N, H, W, 3].
      targets: int [N], or one class for all.
      maps: float [N, H, W, 3] or [N, H, W].
      percentages: shares of pixels to remove, above 0 and below 100.
      noise: standard deviation of the noise added to imputed pixels, in the units of `images`.
      reduction: see `reduce_channels`.
      ids: see `checked_ids`.
      baselines: not used; removed pixels are imputed.
      output: the score to compute.
      batch_size: imputed images in one batch.
      seed: random seed of the noise and of the order of pixels with equal relevance.
      progress: label of the progress bar.

    Raises:
      InputError: an argument is invalid.
    """
    del baselines
    fn, examples, values = check_call(fn, images, targets, maps, output)
    reduced = reduce_channels(values, reduction)
    pixels, names = examples["images"], checked_ids(ids, len(reduced))
    shares = _checked_percentages(percentages, reduced[0].size)
    check_count("batch_size", batch_size)
    ranks = pixel_ranks(reduced, seed=seed, ids=ids)
    numbers = np.rint(shares / 100 * reduced[0].size).astype(int)
    scores = np.full((len(pixels), 2, len(shares)), np.nan)
    kept = scores.copy()
    systems = NeighbourSystem(*reduced.shape[1:])
    # Only as many images at a time as fill a batch, because imputed images need memory.
    for chunk in _chunks(np.flatnonzero(~is_constant(reduced)), batch_size, 2 * len(shares)):
        imputed = []
        for i in Bar(chunk, desc=progress, unit="image", leave=False, disable=not progress):
            # Each image has one noise, so that orders and percentages differ only in the pixels.
            generator = np.random.default_rng([seed, names[i], 1])
            noises = generator.normal(0, noise, pixels[i].shape) if noise else 0.0
            for first in (ranks[i], reduced[i].size - 1 - ranks[i]):
                imputed += [systems.impute(pixels[i], first < n, noises) for n in numbers]
        removed = {
            "images": np.stack(imputed),
            "targets": examples["targets"][chunk].repeat(2 * len(shares)),
        }
        found = score_samples(as_it_is, fn, removed, output=output, batch_size=batch_size)
        scores[chunk] = found.values.reshape(len(chunk), 2, -1)
        kept[chunk] = found.predicted.reshape(len(chunk), 2, -1)
    return Road(shares, scores[:, 0], scores[:, 1], kept[:, 0], kept[:, 1])


class NeighbourSystem:
    """Linear system in which each pixel is the weighted mean of its neighbours, eight at most.

    Direct neighbours have weight 1/6 and diagonal neighbours 1/12. At the border, where neighbours
    are missing, the other weights are scaled to sum to 1.

    Args:
      height: height of the images in pixels.
      width: width of the images in pixels.
    """

    def __init__(self, height: int, width: int):
        number = np.arange(height * width).reshape(height, width)
        rows, columns, weights = [], [], []
        for down, right, weight in _NEIGHBOURS:
            here = number[: height - down, max(-right, 0) : width - max(right, 0)].ravel()
            there = number[down:, max(right, 0) : width + min(right, 0)].ravel()
            rows += [here, there]
            columns += [there, here]
            weights.append(np.full(2 * len(here), weight))
        cells = np.concatenate(rows), np.concatenate(columns)
        size = (number.size, number.size)
        self._weights = csr_array((np.concatenate(weights), cells), size)
        self._totals = self._weights.sum(axis=1)

    def impute(
        self, image: np.ndarray, removed: np.ndarray, noise: float | np.ndarray = 0.0
    ) -> np.ndarray:
        """The image with its removed pixels imputed.

        Args:
          image: float [H, W, C].
          removed: bool [H, W]; not all True.
          noise: number or float [H, W, C], added to the imputed pixels.

        Returns:
          float32 [H, W, C].
        """
        unknown, known = np.flatnonzero(removed), np.flatnonzero(~removed)
        result = image.reshape(-1, image.shape[-1]).astype(np.float64)
        if len(unknown):
            among = self._weights[unknown]
            system = diags_array(self._totals[unknown]) - among[:, unknown]
            # The system is symmetric and diagonally dominant: no pivoting is needed.
            factors = splu(
                system.tocsc(),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
            result[unknown] = factors.solve(among[:, known] @ result[known])
        result = result.reshape(image.shape)
        return np.where(removed[..., None], result + noise, image).astype(np.float32)


def _checked_percentages(percentages: Sequence[float], count: int) -> np.ndarray:
    shares = np.asarray(percentages, np.float64)
    if shares.ndim != 1 or not len(shares) or not ((shares > 0) & (shares < 100)).all():
        raise InputError(f"percentages={percentages!r}: give numbers above 0 and below 100.")
    if np.rint(shares / 100 * count).max() >= count:
        raise InputError(
            f"percentages={percentages!r} remove all {count} pixels; give smaller percentages."
        )
    return shares


def _chunks(indices: np.ndarray, batch_size: int, rows_each: int) -> list[np.ndarray]:
    size = max(1, batch_size // rows_each)
    return [indices[start : start + size] for start in range(0, len(indices), size)]
