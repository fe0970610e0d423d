"""Bootstrap over groups: whole groups are drawn, as images of one slide resemble each other.

Field and Welsh (2007), "Bootstrapping clustered data", call it the cluster bootstrap. A resample is
a row of weights (how often each group was drawn), so examples are never copied.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_array

RESAMPLES = 2000
# Number of weights gathered per example at a time, so that they fit into the cache.
CHUNK = 400_000
# Number of weights drawn or multiplied at a time; limits the memory for many groups.
_BLOCK = 4_000_000


class Resamples:
    """Weights of the groups in the data themselves (row 0, all ones) and in every resample.

    One formula thus computes a statistic for the data and all resamples at once.

    Attributes:
      index: int [N], the group of each example.
      num_groups: G.
      weights: unsigned [1 + R, G], of the narrowest sufficient type; each row sums to G.
    """

    def __init__(
        self, groups: Sequence[str] | np.ndarray, *, number: int = RESAMPLES, seed: int = 0
    ):
        names, self.index = np.unique(np.asarray(groups, str), return_inverse=True)
        self.num_groups = len(names)
        random = np.random.default_rng(seed)
        self.weights = np.ones((1 + number, self.num_groups), np.uint8)
        for rows in self._blocks(1):
            count = rows.stop - rows.start
            drawn = random.integers(0, self.num_groups, (count, self.num_groups), dtype=np.int32)
            cells = drawn + np.arange(count)[:, None] * self.num_groups
            counts = np.bincount(cells.ravel(), minlength=count * self.num_groups)
            if counts.max() > np.iinfo(self.weights.dtype).max:
                self.weights = self.weights.astype(np.uint32)
            self.weights[rows] = counts.reshape(count, self.num_groups)

    def _blocks(self, first: int = 0) -> Iterator[slice]:
        """Slices of the rows of the weights from `first` on, a few rows each."""
        total, step = len(self.weights), max(_BLOCK // max(self.num_groups, 1), 1)
        for start in range(first, total, step):
            yield slice(start, min(start + step, total))

    def _product(self, by_group: np.ndarray) -> np.ndarray:
        """Weights times float64 [G] or [G, K]."""
        out = np.empty((len(self.weights), *by_group.shape[1:]))
        for rows in self._blocks():
            out[rows] = self.weights[rows].astype(np.float64) @ by_group
        return out

    @functools.cached_property
    def _members(self) -> csr_array:
        count = len(self.index)
        ones = np.ones(count)
        return csr_array((ones, (self.index, np.arange(count))), (self.num_groups, count))

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """float64 [1 + R], number of examples in each resample."""
        return self.sums(np.ones(len(self.index)))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums over the examples.

        Args:
          values: [N] or [N, K].

        Returns:
          float64 [1 + R] or [1 + R, K].
        """
        return self._product(self._members @ np.asarray(values, np.float64))

    def means(self, values: np.ndarray) -> np.ndarray:
        """Weighted means over the examples, as `sums`."""
        total = self.sums(values)
        return total / (self.sizes if total.ndim == 1 else self.sizes[:, None])

    def counts(self, categories: np.ndarray, number: int) -> np.ndarray:
        """Weighted counts of categories.

        Args:
          categories: int [N], in [0, number).
          number: number of categories, K.

        Returns:
          float64 [1 + R, K].
        """
        cells = self.index * number + categories
        by_group = np.bincount(cells, minlength=self.num_groups * number)
        return self._product(by_group.reshape(self.num_groups, number).astype(np.float64))

    def example_weights(self, order: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Weights of the examples in a given order, a few resamples at a time.

        Yields:
          The slice of rows, and their weights, unsigned [rows, len(order)].
        """
        step = max(CHUNK // max(len(order), 1), 1)
        index = self.index[order]
        for start in range(0, len(self.weights), step):
            rows = slice(start, start + step)
            yield rows, np.take(self.weights[rows], index, axis=1)
