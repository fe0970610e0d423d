import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from cervix_jax.data.augment import AugmentSettings, geometry
from cervix_jax.data.decode import crop_with_margin
from cervix_jax.errors import InputError

# Compiled whole: operation by operation most of the time goes into compiling.
random_affine = jax.jit(geometry.random_affine, static_argnums=(1, 2, 3, 4))
random_dihedral = jax.jit(geometry.random_dihedral, static_argnames=("flip", "rot90"))
warp = jax.jit(geometry.warp, static_argnums=(2, 3))


def random_images(batch=4, height=9, width=9):
    return np.random.default_rng(3).random((batch, height, width, 3), np.float32)


def rotation(degrees, batch=1):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return jnp.tile(jnp.array([[[cosine, -sine, 0], [sine, cosine, 0]]]), (batch, 1, 1))


def symmetries(image):
    """The 8 symmetries of a square image: 4 turns, then 4 turns of the mirror image."""
    return [np.rot90(m, turns) for m in (image, image[:, ::-1]) for turns in range(4)]


@pytest.mark.parametrize(
    ("flip", "rot90", "allowed"),
    [(True, True, {*range(8)}), (False, True, {0, 1, 2, 3}), (True, False, {0, 2, 4, 6})],
)
def test_dihedral_permutes_pixels_with_equal_odds(flip, rot90, allowed):
    image = np.random.default_rng(0).permutation(48).reshape(4, 4, 3).astype(np.uint8)
    batch = jnp.tile(image, (2000, 1, 1, 1))
    moved = np.asarray(random_dihedral(jax.random.key(0), batch, flip=flip, rot90=rot90))
    assert moved.dtype == np.uint8
    counts = [int((moved == s).all(axis=(1, 2, 3)).sum()) for s in symmetries(image)]
    assert sum(counts) == len(moved)
    assert {i for i, count in enumerate(counts) if count} == allowed
    # Six standard deviations of a binomial count.
    share = 1 / len(allowed)
    tolerance = 6 * np.sqrt(2000 * share * (1 - share))
    assert all(abs(counts[i] - 2000 * share) < tolerance for i in allowed)


def test_flip_keeps_images_that_are_not_square():
    images = random_images(8, 4, 7)
    assert (
        random_dihedral(jax.random.key(0), jnp.asarray(images), rot90=False).shape == images.shape
    )
    with pytest.raises(InputError, match=r"rot90.*4 x 7"):
        random_dihedral(jax.random.key(0), jnp.asarray(images))


@pytest.mark.parametrize("fill", ["reflect", "edge", "black", "white"])
@pytest.mark.parametrize("turns", [-1, 0, 1, 2])
@pytest.mark.parametrize("side", [8, 9])
def test_a_quarter_turn_by_angle_is_the_exact_one(fill, turns, side):
    images = random_images(2, side, side)
    turned = warp(images, rotation(90 * turns, 2), fill)
    # Rows point down, so that the map's positive angle is numpy's counter-clockwise turn.
    np.testing.assert_allclose(turned, np.rot90(images, -turns, axes=(1, 2)), atol=2e-5)


@pytest.mark.parametrize(
    ("fill", "mode", "constant"),
    [
        ("reflect", "mirror", 0),
        ("edge", "nearest", 0),
        ("black", "grid-constant", 0),
        ("white", "grid-constant", 1),
    ],
)
def test_warp_equals_scipy(fill, mode, constant):
    image = random_images(1, 11, 14)[0]
    linear, shift = np.array([[0.9, -0.5], [0.3, 1.4]]), np.array([3.3, -8.2])
    centre = (np.array(image.shape[:2]) - 1) / 2
    expected = np.stack(
        [
            scipy.ndimage.affine_transform(
                image[..., c],
                linear,
                centre + shift - linear @ centre,
                order=1,
                mode=mode,
                cval=constant,
            )
            for c in range(3)
        ],
        axis=-1,
    )
    maps = jnp.concatenate([jnp.asarray(linear), jnp.asarray(shift)[:, None]], axis=1)[None]
    np.testing.assert_allclose(warp(image[None], maps, fill)[0], expected, atol=2e-5)


def test_reflection_brings_no_new_colour():
    images = 0.4 + 0.2 * random_images(8, 16, 16)
    maps = random_affine(
        jax.random.key(1),
        8,
        16,
        16,
        AugmentSettings(rotation_degrees=180, translate=0.5, scale=0.5),
    )
    for fill in ("reflect", "edge"):
        warped = warp(images, maps, fill)
        assert float(warped.min()) >= images.min() - 1e-5
        assert float(warped.max()) <= images.max() + 1e-5
    assert float(warp(images, maps, "black").min()) == 0
    assert float(warp(images, maps, "white").max()) == 1


def test_no_setting_is_the_identity_map():
    maps = random_affine(jax.random.key(0), 5, 8, 12, AugmentSettings())
    identity = np.tile([[[1, 0, 0], [0, 1, 0]]], (5, 1, 1))
    np.testing.assert_array_equal(maps, identity)


