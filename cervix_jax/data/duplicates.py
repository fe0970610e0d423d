"""Duplicate images: the same pixels, or the same picture scaled, recompressed or rotated.

A near duplicate is a pair of images whose perceptual hashes differ in few bits and whose grey
thumbnails correlate: one file recompressed or scaled, or one cell photographed twice.

Both limits were checked by the pose of the pairs. Images that resemble each other by chance do so
in any of the eight poses, whereas a cell that was photographed twice has one pose. All 250 pairs
within the limits among SIPaKMeD's 4049 single cells have the same pose. The phantom, in which all
1500 cells differ, has no pairs.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cervix_jax.data.fingerprints import HASH_BITS, Fingerprints, perceptual_hashes
from cervix_jax.progress import Bar

MAX_DISTANCE = 64  # most differing bits of a near duplicate
MIN_CORRELATION = 0.94  # of the thumbnails of a near duplicate, Pearson's
POSES = (
    "same pose",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180 degrees",
    "transposed",
    "turned clockwise",
    "turned counter-clockwise",
    "transposed along the other diagonal",
)
# What each pose does to a thumbnail.
_MOVES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda a: a,
    np.fliplr,
    np.flipud,
    lambda a: np.rot90(a, 2),
    np.transpose,
    lambda a: np.rot90(a, -1),
    lambda a: np.rot90(a, 1),
    lambda a: np.rot90(a, 2).T,
)
_ROWS = 512  # of the distance matrix at a time


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images that look alike.

    Attributes:
      first: position in the first set; within one set less than `second`.
      second: position in the second set, or in the one.
      distance: differing bits of 256 in the best pose; 0 for exact duplicates.
      correlation: of the grey thumbnails in that pose, at most 1.
      pose: how `second` must be moved to look like `first`, one of `POSES`.
      exact: whether the pixels are the same.
    """

    first: int
    second: int
    distance: int
    correlation: float
    pose: str
    exact: bool


def find_duplicates(
    first: Fingerprints,
    second: Fingerprints | None = None,
    *,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
    progress: bool = False,
) -> list[Pair]:
    """All pairs of exact and near duplicates, exact ones first, then by distance.

    Args:
      first: of N images.
      second: of M images that each of the first is compared with; None compares the first among
        each other.
      max_distance: most differing bits of a near duplicate, of 256.
      min_correlation: least correlation of the thumbnails of a near duplicate.
      progress: show a bar.

    Returns:
      Pairs of a position in `first` and one in `second`; within one set every pair once, the lower
      position first.
    """
    within = second is None
    other = first if second is None else second
    same: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(other.digests):
        same[digest].append(index)
    exact = {
        (i, j)
        for i, digest in enumerate(first.digests)
        for j in same.get(digest, ())
        if not within or i < j
    }
    pairs = [Pair(i, j, 0, 1.0, POSES[0], True) for i, j in sorted(exact)]
    if not len(first) or not len(other):
        return pairs
    posed = np.stack([perceptual_hashes(small) for small in other.thumbnails])
    near = []
    for i, j, pose, bits in _close(first.hashes, posed, max_distance, within, progress):
        if (i, j) in exact:
            continue
        moved = _MOVES[pose](other.thumbnails[j])
        similarity = _correlation(first.thumbnails[i], moved)
        if similarity >= min_correlation:
            near.append(Pair(i, j, bits, similarity, POSES[pose], False))
    return pairs + sorted(near, key=lambda pair: (pair.distance, pair.first, pair.second))


def _close(
    hashes: np.ndarray, posed: np.ndarray, most: int, within: bool, progress: bool
) -> Iterator[tuple[int, int, int, int]]:
    """Pairs whose hashes differ in few bits.

    Args:
      hashes: bool [N, 256] of the first images.
      posed: bool [M, 8, 256] of the second ones in every pose.
      most: most differing bits.
      within: whether both are the same images, each pair of which is wanted once.
      progress: show a bar.

    Yields:
      Position of the first, of the second, number of the best pose, differing bits in it.
    """
    # With bits as +1 and -1 a Hamming distance is an inner product, and BLAS is fast at these.
    ours = hashes.astype(np.float32) * 2 - 1
    theirs = posed.astype(np.float32) * 2 - 1
    starts = range(0, len(ours), _ROWS)
    for start in Bar(starts, desc="comparing", unit="block", disable=not progress, leave=False):
        rows, skipped = ours[start : start + _ROWS], start if within else 0
        best = np.full((len(rows), len(theirs) - skipped), HASH_BITS + 1, np.float32)
        pose = np.zeros(best.shape, np.int8)
        for number in range(len(POSES)):
            distance = (HASH_BITS - rows @ theirs[skipped:, number].T) / 2
            closer = distance < best
            best[closer], pose[closer] = distance[closer], number
        for i, j in np.argwhere(best <= most).tolist():
            one, two = start + i, skipped + j
            if not within or one < two:
                yield one, two, int(pose[i, j]), int(best[i, j])


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation; 0 with an image of one grey, but 1 between two such."""
    if not first.std() or not second.std():
        return float(first.std() == second.std())
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def joined_groups(groups: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """Groups that also hold together what occurs twice.

    Args:
      groups: N group names.
      pairs: duplicates among the N images.

    Returns:
      N group names; groups connected by a pair, also through others, all have the first one's name.
    """
    names, numbers = np.unique(np.asarray(groups, str), return_inverse=True)
    first = [numbers[pair.first] for pair in pairs]
    second = [numbers[pair.second] for pair in pairs]
    links = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=False)
    # np.unique gives the first position of every component, whose name stands for all.
    representative = np.unique(component, return_index=True)[1]
    return names[representative[component]][numbers].tolist()


def crossing_folds(pair: Pair, splits_by_fold: Sequence[np.ndarray]) -> list[int]:
    """The folds in which one image of a pair is tested and the other trains or chooses the model.

    Args:
      pair: two images.
      splits_by_fold: for every fold str [N] of "train", "val" or "test".
    """
    folds = []
    for fold, splits in enumerate(splits_by_fold):
        parts = {str(splits[pair.first]), str(splits[pair.second])}
        if "test" in parts and parts & {"train", "val"}:
            folds.append(fold)
    return folds
