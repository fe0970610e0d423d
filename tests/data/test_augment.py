import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from selection import tries

from cervix_jax import target
from cervix_jax.data.augment import PRESETS, AugmentSettings, make_augment, parse_settings
from cervix_jax.data.augment.settings import FILLS
from cervix_jax.data.settings import settings_of
from cervix_jax.errors import InputError

# Every part that treats each example alone, at once.
ALONE = {**PRESETS["cytology"], "crop_area": 0.6, "grey": 0.2, "cutout": 0.3}
EVERYTHING = {**ALONE, "mixup_alpha": 0.4, "cutmix_alpha": 1.0}


def batch_of(batch=8, side=16):
    rng = np.random.default_rng(11)
    images = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    return images, rng.integers(0, 5, batch).astype(np.int32)


def augment(choice, seed=0, batch=8, side=16):
    images, labels = batch_of(batch, side)
    return make_augment(choice)(jax.random.key(seed), images, labels, 5)


def test_nothing_on_only_scales_exactly():
    images, labels = batch_of()
    for choice in ({}, {"preset": "none"}, {"flip": False, "crop_area": 1.0, "mixup_alpha": 0}):
        pixels, targets = augment(choice)
        np.testing.assert_array_equal(pixels, images.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(targets, np.eye(5, dtype=np.float32)[labels])


def test_flips_and_quarter_turns_only_permute_pixels():
    images, _ = batch_of()
    pixels, _ = augment({"flip": True, "rot90": True})
    for image, result in zip(images, np.asarray(pixels), strict=True):
        before, after = ((a.reshape(-1, 3)) for a in (image / np.float32(255), result))
        np.testing.assert_array_equal(before[np.lexsort(before.T)], after[np.lexsort(after.T)])
    assert not np.array_equal(pixels, images / np.float32(255))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_keep_the_contract(name):
    pixels, targets = augment({"preset": name})
    assert pixels.shape == (8, 16, 16, 3)
    assert pixels.dtype == targets.dtype == jnp.float32
    assert targets.shape == (8, 5)
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 1
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)


@pytest.mark.slow
def test_the_key_decides():
    first, again, other = (augment(EVERYTHING, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert float(jnp.abs(first[0] - other[0]).max()) > 0.1


def test_equal_images_of_a_batch_are_augmented_differently():
    image = batch_of(1)[0]
    pixels, _ = make_augment(ALONE)(
        jax.random.key(0), np.tile(image, (8, 1, 1, 1)), np.zeros(8, np.int32), 2
    )
    distances = np.abs(np.asarray(pixels)[:, None] - np.asarray(pixels)[None]).max(axis=(2, 3, 4))
    assert (distances[~np.eye(8, dtype=bool)] > 0.05).all()


@pytest.mark.slow
def test_an_example_depends_on_its_place_not_on_the_batch_size():
    images, labels = batch_of()
    key, run = jax.random.key(4), make_augment(ALONE)
    whole, _ = run(key, images, labels, num_classes=5)
    half, _ = run(key, images[:4], labels[:4], num_classes=5)
    np.testing.assert_allclose(whole[:4], half, atol=1e-5)


SHARDED = """
import json, sys
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from cervix_jax.data.augment import make_augment

images = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)
labels = np.arange(16, dtype=np.int32) % 5
run, key = make_augment(json.loads(sys.argv[1])), jax.random.key(3)
alone = run(key, images, labels, 5)
mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
spread = NamedSharding(mesh, PartitionSpec("data"))
shared = run(key, jax.device_put(images, spread), jax.device_put(labels, spread), 5)
print(json.dumps({
    "devices": len(shared[0].sharding.device_set),
    "pixels": float(np.abs(np.asarray(alone[0]) - np.asarray(shared[0])).max()),
    "targets": float(np.abs(np.asarray(alone[1]) - np.asarray(shared[1])).max()),
}))
"""


@pytest.mark.slow
def test_eight_devices_give_the_same_batch():
    environment = dict(
        os.environ, XLA_FLAGS="--xla_force_host_platform_device_count=8", JAX_PLATFORMS="cpu"
    )
    done = subprocess.run(
        [sys.executable, "-c", SHARDED, json.dumps(EVERYTHING)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["devices"] == 8
    assert result["pixels"] < 1e-5
    assert result["targets"] < 1e-6


def test_switching_one_part_on_leaves_the_others_draws():
    plain, _ = augment({"rotation_degrees": 30})
    covered, _ = augment({"rotation_degrees": 30, "cutout": 0.2})
    same = np.isclose(plain, covered, atol=1e-6).mean()
    assert 0.9 < same < 1


def test_real_cells_keep_their_look(shared):
    """A smear is bright with dark nuclei: no black corners, and no large shift in mean colour."""
    paths = sorted(shared.glob("data/sipakmed/*/*/CROPPED/*.jpg"))[:8]
    images = np.stack(
        [np.asarray(Image.open(path).convert("RGB").resize((64, 64))) for path in paths]
    )
    pixels, _ = make_augment({"preset": "cytology"})(
        jax.random.key(0), images, np.zeros(len(images), np.int32), 5
    )
    before, after = images / 255, np.asarray(pixels)
    assert np.abs(before.mean(axis=(1, 2)) - after.mean(axis=(1, 2))).max() < 0.2
    corners = after[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=-1)
    darkest = before.mean(axis=-1).min(axis=(1, 2))
    assert (corners.min(axis=1) > 0.6 * darkest).all()


RANGES = {
    name: (setting.low, setting.high)
    for name, setting in settings_of(AugmentSettings).items()
    if setting.kind is float
}
NUMBERS = {name: st.floats(*limits) for name, limits in RANGES.items()}
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        **NUMBERS,
        "flip": st.booleans(),
        "rot90": st.booleans(),
        "fill": st.sampled_from(FILLS),
        "preset": st.sampled_from(sorted(PRESETS)),
    },
)


@settings(max_examples=tries(100))
@given(CHOICES)
def test_every_value_in_range_is_taken(choice):
    parsed = parse_settings(choice)
    for name, value in choice.items():
        if name != "preset":
            assert getattr(parsed, name) == value
    defaults = {**AugmentSettings().__dict__, **PRESETS[choice.get("preset", "none")]}
    for name in defaults.keys() - choice.keys():
        assert getattr(parsed, name) == defaults[name]


@settings(max_examples=3)
@given(CHOICES)
@example({"mixup_alpha": 8e-111})
@pytest.mark.slow
def test_any_choice_keeps_the_contract(choice):
    pixels, targets = augment(choice, batch=3, side=10)
    assert pixels.shape == (3, 10, 10, 3)
    assert np.isfinite(pixels).all()
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 1
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", sorted(RANGES))
def test_a_number_out_of_range_is_named_with_its_range(name):
    low, high = RANGES[name]
    for value in (low - 0.01, high + 0.01, float("nan"), float("inf"), "0.1", True, None):
        with pytest.raises(
            InputError, match=rf"augment\.{name}=.*: give a number from {low} to {high}\."
        ) as error:
            make_augment({name: value})
        assert repr(value) in str(error.value)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"rotaton": 5}, r"augment\.rotaton=5 .*did you mean 'rotation_degrees'"),
        ({"flip": 0.5}, r"augment\.flip=0\.5: give True or False"),
        ({"rot90": "yes"}, r"augment\.rot90='yes': give True or False"),
        ({"fill": "grey"}, r"augment\.fill='grey': give one of reflect"),
        ({"preset": "cytologie"}, r"augment\.preset='cytologie' \(did you mean 'cytology'\?\)"),
    ],
)
def test_a_wrong_choice_is_named(choice, message):
    with pytest.raises(InputError, match=message):
        make_augment(choice)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), np.zeros(2, np.int32), "float32"),
        (np.zeros((8, 8, 3), np.uint8), np.zeros(8, np.int32), r"\(8, 8, 3\)"),
        (np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2, np.int32), r"\(2, 8, 8, 1\)"),
        (np.zeros((2, 1, 8, 3), np.uint8), np.zeros(2, np.int32), "2 x 2"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(3, np.int32), r"labels are int32 \(3,\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, np.float32), "labels are float32"),
    ],
)
def test_a_wrong_batch_is_named(images, labels, message):
    with pytest.raises(InputError, match=message):
        make_augment({})(jax.random.key(0), images, labels, 5)


