"""Images that occur twice: the same pixels, or the same picture scaled, recompressed or turned.

A near duplicate is a pair whose perceptual hashes (Zauner 2010, with 256 instead of 64 bits) differ
in few bits and whose grey thumbnails correlate: one file recompressed or scaled, or one cell
photographed twice. The hash is that of the discrete cosine transform, in which turning and
mirroring only change signs and swap axes, so all eight poses cost little more than one.

Pairs that resemble each other by chance do so in any of the eight poses, a cell photographed twice
in one, which tells how far both limits can go: all 250 pairs that SIPaKMeD's 4049 single cells have
within them are in the same pose, and the phantom, all of whose 1500 cells differ, has none.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

THUMBNAIL_SIDE = 64
HASH_SIDE = 16
HASH_BITS = HASH_SIDE * HASH_SIDE
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
      first: position in the data set, less than `second`.
      second: position in the data set.
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


def thumbnail(image: Image.Image) -> np.ndarray:
    """The image in 64 x 64 grey pixels, whatever its aspect ratio; uint8 [64, 64]."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(image.convert("L").resize(side, Image.Resampling.BOX))


def perceptual_hashes(grey: np.ndarray) -> np.ndarray:
    """The perceptual hashes of a thumbnail in its eight poses.

    Args:
      grey: uint8 [64, 64].

    Returns:
      bool [8, 256] in the order of `POSES`: which of the 16 x 16 lowest frequencies lie above their
      median.
    """
    low = np.asarray(dctn(np.asarray(grey, np.float64), norm="ortho"))[:HASH_SIDE, :HASH_SIDE]
    low[0, 0] = 0  # brightness
    odd = 1 - 2 * (np.arange(HASH_SIDE) % 2)
    poses = []
    for upright in (low, low.T):
        for rows, columns in ((1, 1), (1, odd), (odd[:, None], 1), (odd[:, None], odd)):
            pose = upright * rows * columns
            poses.append((pose > np.median(pose)).ravel())
    return np.stack(poses)


def find_duplicates(
    digests: Sequence[str],
    hashes: np.ndarray,
    thumbnails: np.ndarray,
    *,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
    progress: bool = False,
) -> list[Pair]:
    """All pairs of exact and near duplicates, exact ones first, then by distance.

    Args:
      digests: N digests of the pixels.
      hashes: bool [N, 8, 256], see `perceptual_hashes`.
      thumbnails: uint8 [N, 64, 64], see `thumbnail`.
      max_distance: most differing bits of a near duplicate.
      min_correlation: least correlation of the thumbnails of a near duplicate.
      progress: show a bar.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        same[digest].append(index)
    exact = {
        (first, second)
        for members in same.values()
        for position, first in enumerate(members)
        for second in members[position + 1 :]
    }
    pairs = [Pair(i, j, 0, 1.0, POSES[0], True) for i, j in sorted(exact)]
    # With bits as +1 and -1 a Hamming distance is an inner product, and BLAS is fast at these.
    signs = hashes.astype(np.float32) * 2 - 1
    starts = range(0, len(signs), _ROWS)
    near = []
    for start in tqdm(starts, desc="comparing", unit="block", disable=not progress, leave=False):
        rows = signs[start : start + _ROWS, 0]
        best = np.full((len(rows), len(signs) - start), HASH_BITS + 1, np.float32)
        pose = np.zeros(best.shape, np.int8)
        for number in range(len(POSES)):
            distance = (HASH_BITS - rows @ signs[start:, number].T) / 2
            closer = distance < best
            best[closer], pose[closer] = distance[closer], number
        for i, j in np.argwhere(best <= max_distance):
            first, second = int(start + i), int(start + j)
            if first >= second or (first, second) in exact:
                continue
            moved = _MOVES[pose[i, j]](thumbnails[second])
            similarity = _correlation(thumbnails[first], moved)
            if similarity >= min_correlation:
                bits = int(best[i, j])
                near.append(Pair(first, second, bits, similarity, POSES[pose[i, j]], False))
    return pairs + sorted(near, key=lambda pair: (pair.distance, pair.first, pair.second))


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
