"""The form of the augmentation for GPU and TPU against that for the CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from selection import few, tries

from cervix_jax import target
from cervix_jax.data.augment import PRESETS, colour, geometry, make_augment, planar, separable
from cervix_jax.data.augment.settings import FILLS, GEOMETRY, AugmentSettings
from cervix_jax.data.augment.spectral import reach
from cervix_jax.data.normalization import unit_range
from cervix_jax.errors import InputError

CYTOLOGY = {name: PRESETS["cytology"][name] for name in PRESETS["cytology"] if name in GEOMETRY}
STRONG = {"rotation_degrees": 180, "scale": 0.5, "translate": 0.3, "aspect": 0.5, "flip": True}
EXTREME = {
    "rotation_degrees": 180,
    "scale": 0.9,
    "translate": 1.0,
    "aspect": 3.0,
    "crop_area": 0.1,
}
STRAIGHT = {"scale": 0.5, "translate": 0.3, "aspect": 0.5, "crop_area": 0.4}
EVERYTHING = {
    **PRESETS["cytology"],
    "stain_vectors": 0.2,
    "crop_area": 0.6,
    "grey": 0.2,
    "cutout": 0.3,
    "mixup_alpha": 0.4,
    "cutmix_alpha": 1.0,
}


def cells(batch=4, height=40, width=40):
    """Dark discs with the soft border of a lens on a bright ground, and a camera's noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    images = np.full((batch, height, width, 3), 215.0)
    for image in images:
        for _ in range(4):
            row, column = rng.uniform(0, height), rng.uniform(0, width)
            radius = rng.uniform(0.1, 0.3) * min(height, width)
            distance = np.hypot(rows - row, columns - column) - radius
            image -= rng.uniform(20, 120, 3) / (1 + np.exp(distance / 1.5))[..., None]
    images += rng.normal(0, 2, images.shape)
    return np.clip(images, 0, 255).round().astype(np.uint8)


def differences(choice, images, margin=0, seed=0):
    """Grey levels between the two forms."""
    run, labels = make_augment(choice, margin), np.zeros(len(images), np.int32)
    pixels = []
    for platform in ("cpu", "tpu"):
        with target.tracing_for(platform):
            pixels.append(np.asarray(run(jax.random.key(seed), images, labels, 2)[0]))
    assert pixels[0].shape == pixels[1].shape
    assert pixels[1].dtype == np.float32
    return 255 * np.abs(pixels[0] - pixels[1])


@pytest.mark.parametrize(
    ("choice", "margin", "shape"),
    few(
        [
            (CYTOLOGY, 0, (40, 40)),
            (STRONG, 3, (36, 44)),
            (PRESETS["paper"], 5, (46, 40)),
            ({"rotation_degrees": 180, "rot90": True}, 0, (33, 33)),
            ({"rotation_degrees": 30, "crop_area": 0.3, "aspect": 0.3}, 0, (25, 60)),
        ],
        1,
    ),
)
@pytest.mark.parametrize("fill", few(FILLS, 1))
def test_a_warp_with_rotation_is_near_that_of_the_cpu(choice, margin, shape, fill):
    found = differences({**choice, "fill": fill}, cells(4, *shape), margin)
    assert found.mean() < 1
    assert np.quantile(found, 0.999) < 5
    assert found.max() < 8


@pytest.mark.parametrize("fill", few(FILLS, 1))
@pytest.mark.parametrize(
    ("choice", "margin", "shape"),
    [
        (STRAIGHT, 2, (17, 23)),
        ({"rot90": True, "flip": True, "translate": 1.0, "scale": 0.9, "aspect": 3.0}, 0, (15, 15)),
    ],
)
def test_a_warp_without_rotation_is_that_of_the_cpu(fill, choice, margin, shape):
    noise = np.random.default_rng(0).integers(0, 256, (6, *shape, 3), np.uint8)
    assert differences({**choice, "fill": fill}, noise, margin).max() < 0.02


@pytest.mark.slow
@settings(max_examples=tries(20), deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "rotation_degrees": st.floats(0, 180),
            "scale": st.floats(0, 0.9),
            "translate": st.floats(0, 1),
            "crop_area": st.floats(0, 1),
            "aspect": st.floats(0, 3),
            "flip": st.booleans(),
            "fill": st.sampled_from(FILLS),
        }
    ),
    st.integers(20, 28),
    st.integers(20, 28),
    st.integers(0, 3),
    st.integers(0, 99),
)
def test_any_warp_is_near_that_of_the_cpu(choice, height, width, margin, seed):
    found = differences(choice, cells(2, height, width), margin, seed)
    assert found.mean() < 1.5
    assert found.max() < 12


@pytest.mark.parametrize("fill", few(FILLS, 1))
def test_the_farthest_settings_are_right(fill):
    found = differences({**EXTREME, "fill": fill}, cells(3, 20, 20))
    assert found.mean() < 1.5
    assert found.max() < 12


@pytest.mark.slow
@pytest.mark.parametrize("choice", [CYTOLOGY, PRESETS["paper"], STRONG])
def test_real_cells_differ_by_fractions_of_a_grey_level(shared, choice):
    paths = sorted(shared.glob("data/sipakmed/*/*/CROPPED/*"))[::200][:8]
    images = [np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path in paths]
    found = differences(choice, np.stack(images))
    assert found.mean() < 0.5
    assert np.quantile(found, 0.999) < 5
    assert found.max() < 8


