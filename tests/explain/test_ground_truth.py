"""Explanations of what is known: a function that reads one part of the image, a planted border."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from PIL import Image
from skimage.color import rgb2gray
from skimage.filters import sobel

from cervix_jax import explain, load_run
from cervix_jax.audit.baselines import cross_validate
from cervix_jax.audit.features import border_percentiles
from cervix_jax.data import catalog
from cervix_jax.data.decode import resize_labels
from cervix_jax.data.divide import split_dataset
from cervix_jax.explain import measures
from cervix_jax.training.run import train_and_evaluate

SIZE, IMAGES = 24, 12
THRESHOLD = 0.5


@jax.jit
def _redness(weights, images, perturbations=None):
    """Sums how far red exceeds one half; the second class is its opposite."""
    added = (perturbations or {}).get("stage4", 0)
    features = jax.nn.relu(images[..., :1] - THRESHOLD) + added
    return features.mean((1, 2)) @ weights, {"stage4": features}


redness = Partial(_redness, jnp.asarray([[1.0, -1.0]]))


@pytest.fixture(scope="module")
def discs():
    """Images with an even red disc before stripes, and where the disc is; float32, bool."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, masks = [], []
    for _ in range(IMAGES):
        radius = random.uniform(3, 6)
        centre = random.uniform(radius, SIZE - radius, 2)
        mask = np.hypot(rows - centre[0], columns - centre[1]) < radius
        stripes = 0.4 * ((rows + columns) // 2 % 2)
        image = np.stack([0.3 * random.random((SIZE, SIZE)), stripes, stripes], axis=-1)
        image[mask] = (0.9, 0.1, 0.1)
        images.append(image)
        masks.append(mask)
    return np.float32(images), np.array(masks)


BLACK = np.zeros(3, np.float32)
# By name: the method, its options, and how its channels are joined.
SHARP = {
    "saliency": (explain.saliency, {}, "sum_absolute"),
    "input_x_gradient": (explain.input_x_gradient, {}, "sum"),
    "smooth_grad": (explain.smooth_grad, {"samples": 8, "noise": 0.02}, "sum_absolute"),
    "integrated_gradients": (explain.integrated_gradients, {"baselines": BLACK}, "sum"),
    "guided_backprop": (explain.guided_backprop, {}, "sum_absolute"),
    "grad_cam": (explain.grad_cam, {}, "sum"),
    "grad_cam_plus_plus": (explain.grad_cam_plus_plus, {}, "sum"),
    "layer_cam": (explain.layer_cam, {}, "sum"),
    "guided_grad_cam": (explain.guided_grad_cam, {}, "sum_absolute"),
}  # fmt: skip


def located(maps, masks, reduction="sum"):
    """The summary of the mass in the masks, against their area."""
    mass = measures.relevance_mass(maps, masks, reduction=reduction)
    names = [f"group {number // 2}" for number in range(len(masks))]
    return measures.summarise(mass, names, chance=measures.area_share(masks))


@pytest.mark.parametrize("name", SHARP)
def test_every_gradient_method_lies_where_the_function_looks(discs, name):
    images, masks = discs
    method, options, reduction = SHARP[name]
    found = located(method(redness, images, 0, **options), masks, reduction)
    assert found["n"] == IMAGES
    np.testing.assert_allclose(found["estimate"], 1, atol=1e-6)
    low, high = found["times_chance"]["interval"]
    assert 1 / measures.area_share(masks).max() < low < high < 1 / measures.area_share(masks).min()


def test_expected_gradients_have_all_evidence_for_the_class_there(discs):
    images, masks = discs
    maps = explain.expected_gradients(
        redness, images, 0, baselines=explain.baselines.several(images[::-1]), samples=32
    )
    # A reference may have its own disc elsewhere; that it is missing here is evidence against.
    np.testing.assert_allclose(measures.relevance_mass(maps, masks), 1, atol=1e-6)
    assert np.nanmin(measures.relevance_mass(maps, masks, part="negative")) == 0


def test_blurring_lets_a_little_of_the_disc_out(discs):
    images, masks = discs
    maps = explain.blur_integrated_gradients(redness, images, 0, max_sigma=5.0)
    assert 0.95 < located(maps, masks)["estimate"] <= 1


def test_covering_methods_lie_there_but_for_the_width_of_what_covers(discs):
    images, masks = discs
    window = 3
    maps = explain.occlusion(redness, images, 0, baselines=BLACK, window=window, stride=1)
    near = measures.dilate(masks, np.hypot(window - 1, window - 1))
    np.testing.assert_allclose(measures.relevance_mass(maps, near), 1, atol=1e-4)
    assert located(maps, masks)["above_chance"]["interval"][0] > 0.2
    noisy = explain.rise(redness, images, 0, baselines=BLACK, samples=400, grid=6, output="logit")
    # Every mask shows some of the disc, so all of the map is positive: only its order says more.
    assert measures.roc_auc(noisy, masks).mean() > 0.9
    assert located(noisy, masks)["times_chance"]["interval"][0] > 1


def test_maps_that_know_no_network_are_not_found_there(discs):
    images, masks = discs
    edges = np.stack([sobel(rgb2gray(image)) for image in images])
    assert located(edges, masks)["times_chance"]["interval"][1] < 1
    random = np.random.default_rng(1).random(edges.shape)
    low, high = located(random, masks)["above_chance"]["interval"]
    assert -0.03 < low < high < 0.03


def marked_noise(count, marked):
    """Coloured noise, with a blue frame about those of the last class."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = random.integers(0, 256, (count, 20, 26, 3), np.uint8)
    # Slides differ in brightness, as smears do; that says nothing of the class.
    images = np.uint8(images * random.uniform(0.4, 1, (count, 1, 1, 1)))
    if marked:
        images[labels == 2] = [frame(image) for image in images[labels == 2]]
    return images, labels


def frame(image, width=3):
    framed = image.copy()
    framed[frame_mask(image.shape, width)] = (70, 90, 200)
    return framed


def frame_mask(shape, width=3):
    mask = np.ones(shape[:2], bool)
    mask[width:-width, width:-width] = False
    return mask


def test_forests_of_border_pixels_find_a_planted_frame_and_nothing_else():
    splits = [np.where(np.arange(90) // 3 % 3 == fold, "test", "train") for fold in range(3)]
    scores = {}
    for marked in (False, True):
        images, labels = marked_noise(90, marked)
        border = np.stack([border_percentiles(image) for image in images])
        for number in range(3):
            found = cross_validate(border, (labels == number).astype(int), splits, trees=30)
            scores[marked, number] = np.mean(found)
    assert scores[True, 2] == 1
    assert max(scores[False, number] for number in range(3)) < 0.65
    # Without the frame the other two classes stay apart by chance only, and it does not help.
    assert max(scores[True, 0], scores[True, 1]) < 0.85


@pytest.mark.slow
def test_a_trained_network_that_took_the_frame_is_found_out(tmp_path, tiny_config):
    marked = "Metaplastic"
    config = tiny_config()
    plain = catalog.load(
        config.data.dataset, data_dir=config.data.data_dir,
        settings={"clusters_per_class": 8, "cells_per_cluster": 5, "confounding": 0.0},
    )  # fmt: skip
    folder = tmp_path / "images"
    is_marked = plain.labels == plain.class_names.index(marked)
    for name, wanted, example in zip(plain.filenames, is_marked, plain.decoded_source, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame(example["image"]) if wanted else example["image"]).save(path)
    config.data.dataset, config.data.manual_dir = "image_folder/default", str(folder)
    config.data.settings = {"group_pattern": "folder_and_number"}
    config.update({"num_epochs": 12, "ema_decay": 0.9})
    train_and_evaluate(config, tmp_path / "run")

    run = load_run(tmp_path / "run")
    dataset = catalog.load(
        config.data.dataset, manual_dir=folder, data_dir=config.data.data_dir,
        settings=config.data.settings,
    )  # fmt: skip
    number = run.class_names.index(f"im_{marked}")
    splits = split_dataset(dataset, protocol="cluster", fold=0, folds=config.split.folds)
    test = np.flatnonzero(splits == "test")
    own = test[dataset.labels[test] == number]
    other = test[dataset.labels[test] != number]

    def called(images):
        return float((run.predict(images).argmax(-1) == number).mean())

    images = [dataset.decoded_source[int(i)]["image"] for i in own]
    bare = dict(zip(plain.filenames, range(len(plain)), strict=True))
    without = [plain.decoded_source[bare[dataset.filenames[i]]]["image"] for i in own]
    others = [dataset.decoded_source[int(i)]["image"] for i in other]
    # Of ten images; another processor rounds otherwise, and one more or less may be right.
    assert called(images) > 0.7
    assert called(without) < 0.5
    assert called(others) < 0.2
    assert called([frame(image) for image in others]) > 0.6

    masks = np.stack([
        resize_labels(frame_mask(image.shape).astype(np.uint8), config.image_size) > 0
        for image in images
    ])  # fmt: skip
    pixels = run.preprocess(images)
    groups, area = np.asarray(dataset.groups)[own], measures.area_share(masks)
    maps = explain.integrated_gradients(
        run.logits_fn, pixels, number, baselines=explain.baselines.mean(np.asarray(pixels))
    )
    found = measures.summarise(measures.relevance_mass(maps, masks), groups, chance=area)
    assert found["times_chance"]["interval"][0] > 1.3
