import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cervix_jax.data.augment.mixing import cutmix_mask, cutout, mix

# Compiled once for all seeds; the methods differ in code, so their alphas are static.
MIX = jax.jit(mix, static_argnames=("mixup_alpha", "cutmix_alpha"))
MASKS = jax.jit(jax.vmap(lambda key, kept: cutmix_mask(key, 40, 60, kept), in_axes=(0, None)))


def labelled_batch(batch=6, height=10, width=14):
    """Images of one value each, of which the target says the value: pixels reveal their source."""
    value = jnp.arange(batch, dtype=jnp.float32)
    return jnp.tile(value[:, None, None, None], (1, height, width, 3)), jnp.eye(batch)


def test_cutout_covers_one_square_with_the_mean():
    rng = np.random.default_rng(0)
    images = rng.random((200, 20, 30, 3), np.float32)
    covered = np.asarray(jax.jit(cutout, static_argnums=2)(jax.random.key(0), images, 0.5))
    changed = (covered != images).any(axis=-1)
    for image, result, mask in zip(images, covered, changed, strict=True):
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert (mask == rows[:, None] & columns[None]).all()
        assert 1 <= rows.sum() <= 10
        assert 1 <= columns.sum() <= 10
        means = np.broadcast_to(image.mean(axis=(0, 1)), result[mask].shape)
        np.testing.assert_allclose(result[mask], means, atol=1e-5)
    assert changed.sum(axis=(1, 2)).max() == 100


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.75, 1.0])
def test_cutmix_rectangle_has_the_area_unless_trimmed(kept):
    keys = jax.random.split(jax.random.key(0), 300)
    masks = np.asarray(MASKS(keys, kept))
    assert set(np.unique(masks)) <= {0.0, 1.0}
    shares = masks.mean(axis=(1, 2))
    assert (shares >= kept - 0.03).all()
    assert shares.min() == pytest.approx(kept, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_target_is_the_exact_share_of_pixels(seed):
    images, targets = labelled_batch()
    mixed, soft = MIX(jax.random.key(seed), images, targets, cutmix_alpha=1.0)
    for i, (image, target) in enumerate(zip(np.asarray(mixed), np.asarray(soft), strict=True)):
        counts = np.bincount(image[..., 0].astype(int).ravel(), minlength=6)
        np.testing.assert_allclose(target, counts / counts.sum(), atol=1e-6)
        assert counts[i] > 0 or target[i] == 0
    np.testing.assert_array_equal(mixed, np.round(mixed))


@pytest.mark.parametrize("seed", range(5))
def test_mixup_blends_pixels_as_targets(seed):
    images, targets = labelled_batch()
    mixed, soft = MIX(jax.random.key(seed), images, targets, mixup_alpha=1.0)
    expected = np.asarray(soft) @ np.arange(6)
    np.testing.assert_allclose(
        np.asarray(mixed), np.broadcast_to(expected[:, None, None, None], mixed.shape), atol=1e-5
    )
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert len({round(float(share), 5) for share in soft.diagonal() if share < 1}) == 1


@pytest.mark.slow
def test_a_batch_uses_one_of_both_methods_at_even_odds():
    images, targets = labelled_batch()
    mixed, soft = jax.vmap(
        lambda key: MIX(key, images, targets, mixup_alpha=0.4, cutmix_alpha=1.0)
    )(jax.random.split(jax.random.key(0), 200))
    np.testing.assert_allclose(soft.sum(axis=-1), 1, atol=1e-5)
    mean = np.asarray(mixed).mean(axis=(2, 3, 4))
    np.testing.assert_allclose(mean, np.asarray(soft) @ np.arange(6), atol=1e-4)
    pasted = (np.ptp(np.asarray(mixed), axis=(2, 3, 4)) > 0.5).any(axis=1)
    assert 0.3 < pasted.mean() < 0.65


@pytest.mark.slow
def test_beta_weights_follow_alpha():
    images, targets = labelled_batch(2, 2, 2)
    keys = jax.random.split(jax.random.key(0), 400)
    _, soft = jax.vmap(lambda key: MIX(key, images, targets, mixup_alpha=0.4))(keys)
    weights = np.asarray(soft).reshape(-1)
    weights = weights[(weights > 0) & (weights < 1)]
    # The deviation of Beta(a, a) is 1 / (2 sqrt(2 a + 1)); of the uniform distribution, 0.29.
    assert weights.std() == pytest.approx(0.5 / np.sqrt(1.8), abs=0.03)
