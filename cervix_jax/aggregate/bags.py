"""Images put together by their group."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Bags:
    """B groups of up to K images each, filled up with zeros.

    Attributes:
      names: str [B], ascending.
      labels: int [B], of each group.
      features: float32 [B, K, D].
      logits: float32 [B, K, C].
      mask: bool [B, K], which images there are.
    """

    names: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    logits: np.ndarray
    mask: np.ndarray

    def __len__(self) -> int:
        """B."""
        return len(self.names)


def make_bags(
    groups: np.ndarray, labels: np.ndarray, features: np.ndarray, logits: np.ndarray
) -> tuple[Bags, list[str]]:
    """The groups whose images share a label, and the names of the others.

    Args:
      groups: str [N].
      labels: int [N].
      features: float [N, D].
      logits: float [N, C].
    """
    names, index = np.unique(np.asarray(groups, str), return_inverse=True)
    rows = [np.flatnonzero(index == number) for number in range(len(names))]
    pure = [number for number, own in enumerate(rows) if len(set(labels[own].tolist())) == 1]
    mixed = [str(name) for number, name in enumerate(names) if number not in set(pure)]
    size = max((len(rows[number]) for number in pure), default=0)
    mask = np.zeros((len(pure), size), bool)
    padded = [np.zeros((len(pure), size, x.shape[-1]), np.float32) for x in (features, logits)]
    for bag, number in enumerate(pure):
        count = len(rows[number])
        mask[bag, :count] = True
        for array, values in zip(padded, (features, logits), strict=True):
            array[bag, :count] = values[rows[number]]
    first = np.asarray([labels[rows[number][0]] for number in pure], np.int64)
    return Bags(names[pure], first, *padded, mask), mixed
