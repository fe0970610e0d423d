import hashlib

import numpy as np
import pytest

from cervix_jax.data.fingerprints import (
    Fingerprints,
    content_digest,
    load_digests,
    perceptual_hashes,
)
from cervix_jax.errors import InputError


def images(count: int = 70) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (8 + i % 5, 9, 3), np.uint8) for i in range(count)]


def same(one: Fingerprints, other: Fingerprints) -> bool:
    return (
        one.digests == other.digests
        and np.array_equal(one.hashes, other.hashes)
        and np.array_equal(one.thumbnails, other.thumbnails)
    )


def test_a_digest_is_of_shape_and_pixels():
    image = images(4)[3]
    described = repr((11, 9, 3)).encode() + image.tobytes()
    assert content_digest(image) == hashlib.sha256(described).hexdigest()
    assert content_digest(image[:, ::-1]) == content_digest(image[:, ::-1].copy())
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    others = (changed, image.swapaxes(0, 1), image.reshape(9, 11, 3))
    assert len({content_digest(each) for each in (image, *others)}) == 4


def test_the_order_is_kept_with_any_number_of_threads():
    one, three = (Fingerprints.of(iter(images()), workers=workers) for workers in (1, 3))
    assert same(one, three)
    assert one.hashes.shape == (70, 256)
    assert one.thumbnails.dtype == np.uint8
    assert one.digests == tuple(content_digest(image) for image in images())
    in_poses = [perceptual_hashes(small) for small in one.thumbnails]
    np.testing.assert_array_equal(one.hashes, [poses[0] for poses in in_poses])
    few = one.take(np.array([5, 2]))
    assert same(few, Fingerprints.of([images()[5], images()[2]]))


@pytest.mark.parametrize("count", [0, 1, 9])
def test_what_is_saved_is_loaded(tmp_path, count):
    made = Fingerprints.of(images(count))
    made.save(tmp_path / "prints.npz")
    assert same(Fingerprints.load(tmp_path / "prints.npz"), made)
    assert load_digests(tmp_path / "prints.npz") == made.digests
    assert [path.name for path in tmp_path.iterdir()] == ["prints.npz"]


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "prints.npz"
    with pytest.raises(FileNotFoundError):
        Fingerprints.load(path)
    Fingerprints.of(images(9)).save(path)
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2], whole[:-7], b"x" * 999):
        path.write_bytes(content)
        for read in (Fingerprints.load, load_digests):
            with pytest.raises(InputError, match=r"prints\.npz: is damaged"):
                read(path)
    np.savez(path, digests=np.array(["a"], "S64"))
    with pytest.raises(InputError, match=r"prints\.npz: is damaged"):
        Fingerprints.load(path)
