import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cervix_jax import target
from cervix_jax.data.augment import AugmentSettings, colour, make_augment, stain_vectors
from cervix_jax.data.augment.draws import uniform_per_example
from cervix_jax.data.augment.stain_vectors import GREATEST, LEAST
from cervix_jax.data.optical_density import optical_density

# Compiled whole: operation by operation most of the time goes into compiling.
random_recolour = jax.jit(colour.random_recolour, static_argnums=2)
random_stain_vectors = jax.jit(stain_vectors.random_stain_vectors, static_argnums=3)
stain_plane = jax.jit(stain_vectors.stain_plane)

BLUE_GREEN = np.array([0.75, 0.5, 0.35])
RED_ORANGE = np.array([0.15, 0.65, 0.7])


def unit(vector):
    return vector / np.linalg.norm(vector)


def mixtures(batch=3, pixels=4001):
    """Densities `[B, N, 3]` of two stains in uniform shares: nothing of one at either end."""
    share = np.linspace(0, 1, pixels)[:, None]
    density = share * unit(BLUE_GREEN) + (1 - share) * unit(RED_ORANGE)
    return np.stack([density * (1 + image) for image in range(batch)])


def coloured(batch=4, side=12):
    """Images in [0, 1] `[B, H, W, 3]` of stains, and of everything else."""
    rng = np.random.default_rng(0)
    density = rng.gamma(2, 0.3, (batch, side, side, 2)) @ np.stack([BLUE_GREEN, RED_ORANGE])
    density += rng.uniform(0, 0.1, density.shape)
    return np.exp(-density).astype(np.float32)


def moments(density):
    mean = density.mean(axis=1)
    return mean.astype(np.float32), np.einsum("bni,bnk->bik", density, density, dtype=float).astype(
        np.float32
    ) / density.shape[1]


def reference(images, key, limit):
    """The matrices from NumPy's eigenvectors, pixel by pixel."""
    draws = (2 * np.asarray(uniform_per_example(key, len(images), 6), float) - 1) * limit
    matrices = []
    for image, (along_1, across_1, gain_1, along_2, across_2, gain_2) in zip(
        images, draws, strict=True
    ):
        density = -np.log((255 * image.reshape(-1, 3).astype(float) + 1) / 256)
        middle = unit(density.mean(axis=0))
        beside = density - np.outer(density @ middle, middle)
        u = np.linalg.eigh(beside.T @ beside)[1][:, -1]
        u = u if u[0] >= u[2] else -u
        normal = np.cross(middle, u)
        width = np.sqrt(3 * np.mean((density @ u) ** 2) / np.mean((density @ middle) ** 2))
        width = np.clip(width, LEAST, GREATEST)
        stains = [unit(middle + width * u), unit(middle - width * u)]
        sideways = [unit(u - width * middle), unit(u + width * middle)]
        turned = [
            stains[0] + along_1 * sideways[0] + across_1 * normal,
            stains[1] + along_2 * sideways[1] + across_2 * normal,
        ]
        turned = [
            unit(np.maximum(new, np.minimum(old, 0)))
            for new, old in zip(turned, stains, strict=True)
        ]
        old = np.stack([*stains, normal], axis=1)
        new = np.stack([(1 + gain_1) * turned[0], (1 + gain_2) * turned[1], normal], axis=1)
        matrices.append(new @ np.linalg.inv(old))
    return np.stack(matrices)


def test_the_stains_of_a_uniform_mixture_are_found():
    middle, along, across, tangent = stain_plane(*moments(mixtures()))
    for sign, stain in ((1, BLUE_GREEN), (-1, RED_ORANGE)):
        found = np.asarray(middle + sign * tangent * along)
        for one in found:
            np.testing.assert_allclose(unit(one), unit(stain), atol=1e-3)
    np.testing.assert_allclose(
        np.abs(np.asarray(across) @ unit(np.cross(BLUE_GREEN, RED_ORANGE))), 1, atol=1e-5
    )