@settings(max_examples=tries(100))
@given(
    st.floats(0, 180),
    st.floats(0, 0.9),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 3),
    st.integers(0, 99),
)
def test_no_map_samples_beyond_the_reach(rotation, scale, translate, area, aspect, seed):
    choice = AugmentSettings(
        rotation_degrees=rotation,
        scale=scale,
        translate=translate,
        crop_area=area,
        aspect=aspect,
    )
    height, width = 30, 50
    maps = np.asarray(geometry.random_affine(jax.random.key(seed), 16, height, width, choice))
    turned = np.abs(maps[:, 1, 0]) > np.abs(maps[:, 0, 0])
    maps = np.where(turned[:, None, None], maps[:, ::-1], maps)
    half = np.array([height - 1, width - 1]) / 2
    farthest = np.abs(maps[:, 0, :2]) @ half + np.abs(maps[:, 0, 2])
    assert farthest.max() <= reach(choice, height, width) * (1 + 1e-5) + 1e-4


def test_stain_and_blur_are_those_of_the_cpu():
    images = np.random.default_rng(3).random((4, 9, 13, 3), np.float32)
    key, strong = jax.random.key(5), AugmentSettings(stain_jitter=0.3, hue=0.2, contrast=0.3)
    matrix, offset = jax.jit(colour.random_stain, static_argnums=(1, 2))(key, 4, strong)
    planes = jnp.asarray(images).transpose(0, 3, 1, 2)
    stained = jax.jit(planar.stain)(planes, matrix, offset).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(stained, colour.stain(images, matrix, offset), atol=1e-5)
    # At 2.5 the kernel is wider than the image is high.
    for greatest in (0.2, 2.5):
        blurred = jax.jit(separable.random_blur, static_argnums=2)(key, planes, greatest)
        expected = jax.jit(colour.random_blur, static_argnums=2)(key, images, greatest)
        np.testing.assert_allclose(blurred.transpose(0, 2, 3, 1), expected, atol=1e-5)


def is_program(parameter):
    return hasattr(parameter, "eqns") or hasattr(parameter, "jaxpr")


def primitives(jaxpr):
    """All equations, inner ones too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_program):
            if is_program(inner):
                yield from primitives(getattr(inner, "jaxpr", inner))


def gathers(choice, platform, shape=(3, 14, 14, 3), margin=0):
    """The shapes of what gathers take at a time."""
    with target.tracing_for(platform):
        traced = jax.make_jaxpr(make_augment(choice, margin), static_argnums=3)(
            jax.random.key(0), jnp.zeros(shape, jnp.uint8), jnp.zeros(shape[0], int), 2
        )
    return [
        equation.params["slice_sizes"]
        for equation in primitives(traced.jaxpr)
        if equation.primitive.name == "gather"
    ]


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_no_pixel_is_gathered(platform):
    for fill in FILLS:
        for choice in (*PRESETS.values(), STRONG, EXTREME, STRAIGHT, {"flip": True}):
            assert gathers({**choice, "fill": fill}, platform) == []
    assert gathers(STRONG, platform, (3, 16, 20, 3), margin=2) == []
    # Mixing takes the partner's whole image and target, for each image once.
    assert set(gathers(EVERYTHING, platform)) == {(1, 14, 14, 3), (1, 2)}
    assert gathers(CYTOLOGY, "cpu")  # the test sees what it looks for


def test_the_form_of_the_cpu_is_its_parts_in_turn():
    choice = AugmentSettings(**{**PRESETS["cytology"], "cutout": 0.0})
    images, key = cells(3, 16, 16), jax.random.key(2)

    @jax.jit
    def in_turn(key, images):
        symmetry, affine, dyes, focus, _, _ = jax.random.split(key, 6)
        pixels = unit_range(geometry.random_dihedral(symmetry, images))
        maps = geometry.random_affine(affine, 3, 16, 16, choice)
        pixels = geometry.warp(pixels, maps, choice.fill)
        pixels = colour.stain(pixels, *colour.random_stain(dyes, 3, choice))
        return jnp.clip(colour.random_blur(focus, pixels, choice.blur_sigma), 0, 1)

    with target.tracing_for("cpu"):
        found, _ = make_augment({"preset": "cytology"})(key, images, np.zeros(3, np.int32), 2)
    np.testing.assert_array_equal(found, in_turn(key, images))


@pytest.mark.slow
def test_an_example_depends_on_its_place_not_on_the_batch_size():
    images, labels, key = cells(6, 24, 24), np.zeros(6, np.int32), jax.random.key(4)
    run = make_augment({"preset": "cytology"})
    with target.tracing_for("tpu"):
        whole, _ = run(key, images, labels, 2)
        half, _ = run(key, images[:3], labels[:3], 2)
    np.testing.assert_allclose(whole[:3], half, atol=2e-3)


def test_images_that_are_not_square_cannot_be_turned():
    images, labels = np.zeros((2, 8, 9, 3), np.uint8), np.zeros(2, np.int32)
    for platform in target.PLATFORMS:
        with target.tracing_for(platform), pytest.raises(InputError, match=r"rot90.*8 x 9"):
            make_augment({"rot90": True, "scale": 0.1})(jax.random.key(0), images, labels, 2)
