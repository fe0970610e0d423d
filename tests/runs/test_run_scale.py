"""A run that brings all images to one resolution: from its training to single images and back."""

import json

import numpy as np
import pytest
from PIL import Image
from small import get_config

from cervix_jax import load_run
from cervix_jax.config.base import base_config
from cervix_jax.data.decode import resize_square
from cervix_jax.errors import InputError
from cervix_jax.training.run import check_config, train_and_evaluate


@pytest.fixture(scope="module")
def config(prepared):
    config = get_config(str(prepared))
    config.update({"num_epochs": 1, "image_size": 48})
    config.data.update({"resize": "scale", "microns_per_pixel": 0.7})
    config.augment.update({"rotation_degrees": 20.0, "rotate_before_crop": True})
    return config


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("scale") / "run"
    train_and_evaluate(config, path)
    return path


@pytest.fixture
def run(folder):
    return load_run(folder)


def test_it_knows_what_it_sees(run, folder):
    assert run.dataset["microns_per_pixel"] == 0.35
    assert run.microns_per_pixel == pytest.approx(0.7)
    assert run.field_of_view == pytest.approx(48 * 0.7)
    environment = json.loads((folder / "env.json").read_text())
    assert environment["dataset"]["microns_per_pixel"] == 0.35


def test_single_images_go_the_way_of_training(run):
    data = run.open_data()
    indices = data.indices("test")[:3]
    squares = data.pipeline.images(indices)
    images = [np.asarray(data.dataset.decoded_source[int(i)]["image"]) for i in indices]
    np.testing.assert_array_equal(run.squares(images), squares)
    for image, square in zip(images, squares, strict=True):
        np.testing.assert_array_equal(resize_square(image, 48, "scale", 0.5), square)
    np.testing.assert_array_equal(run.logits(images), run.logits(squares))  # as they are
    again = run.logits(list(squares), mpp=run.microns_per_pixel)
    np.testing.assert_array_equal(again, run.logits(squares))
    twice = [
        np.asarray(Image.fromarray(x).resize((2 * x.shape[1], 2 * x.shape[0]))) for x in images
    ]
    finer = run.squares(twice, mpp=0.175)
    assert np.abs(finer.astype(int) - squares).mean() < 3
    assert np.abs(run.squares(twice).astype(int) - squares).mean() > 10
    np.testing.assert_array_equal(run.features(twice, names="logits", mpp=0.175)["logits"],
                                  run.logits(twice, mpp=0.175))  # fmt: skip
    np.testing.assert_array_equal(run.preprocess(twice, mpp=0.175), run.preprocess(finer))


def test_resolution_is_needed_and_must_be_one(run):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    run.dataset = run.dataset | {"microns_per_pixel": None}
    with pytest.raises(InputError, match=r"nobody says how many micrometres .* give mpp"):
        run.predict([image])
    with pytest.raises(InputError, match=r"micrometres a pixel=0\.001: give"):
        run.predict([image], mpp=0.001)
    assert run.predict([]).shape == (0, 5)


@pytest.mark.parametrize(
    ("dataset", "given", "reason"),
    [
        ("", {"resize": "scale"}, r"data\.resize=scale needs data\.microns_per_pixel"),
        ("", {"microns_per_pixel": 0.5}, r"=0\.5 goes with data\.resize=scale, which is stretch"),
        (
            "",
            {"resize": "scale", "microns_per_pixel": 0.001},
            r"data\.microns_per_pixel=0\.001: give micrometres a pixel, from 0\.05 to 10",
        ),
        ("", {"resize": "scale", "microns_per_pixel": 11.0}, r"data\.microns_per_pixel=11"),
        (
            "image_folder/default",
            {"resize": "scale", "microns_per_pixel": 0.5},
            r"^image_folder/default: nobody says .*data\.settings\.microns_per_pixel",
        ),
    ],
)
def test_fields_that_do_not_fit_together(dataset, given, reason):
    wrong = base_config(dataset)
    wrong.model.name = "rcan"
    wrong.data.update(given)
    with pytest.raises(InputError, match=reason):
        check_config(wrong)
