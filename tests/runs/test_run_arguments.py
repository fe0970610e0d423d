"""What Python callers may hand over by mistake: one clear line each, or the obviously right."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from cervix_jax import load_run
from cervix_jax.errors import InputError

ONE = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)


@pytest.fixture(scope="module")
def run(trained):
    return load_run(trained[0])


@pytest.mark.parametrize("method", ["predict", "logits", "features", "preprocess"])
@pytest.mark.parametrize(
    ("images", "says"),
    [
        (ONE, "is one image; give a list"),
        ([ONE / 255.0], "image 0 is float64"),
        ([ONE.astype(int)], "image 0 is int64"),
        ([ONE, ONE[..., 0]], r"image 1 is uint8 \[24, 30\]"),
        (ONE[..., 0], r"images=uint8 \[24, 30\]"),
        (np.uint8(3), "images is a uint8"),
        ([np.dstack([ONE, ONE[..., :1]])], r"image 0 is uint8 \[24, 30, 4\]"),
        (np.zeros((2, 3, 32, 32), np.uint8), "channels last"),
        ([np.zeros((0, 5, 3), np.uint8)], r"image 0 is uint8 \[0, 5, 3\]"),
        ([Image.fromarray(ONE)], r"Pillow image; give np.asarray"),
        ([Image.fromarray(ONE[..., 0].astype(np.uint16))], "8 bits by its own range first"),
        (Image.fromarray(ONE), "images is a Image"),
        ("a.png", "is a path.*predict_images takes files"),
        (["a.png"], "image 0 is a str"),
        ([ONE.tolist()], "image 0 is a list"),
        ({"a": ONE}, "images is a dict"),
        (None, "images is a NoneType"),
        (5, "images is a int"),
    ],
)
def test_images_of_another_kind(run, method, images, says):
    with pytest.raises(InputError, match=says):
        getattr(run, method)(images)


@pytest.mark.parametrize("method", ["predict", "logits", "features"])
@pytest.mark.parametrize("size", [0, -1, 2.5, 2.0, "8", None, True, np.nan])
def test_batch_sizes(run, method, size):
    with pytest.raises(InputError, match=r"batch_size=.*whole number of at least 1"):
        getattr(run, method)([ONE], batch_size=size)


@pytest.mark.parametrize("place", [0, 9])
def test_the_number_of_an_image_counts_from_the_first_batch(run, place):
    images = [ONE] * 10
    images[place] = ONE[..., 0]
    with pytest.raises(InputError, match=f"image {place} is"):
        run.predict(images, batch_size=4)


def test_images_of_every_right_kind_are_alike(run):
    expected = run.predict([ONE, ONE])
    for images in (
        np.stack([ONE, ONE]), (ONE, ONE), iter([ONE, ONE]), (each for each in (ONE, ONE)),
        [ONE[:, ::-1][:, ::-1]] * 2,
    ):  # fmt: skip
        np.testing.assert_array_equal(run.predict(images), expected)
    np.testing.assert_array_equal(run.predict([ONE, ONE], batch_size=np.int64(64)), expected)
    for nothing in ([], (), iter([]), np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0)):
        assert run.predict(nothing).shape == (0, len(run.class_names))
        assert run.features(nothing, names="logits")["logits"].shape == (0, len(run.class_names))


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (None, "step=None: give best, latest or the number"),
        (1.0, "step=1.0"),
        (-1, "step=-1"),
        (True, "step=True"),
        ("", "step=''"),
        ("LATEST", "did you mean 'latest'"),
        ("best ", "did you mean 'best'"),
        ([1], r"step=\[1\]"),
        (10**6, r"has no checkpoint 1000000; give best, latest or one of \["),
    ],
)
def test_steps(trained, step, says):
    with pytest.raises(InputError, match=says):
        load_run(trained[0], step)


def test_a_step_as_numpy_or_a_flag_gives_it(trained, run):
    steps: list[Any] = [run.step, np.int64(run.step), str(run.step)]
    for step in steps:
        assert load_run(trained[0], step).step == run.step


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("", "folder='': give the folder"),
        (" ", "give the folder that training wrote to"),
        (None, "folder=None"),
        (3, "folder=3"),
        ("{run}/checkpoints", "is inside a run; give its folder, .*, and the checkpoint as step"),
        ("{run}/checkpoints/9", "is inside a run"),
        ("{run}/config.json", "is a file; give the folder"),
        ("~no_such_user/run", "there is no such user"),
        ("{run}/nothing", "not found, so .* is not the folder of a run"),
        ("a\0b", "is not a valid Unicode path"),
    ],
)
def test_folders(trained, folder, says):
    given: Any = folder.format(run=trained[0]) if isinstance(folder, str) else folder
    with pytest.raises(InputError, match=says):
        load_run(given)


def test_a_home_folder(trained, monkeypatch):
    monkeypatch.setenv("HOME", str(trained[0].parent))
    assert load_run(f"~/{trained[0].name}").workdir == trained[0]
