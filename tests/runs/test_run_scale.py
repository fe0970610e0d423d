"""A run that brings all images to one resolution: from its training to single images and back."""

import json

import numpy as np
import pytest
from PIL import Image
from small import get_config

from cervix_jax import evaluate_on, load_run
from cervix_jax.config.base import base_config
from cervix_jax.data.decode import resize_labels, resize_square
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import read_table
from cervix_jax.explanations.annotations import read_annotations
from cervix_jax.explanations.selection import select
from cervix_jax.explanations.source import scale_in
from cervix_jax.training.check import check_config
from cervix_jax.training.run import train_and_evaluate


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
    with pytest.raises(InputError, match=r"pixel size of these images is unknown.* give mpp"):
        run.predict([image])
    with pytest.raises(InputError, match=r"micrometres a pixel=0\.001: give"):
        run.predict([image], mpp=0.001)
    assert run.predict([]).shape == (0, 5)


@pytest.mark.parametrize(
    ("dataset", "given", "reason"),
    [
        ("", {"resize": "scale"}, r"data\.resize=scale needs data\.microns_per_pixel"),
        (
            "",
            {"microns_per_pixel": 0.5},
            r"=0\.5 requires data\.resize=scale or stretch\+scale .* is stretch;",
        ),
        (
            "",
            {"resize": "scale", "microns_per_pixel": 0.001},
            r"data\.microns_per_pixel=0\.001: give micrometres a pixel, from 0\.05 to 10",
        ),
        ("", {"resize": "scale", "microns_per_pixel": 11.0}, r"data\.microns_per_pixel=11"),
        (
            "image_folder/default",
            {"resize": "scale", "microns_per_pixel": 0.5},
            r"^image_folder/default: the pixel size .* unknown.*data\.settings\.microns_per_pixel",
        ),
    ],
)
def test_fields_that_do_not_fit_together(dataset, given, reason):
    wrong = base_config(dataset)
    wrong.model.name = "rcan"
    wrong.data.update(given)
    with pytest.raises(InputError, match=reason):
        check_config(wrong)


def test_masks_lie_over_what_the_network_sees(run):
    """Of the phantom: every pixel has the label that its middle has in the stored image."""
    data = run.open_data()
    rows = data.indices("test")[:4]
    selection = select(run, data.dataset, data.pipeline, rows, count=4)
    scale = scale_in(run, data.dataset)
    assert scale == 0.5
    found = read_annotations(selection, resize="scale", scale=scale, nucleus_radius=0.0)
    assert found is not None
    nuclei = found.masks[:, found.names.index("nucleus")]
    for index, pixels, mask in zip(selection.indices, selection.pixels, nuclei, strict=True):
        stored = data.dataset.decoded_source[int(index)]["nucleus_mask"]
        np.testing.assert_array_equal(mask, resize_labels(stored[..., 0], 48, "scale", 0.5))
        assert mask.any()
        assert pixels[mask].mean() < pixels[~mask].mean()  # nuclei are dark


def test_other_images_are_evaluated_at_their_resolution(run, tmp_path):
    random, paths = np.random.default_rng(0), []
    for number in range(4):
        path = tmp_path / "own" / run.class_names[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((70, 60 + number)).save(path)
        paths.append(path)
    paths.sort()
    rows = [f"{path},{path.parent.name}" for path in paths]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    expected = run.predict([np.asarray(Image.open(path)) for path in paths], mpp=0.2)
    for on in (tmp_path / "own", tmp_path / "list.csv"):
        with pytest.raises(InputError, match=r"is unknown.* --setting=microns_per_pixel=0\.25"):
            evaluate_on(run, on, out=tmp_path / "a")
        for absurd in (0.001, 100.0):
            with pytest.raises(InputError, match=r"microns_per_pixel=.*from 0\.05 to 10"):
                evaluate_on(run, on, settings={"microns_per_pixel": absurd}, out=tmp_path / "a")
        out = tmp_path / on.name.replace(".", "_")
        evaluate_on(run, on, settings={"microns_per_pixel": 0.2}, out=out)
        found = read_table(out / "external_predictions.csv")
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    with pytest.raises(InputError, match=r"--setting=group_pattern: the only setting of a list is"):
        evaluate_on(run, tmp_path / "list.csv", settings={"group_pattern": "parent"})


def test_a_run_goes_on(config, folder):
    """Where it was trained, and not with another resolution."""
    train_and_evaluate(config, folder)
    other = config.copy_and_resolve_references()
    other.data.microns_per_pixel = 0.6
    with pytest.raises(InputError, match=r"data\.microns_per_pixel is 0\.7 there and 0\.6 here"):
        train_and_evaluate(other, folder)
