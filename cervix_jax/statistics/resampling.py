"""The bootstrap over groups: whole groups are drawn, since images of one slide resemble each other.

Field and Welsh (2007), "Bootstrapping clustered data", call it the cluster bootstrap. A resample is
a row of weights, how often each group was drawn, so that no example is ever copied.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_array

RESAMPLES = 2000
# Weights that are gathered per example at a time, so that they stay in the cache.
CHUNK = 400_000


class Resamples:
    """Weights of the groups in the data themselves (row 0, all ones) and in every resample.

    Every statistic is thus computed once, by one formula, for the estimate and its resamples.

    Attributes:
      index: int [N], the group of each example.
      num_groups: G.
      weights: float64 [1 + R, G]; each row sums to G.
    """

    def __init__(
        self, groups: Sequence[str] | np.ndarray, *, number: int = RESAMPLES, seed: int = 0
    ):
        names, self.index = np.unique(np.asarray(groups, str), return_inverse=True)
        self.num_groups = len(names)
        drawn = np.random.default_rng(seed).integers(
            0, self.num_groups, (number, self.num_groups), dtype=np.int32
        )
        cells = drawn + np.arange(number)[:, None] * self.num_groups
        counts = np.bincount(cells.ravel(), minlength=number * self.num_groups)
        self.weights = np.ones((1 + number, self.num_groups))
        self.weights[1:] = counts.reshape(number, self.num_groups)

    @functools.cached_property
    def _members(self) -> csr_array:
        count = len(self.index)
        ones = np.ones(count)
        return csr_array((ones, (self.index, np.arange(count))), (self.num_groups, count))

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """float64 [1 + R], examples in each resample."""
        return self.sums(np.ones(len(self.index)))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums over the examples.

        Args:
          values: [N] or [N, K].

        Returns:
          float64 [1 + R] or [1 + R, K].
        """
        return self.weights @ (self._members @ np.asarray(values, np.float64))

    def means(self, values: np.ndarray) -> np.ndarray:
        """Weighted means over the examples, as `sums`."""
        total = self.sums(values)
        return total / (self.sizes if total.ndim == 1 else self.sizes[:, None])

    def counts(self, categories: np.ndarray, number: int) -> np.ndarray:
        """Weighted counts of categories.

        Args:
          categories: int [N], in [0, number).
          number: how many categories there are, K.

        Returns:
          float64 [1 + R, K].
        """
        cells = self.index * number + categories
        by_group = np.bincount(cells, minlength=self.num_groups * number)
        return self.weights @ by_group.reshape(self.num_groups, number).astype(np.float64)

    def example_weights(self, order: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Weights of the examples in some order, a few resamples at a time.

        Yields:
          Which rows, and their weights, float64 [rows, len(order)].
        """
        step = max(CHUNK // max(len(order), 1), 1)
        index = self.index[order]
        for start in range(0, len(self.weights), step):
            rows = slice(start, start + step)
            yield rows, self.weights[rows][:, index]
