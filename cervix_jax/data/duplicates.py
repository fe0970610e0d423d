"""Duplicate images: the same pixels, or the same picture scaled, recompressed or rotated.

A near duplicate is a pair of images whose perceptual hashes differ in few bits and whose grey
thumbnails correlate: one file recompressed or scaled, or one cell photographed twice.

Both limits were validated with the pose of the pairs. Images that resemble each other by chance
match in any of the eight poses, whereas two photographs of one cell share one pose. All 250 pairs
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

MAX_DISTANCE = 64  # maximum number of differing bits of a near duplicate
MIN_CORRELATION = 0.94  # minimum Pearson correlation of the thumbnails of a near duplicate
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
# The transformation of a thumbnail for each pose.
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
_ROWS = 512  # rows of the distance matrix per chunk


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images that look alike.

    Attributes:
      first: position in the first set; lower than `second` if there is only one set.
      second: position in the second set, or in the only set.
      distance: differing bits of 256 in the best pose; 0 for exact duplicates.
      correlation: correlation of the grey thumbnails in that pose, at most 1.
      pose: transformation that aligns `second` with `first`, one of `POSES`.
      exact: whether the pixels are identical.
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
    """Find all pairs of exact and near duplicates, exact ones first, then by distance.

    Args:
      first: fingerprints of N images.
      second: fingerprints of M images to compare with the first; None compares the first with each
        other.
      max_distance: maximum number of differing bits of a near duplicate, of 256.
      min_correlation: minimum correlation of the thumbnails of a near duplicate.
      progress: whether to show a bar.

    Returns:
      Pairs of a position in `first` and one in `second`; for a single set each pair occurs once,
      with the lower position first.
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
    """Find pairs whose hashes differ in few bits.

    Args:
      hashes: bool [N, 256], hashes of the first images.
      posed: bool [M, 8, 256], hashes of the second images in every pose.
      most: maximum number of differing bits.
      within: whether both are the same images, so that each pair is returned once.
      progress: whether to show a bar.

    Yields:
      Position of the first, of the second, number of the best pose, differing bits in it.
    """
    # With bits as +1 and -1 a Hamming distance is an inner product, which BLAS computes fast.
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
    """Pearson correlation; 0 if one image is a single grey, but 1 if both are."""
    if not first.std() or not second.std():
        return float(first.std() == second.std())
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def joined_groups(groups: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """Merge groups that share a duplicate.

    Args:
      groups: N group names.
      pairs: duplicates among the N images.

    Returns:
      N group names; groups connected by pairs, also indirectly, get the name of the first.
    """
    names, numbers = np.unique(np.asarray(groups, str), return_inverse=True)
    first = [numbers[pair.first] for pair in pairs]
    second = [numbers[pair.second] for pair in pairs]
    links = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=False)
    # np.unique gives the first position of every component; its group names the whole component.
    representative = np.unique(component, return_index=True)[1]
    return names[representative[component]][numbers].tolist()


def crossing_folds(pair: Pair, splits_by_fold: Sequence[np.ndarray]) -> list[int]:
    """Return the folds with one image of a pair in test and the other in train or val.

    Args:
      pair: two images.
      splits_by_fold: str [N] of "train", "val" or "test" for every fold.
    """
    folds = []
    for fold, splits in enumerate(splits_by_fold):
        parts = {str(splits[pair.first]), str(splits[pair.second])}
        if "test" in parts and parts & {"train", "val"}:
            folds.append(fold)
    return folds
