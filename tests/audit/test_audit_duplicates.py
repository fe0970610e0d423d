import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage
from selection import tries

from cervix_jax.audit.duplicates import (
    HASH_BITS,
    MAX_DISTANCE,
    POSES,
    Pair,
    crossing_folds,
    find_duplicates,
    joined_groups,
    perceptual_hashes,
    thumbnail,
)


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


def hashed(*images: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    small = np.stack([thumbnail(image.convert("RGB")) for image in images])
    return np.stack([perceptual_hashes(each) for each in small]), small


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("seed", range(3))
def test_changed_copies_are_near_and_others_are_not(change, seed):
    original = picture(seed)
    hashes = hashed(original, change(original), picture(seed + 100))
    (pair,) = find_duplicates(("a", "b", "c"), *hashes)
    assert (pair.first, pair.second, pair.exact, pair.pose) == (0, 1, False, POSES[0])
    assert pair.distance <= MAX_DISTANCE


@pytest.mark.parametrize("number", range(8), ids=POSES)
def test_turned_and_mirrored_copies_are_found_and_named(number):
    original = picture(5, (128, 128))
    moved = Image.fromarray(np.ascontiguousarray(MOVES[number](np.asarray(original))))
    (pair,) = find_duplicates(("a", "b"), *hashed(original, moved))
    assert pair.distance <= 4  # rounding of the thumbnail
    assert pair.correlation > 0.99
    assert pair.pose == POSES[number]


def test_exact_pairs_are_listed_once_and_first():
    image = picture(1)
    hashes = hashed(image, recompressed(image), image, image)
    pairs = find_duplicates(("same", "other", "same", "same"), *hashes)
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
    same = np.zeros((count, 64, 64), np.uint8)
    pairs = find_duplicates([str(i) for i in range(count)], hashes, same, max_distance=most)
    found = {(pair.first, pair.second): pair for pair in pairs}
    for i in range(count):
        for j in range(i + 1, count):
            distances = (hashes[i, 0] != hashes[j]).sum(axis=-1)
            assert ((i, j) in found) == (distances.min() <= most)
            if (i, j) in found:
                assert found[i, j].distance == distances.min()
                assert found[i, j].pose == POSES[distances.argmin()]


def test_many_images_are_compared_in_blocks(monkeypatch):
    random = np.random.default_rng(0)
    hashes = random.random((50, 8, HASH_BITS)) < 0.5
    hashes[40] = hashes[3]
    digests, same = [str(i) for i in range(50)], np.zeros((50, 64, 64), np.uint8)
    whole = find_duplicates(digests, hashes, same, max_distance=100)
    monkeypatch.setattr("cervix_jax.audit.duplicates._ROWS", 7)
    assert find_duplicates(digests, hashes, same, max_distance=100) == whole
    assert (whole[0].first, whole[0].second, whole[0].distance) == (3, 40, 0)


def test_thumbnails_have_the_last_word():
    hashes = np.zeros((3, 8, HASH_BITS), bool)
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    thumbnails = np.stack([ramp, 2 * ramp + 3, np.full((64, 64), 9, np.uint8)])
    (pair,) = find_duplicates("abc", hashes, thumbnails)
    assert (pair.first, pair.second) == (0, 1)
    assert pair.correlation == pytest.approx(1)
    # Upright is tried first, and mirrored the ramps would run against each other.
    assert find_duplicates("ab", hashes[:2], np.stack([ramp, ramp[:, ::-1]])) == []


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