def test_rotation_and_scale_fill_their_ranges():
    maps = np.asarray(
        random_affine(
            jax.random.key(0),
            4000,
            64,
            64,
            AugmentSettings(rotation_degrees=25, scale=0.2, translate=0.1),
        )
    )
    angles = np.degrees(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    magnification = 1 / np.hypot(maps[:, 0, 0], maps[:, 1, 0])
    # A rotation and a magnification, so nothing shears or mirrors.
    linear = maps[:, :, :2] * magnification[:, None, None]
    np.testing.assert_allclose(
        linear @ linear.swapaxes(1, 2), np.tile(np.eye(2), (4000, 1, 1)), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(linear), 1, atol=1e-5)
    for values, low, high in [
        (angles, -25, 25),
        (np.log(magnification), np.log(0.8), np.log(1.2)),
        (maps[:, 0, 2], -6.4, 6.4),
        (maps[:, 1, 2], -6.4, 6.4),
    ]:
        assert low - 1e-5 <= values.min() < low + 0.02 * (high - low)
        assert high + 1e-5 >= values.max() > high - 0.02 * (high - low)
        assert abs(values.mean() - (low + high) / 2) < 0.05 * (high - low)


def test_crop_windows_lie_inside_and_keep_their_area():
    height, width, least = 40, 60, 0.3
    maps = np.asarray(
        random_affine(
            jax.random.key(0), 2000, height, width, AugmentSettings(crop_area=least, aspect=1 / 3)
        )
    )
    window = np.abs(maps[:, [0, 1], [0, 1]])
    outermost = window * np.array([height, width]) / 2 + np.abs(maps[:, :, 2])
    assert (outermost <= np.array([height, width]) / 2 + 1e-3).all()
    ratio = window[:, 1] / window[:, 0]
    assert ratio.min() >= 0.75 - 1e-5
    assert ratio.max() <= 4 / 3 + 1e-5
    area = window.prod(axis=1)
    whole = (window < 1).all(axis=1)  # not trimmed
    assert whole.mean() > 0.8
    assert least - 1e-5 <= area[whole].min() < least + 0.05
    assert area.max() > 0.9


def turned_by_pillow(field, degrees, size):
    """As the published code does: the shorter side resized, the whole turned, its centre cut."""
    width, height = field.width * size // field.height, size
    turned = field.resize((width, height), Image.Resampling.BILINEAR).rotate(
        -degrees,
        Image.Resampling.BILINEAR,  # Pillow turns the other way
    )
    left = (width - size) // 2
    return np.asarray(turned.crop((left, 0, left + size, size)))


@pytest.mark.parametrize("degrees", [-25.0, -7.0, 12.5, 25.0])
def test_rotation_before_the_crop_is_that_of_the_whole_field(degrees):
    size, settings = 96, AugmentSettings(rotation_degrees=25, rotate_before_crop=True, fill="black")
    noise = np.random.default_rng(0).integers(60, 256, (12, 16, 3), np.uint8)
    field = Image.fromarray(noise).resize((512, 384), Image.Resampling.BICUBIC)
    margin = settings.margin(size, "crop")
    canvas = crop_with_margin(np.asarray(field), size, margin)[None] / np.float32(255)
    found = np.asarray(warp(canvas, rotation(degrees), "black", margin))[0]
    expected = turned_by_pillow(field, degrees, size) / 255
    assert found.shape == (size, size, 3)
    # Along the edge of the field Pillow takes the nearest pixel, and this package the mean with
    # black; everywhere else both interpolate.
    assert np.quantile(np.abs(found - expected), 0.97) < 0.02
    assert ((found > 0.1) == (expected > 0.1)).mean() > 0.98


def test_black_corners_of_whole_fields_are_the_published_codes():
    """4 % of a field's centre is black on average; turned after the crop it would be 8 %."""
    size, fields = 64, Image.fromarray(np.full((96, 128, 3), 255, np.uint8))
    shares = {}
    for before in (True, False):
        settings = AugmentSettings(rotation_degrees=25, rotate_before_crop=before, fill="black")
        margin = settings.margin(size, "crop")
        assert (margin > 0) == before
        canvas = np.repeat(crop_with_margin(fields, size, margin)[None], 400, 0) / np.float32(255)
        maps = random_affine(jax.random.key(0), 400, size, size, settings)
        shares[before] = 1 - float(warp(canvas, maps, "black", margin).mean())
    assert shares[True] == pytest.approx(0.041, abs=0.003)
    assert shares[False] == pytest.approx(0.082, abs=0.004)


@pytest.mark.parametrize("degrees", [0, 10, 25, 45, 120])
def test_a_margin_holds_all_that_a_rotation_brings_in(degrees):
    size, settings = 41, AugmentSettings(rotation_degrees=degrees, rotate_before_crop=True)
    margin = settings.margin(size, "crop")
    side = size + 2 * margin
    for angle in np.linspace(-degrees, degrees, 31):
        # White inside of the margin and black beyond: nothing of it is seen.
        seen = warp(np.ones((1, side, side, 1), np.float32), rotation(angle), "black", margin)
        assert float(seen.min()) == pytest.approx(1, abs=1e-4)
    assert settings.margin(size, "stretch") == 0
    assert AugmentSettings(rotation_degrees=degrees).margin(size, "crop") == 0
