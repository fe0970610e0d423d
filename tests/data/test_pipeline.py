import io
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cervix_jax.data.pipeline import Pipeline, steps_per_epoch
from cervix_jax.errors import InputError

COUNT, SIZE = 23, 16


def encode(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def dataset():
    """Image i is filled with the value i, so that a batch tells which examples it holds."""
    files = [encode(np.full((20, 24, 3), index, np.uint8)) for index in range(COUNT)]
    return SimpleNamespace(
        labels=np.arange(COUNT) % 5,
        pixel_labels="",
        filenames=[f"{index}.png" for index in range(COUNT)],
        source=[{"image": file} for file in files],
    )


def pipeline(dataset, placement="auto"):
    return Pipeline(dataset, image_size=SIZE, placement=placement, progress=False)


def held(batch) -> list[int]:
    return np.asarray(batch["image"])[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("placement", ["auto", "device", "host"])
def test_epochs_are_different_permutations_without_repeats(dataset, placement):
    train = np.arange(3, COUNT)
    batches = pipeline(dataset, placement).train_batches(train, 4, seed=1)
    epochs = [[i for batch in islice(batches, 5) for i in held(batch)] for _ in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 20
        assert set(epoch) <= set(train.tolist())
    assert epochs[0] != epochs[1] != epochs[2]


def test_both_placements_give_the_same_batches(dataset):
    train = np.arange(2, COUNT)
    streams = [
        pipeline(dataset, placement).train_batches(train, 4, seed=7)
        for placement in ("device", "host")
    ]
    for left, right in islice(zip(*streams, strict=False), 12):
        np.testing.assert_array_equal(left["image"], right["image"])
        np.testing.assert_array_equal(left["label"], right["label"])
        np.testing.assert_array_equal(np.asarray(left["label"]), np.array(held(left)) % 5)


@pytest.mark.parametrize("placement", ["device", "host"])
def test_starting_late_continues_the_same_stream(dataset, placement):
    train = np.arange(COUNT)
    whole = pipeline(dataset, placement).train_batches(train, 4, seed=7)
    late = pipeline(dataset, placement).train_batches(train, 4, seed=7, start=8)
    for expected, found in islice(zip(islice(whole, 8, None), late, strict=False), 6):
        np.testing.assert_array_equal(expected["image"], found["image"])


def test_seed_changes_the_order(dataset):
    one, other = (
        held(next(pipeline(dataset).train_batches(np.arange(COUNT), 8, seed=seed)))
        for seed in (0, 1)
    )
    assert one != other


@pytest.mark.parametrize("placement", ["device", "host"])
@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_evaluation_visits_every_example_once_in_order(dataset, placement, count):
    indices = np.arange(5, 5 + count)
    batches = list(pipeline(dataset, placement).eval_batches(indices, 4))
    assert all(batch["image"].shape == (4, SIZE, SIZE, 3) for batch in batches)
    seen = [i for b in batches for i, m in zip(held(b), np.asarray(b["mask"]), strict=True) if m]
    assert seen == indices.tolist()


def test_too_few_examples_and_unknown_placement_are_bad_input(dataset):
    with pytest.raises(InputError, match="batch_size=8 is larger than the training split of 7"):
        steps_per_epoch(7, 8)
    with pytest.raises(InputError, match=r"data\.placement='disk'"):
        pipeline(dataset, "disk")


@pytest.mark.parametrize("placement", ["device", "host"])
def test_only_training_images_have_the_margin(placement):
    noise = np.random.default_rng(0)
    files = [encode(noise.integers(0, 256, (20, 31, 3), np.uint8)) for _ in range(6)]
    wide = SimpleNamespace(
        labels=np.zeros(6, int),
        pixel_labels="",
        filenames=[f"{index}.png" for index in range(6)],
        source=[{"image": file} for file in files],
    )
    options = {"image_size": SIZE, "placement": placement, "progress": False}
    plain = Pipeline(wide, resize="crop", **options)
    margin = Pipeline(wide, resize="crop", margin=3, **options)
    order = np.arange(6)
    batches = [next(each.train_batches(order, 6, seed=1))["image"] for each in (plain, margin)]
    assert batches[1].shape == (6, SIZE + 6, SIZE + 6, 3)
    np.testing.assert_array_equal(batches[0], batches[1][:, 3:-3, 3:-3])
    for each in (plain, margin):
        np.testing.assert_array_equal(
            next(each.eval_batches(order, 6))["image"], plain.images(order)
        )
        np.testing.assert_array_equal(each.images([2]), plain.images(order)[2:3])
    stretched = Pipeline(wide, margin=3, **options)
    assert next(stretched.train_batches(order, 6, seed=1))["image"].shape == (6, SIZE, SIZE, 3)