@pytest.mark.parametrize("limit", [0.1, 0.9])
def test_the_maps_equal_numpy(limit):
    images, key = coloured(6), jax.random.key(1)
    mean, moment = colour.density_moments(
        [optical_density(images[..., channel]) for channel in range(3)]
    )
    np.testing.assert_allclose(moment, np.swapaxes(moment, 1, 2))
    found = random_stain_vectors(key, mean, moment, limit)
    np.testing.assert_allclose(found, reference(images, key, limit), atol=1e-3)


def test_stains_are_turned_and_rescaled_by_the_limit_and_no_more():
    limit, count = 0.2, 2000
    density = np.repeat(mixtures(1), count, axis=0)
    found = np.asarray(random_stain_vectors(jax.random.key(0), *moments(density[:, ::40]), limit))
    for stain in (BLUE_GREEN, RED_ORANGE):
        new = found @ unit(stain)
        amount = np.linalg.norm(new, axis=1)
        assert 1 - limit - 0.01 < amount.min() < 0.82
        assert 1.18 < amount.max() < 1 + limit + 0.01
        angles = np.arccos(np.clip(new @ unit(stain) / amount, -1, 1))
        assert 0.2 < angles.max() < np.arctan(np.sqrt(2) * limit) + 0.01
        assert new.min() > -0.01
    # The two are drawn apart from each other.
    amounts = [np.linalg.norm(found @ unit(stain), axis=1) for stain in (BLUE_GREEN, RED_ORANGE)]
    assert abs(np.corrcoef(amounts)[0, 1]) < 0.1


def test_zero_is_the_identity_and_any_image_has_a_finite_map():
    grey = np.repeat(np.random.default_rng(0).random((1, 8, 8, 1), np.float32), 3, axis=3)
    one_colour = np.full((1, 8, 8, 3), [1, 0.2, 1], np.float32)
    images = np.concatenate([np.ones_like(grey), np.zeros_like(grey), grey, one_colour])
    images = np.concatenate([images, coloured(2, 8)])
    densities = [optical_density(images[..., channel]) for channel in range(3)]
    mean, moment = colour.density_moments(densities)
    still = random_stain_vectors(jax.random.key(0), mean, moment, 0.0)
    np.testing.assert_allclose(still, np.tile(np.eye(3), (6, 1, 1)), atol=1e-5)
    strong = np.asarray(random_stain_vectors(jax.random.key(0), mean, moment, 1.0))
    assert np.isfinite(strong).all()
    assert np.abs(strong).max() < 2 / LEAST


def test_the_map_comes_before_the_jitter_whose_draws_stay():
    images, key = coloured(), jax.random.key(3)
    channels = [images[..., channel] for channel in range(3)]
    settings = AugmentSettings(stain_jitter=0.1, hue=0.1, brightness=0.1)
    both = AugmentSettings(stain_jitter=0.1, hue=0.1, brightness=0.1, stain_vectors=0.3)
    matrix, offset = random_recolour(key, channels, settings)
    turned, same = random_recolour(key, channels, both)
    alone, nothing = random_recolour(key, channels, AugmentSettings(stain_vectors=0.3))
    np.testing.assert_array_equal(offset, same)
    np.testing.assert_array_equal(nothing, 0)
    np.testing.assert_allclose(turned, np.asarray(matrix) @ np.asarray(alone), atol=1e-5)
    assert np.abs(alone - jnp.eye(3)).max() > 0.05


def test_glass_stays_clear_and_images_change_alike_in_both_forms():
    images = (255 * coloured(3)).astype(np.uint8)
    images[:, :2] = 255
    run, labels = make_augment({"stain_vectors": 0.3}), np.zeros(3, np.int32)
    moved = np.asarray(run(jax.random.key(0), images, labels, 2)[0])
    with target.tracing_for("tpu"):
        planes = np.asarray(run(jax.random.key(0), images, labels, 2)[0])
    np.testing.assert_allclose(moved, planes, atol=1e-5)
    np.testing.assert_allclose(moved[:, :2], 1, atol=1e-6)
    assert np.abs(moved - images / 255)[:, 2:].mean(axis=(1, 2, 3)).min() > 0.005
