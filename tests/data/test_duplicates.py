import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage
from selection import tries

from cervix_jax.data import duplicates
from cervix_jax.data.duplicates import (
    MAX_DISTANCE,
    POSES,
    Pair,
    crossing_folds,
    find_duplicates,
    joined_groups,
)
from cervix_jax.data.fingerprints import HASH_BITS, Fingerprints


def picture(seed: int, shape=(120, 150)) -> Image.Image:
    """Smooth coloured blobs."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(*shape, 3)), (4, 4, 0))
    noise -= noise.min()
    return Image.fromarray((noise / noise.max() * 255).astype(np.uint8))


def recompressed(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=60)
    return Image.open(stream)


COPIES = {
    "recompressed": recompressed,
    "scaled": lambda image: image.resize((90, 72), Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "grey": lambda image: image.convert("L").convert("RGB"),
}
# In the order of POSES, which undo them: what was turned left must be turned clockwise.
MOVES = (
    lambda a: a,
    np.fliplr,
    np.flipud,
    lambda a: np.rot90(a, 2),
    lambda a: a.swapaxes(0, 1),
    lambda a: np.rot90(a, 1),
    lambda a: np.rot90(a, 3),
    lambda a: np.rot90(a, 2).swapaxes(0, 1),
)


def prints(*images: Image.Image) -> Fingerprints:
    return Fingerprints.of(np.asarray(image.convert("RGB")) for image in images)


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("seed", range(3))
def test_changed_copies_are_near_and_others_are_not(change, seed):
    original = picture(seed)
    (pair,) = find_duplicates(prints(original, change(original), picture(seed + 100)))
    assert (pair.first, pair.second, pair.exact, pair.pose) == (0, 1, False, POSES[0])
    assert pair.distance <= MAX_DISTANCE


@pytest.mark.parametrize("number", range(8), ids=POSES)
def test_turned_and_mirrored_copies_are_found_and_named(number):
    original = picture(5, (128, 128))
    moved = Image.fromarray(np.ascontiguousarray(MOVES[number](np.asarray(original))))
    (pair,) = find_duplicates(prints(original, moved))
    assert pair.distance <= 4  # rounding of the thumbnail
    assert pair.correlation > 0.99
    assert pair.pose == POSES[number]


def test_exact_pairs_are_listed_once_and_first():
    image = picture(1)
    pairs = find_duplicates(prints(image, recompressed(image), image, image))
    exact = [(pair.first, pair.second) for pair in pairs if pair.exact]
    near = [(pair.first, pair.second) for pair in pairs if not pair.exact]
    assert exact == [(0, 2), (0, 3), (2, 3)]
    assert near == [(0, 1), (1, 2), (1, 3)]
    assert [pair.exact for pair in pairs] == [True] * 3 + [False] * 3


@settings(max_examples=tries(25))
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(0, 140))
def test_distances_are_those_of_counting_bits(seed, count, most):
    random = np.random.default_rng(seed)
    hashes = random.random((count, 8, HASH_BITS)) < 0.5
    close = duplicates._close(hashes[:, 0], hashes, most, True, False)
    found = {(first, second): (pose, bits) for first, second, pose, bits in close}
    for i in range(count):
        for j in range(i + 1, count):
            distances = (hashes[i, 0] != hashes[j]).sum(axis=-1)
            assert ((i, j) in found) == (distances.min() <= most)
            if (i, j) in found:
                assert found[i, j] == (distances.argmin(), distances.min())


def test_many_images_are_compared_in_blocks(monkeypatch):
    random = np.random.default_rng(0)
    hashes = random.random((50, 8, HASH_BITS)) < 0.5
    hashes[40] = hashes[3]
    for within in (True, False):
        whole = list(duplicates._close(hashes[:, 0], hashes, 100, within, False))
        monkeypatch.setattr("cervix_jax.data.duplicates._ROWS", 7)
        assert list(duplicates._close(hashes[:, 0], hashes, 100, within, False)) == whole
        monkeypatch.undo()
        assert (3, 40, 0, 0) in whole
        assert ((40, 3, 0, 0) in whole) == ((7, 7, 0, 0) in whole) == (not within)


def test_thumbnails_have_the_last_word():
    original = picture(2)
    noisy = np.asarray(original) * 0.3 + np.asarray(picture(3)) * 0.3
    both = prints(original, Image.fromarray(noisy.astype(np.uint8)))
    (pair,) = find_duplicates(both, max_distance=HASH_BITS, min_correlation=-1)
    assert find_duplicates(both, max_distance=pair.distance, min_correlation=-1) == [pair]
    assert find_duplicates(both, max_distance=pair.distance - 1, min_correlation=-1) == []
    assert find_duplicates(both, max_distance=HASH_BITS, min_correlation=pair.correlation) == [pair]
    higher = pair.correlation + 1e-6
    assert find_duplicates(both, max_distance=HASH_BITS, min_correlation=higher) == []


def test_one_set_is_compared_with_another():
    first, second, third = (picture(seed) for seed in (11, 12, 13))
    query = prints(third, recompressed(first), second)
    reference = prints(first, second, second)
    pairs = find_duplicates(query, reference)
    assert [(p.first, p.second, p.exact) for p in pairs] == [
        (2, 1, True),
        (2, 2, True),
        (1, 0, False),
    ]
    assert find_duplicates(query, prints()) == find_duplicates(prints(), reference) == []


def pair(first: int, second: int) -> Pair:
    return Pair(first, second, 0, 1.0, POSES[0], True)


def test_groups_are_joined_through_others():
    groups = ["b", "a", "c", "d", "a"]
    joined = joined_groups(groups, [pair(0, 1), pair(2, 4)])
    assert joined == ["a", "a", "a", "d", "a"]
    assert joined_groups(groups, []) == groups


def test_a_pair_crosses_where_one_is_tested_and_the_other_known():
    folds = [
        np.array(["test", "train", "val"]),
        np.array(["train", "test", "test"]),
        np.array(["val", "train", "train"]),
    ]
    assert crossing_folds(pair(0, 1), folds) == [0, 1]
    assert crossing_folds(pair(0, 2), folds) == [0, 1]
    assert crossing_folds(pair(1, 2), folds) == []