def test_a_margin_is_cut_off_whatever_is_on():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 22, 22, 3), np.uint8))
    labels, key = jnp.zeros(3, int), jax.random.key(0)
    plain, _ = make_augment({}, margin=3)(key, images, labels, 5)
    np.testing.assert_allclose(plain, images[:, 3:-3, 3:-3] / np.float32(255), rtol=1e-6)
    turned, _ = make_augment({"preset": "paper"}, margin=3)(key, images, labels, 5)
    assert turned.shape == (3, 16, 16, 3)
    with pytest.raises(InputError, match="2 x 2 pixels beside a margin of 11"):
        make_augment({}, margin=11)(key, images, labels, 5)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_labels_of_pixels_move_with_the_pixels(platform):
    """A label is where its colour is, after every flip, turn and warp; -1 has no target."""
    rng = np.random.default_rng(3)
    labels = np.kron(rng.integers(-1, 2, (4, 6, 6)), np.ones((1, 8, 8))).astype(np.int8)
    images = np.zeros((4, 48, 48, 3), np.uint8)
    images[..., 0], images[..., 1] = 255 * (labels == 0), 255 * (labels == 1)
    choice = {"flip": True, "rot90": True, "rotation_degrees": 30.0, "scale": 0.2}
    with target.tracing_for(platform):
        pixels, targets = make_augment(choice)(jax.random.key(0), images, labels, 2)
    assert targets.shape == (4, 48, 48, 2)
    assert not np.array_equal(targets[..., 1], labels == 1)
    np.testing.assert_allclose(pixels[..., :2], targets, atol=1e-6)


def test_labels_of_pixels_are_not_mixed():
    images, _ = batch_of()
    labels = np.zeros(images.shape[:3], np.int8)
    for choice in ({"mixup_alpha": 0.4}, {"cutout": 0.3}):
        with pytest.raises(InputError, match="require one label per image"):
            make_augment(choice)(jax.random.key(0), images, labels, 2)
    with pytest.raises(InputError, match="integers"):
        make_augment({})(jax.random.key(0), images, labels[:, :-1], 2)
