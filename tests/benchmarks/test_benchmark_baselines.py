"""The baseline table: a probe as scikit-learn's, stain at a reference, folds put together."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cervix_jax.audit.baselines import predict


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def drawn(n=300, width=12, classes=3):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, n)
    return random.normal(size=(n, width)) + 2 * np.eye(classes, width)[labels], labels


def test_the_probe_is_a_logistic_regression():
    from frozen_probe import fit_probe
    from frozen_probe import predict as probe

    values, labels = drawn()
    found = fit_probe(values, labels, 3, penalty=0.01)
    theirs = LogisticRegression(C=1 / (0.01 * len(labels)), max_iter=500).fit(values, labels)
    mine, wanted = values @ found[:-1] + found[-1], theirs.decision_function(values)
    centred = [logits - logits.mean(1, keepdims=True) for logits in (mine, wanted)]
    np.testing.assert_allclose(*centred, atol=0.02)
    test = np.arange(len(labels)) % 3 == 0
    assert (probe(values, labels, test, 3) == labels[test]).mean() > 0.6


def test_folds_are_put_together():
    from baselines import judge

    values, labels = drawn()
    fold = np.arange(len(labels)) % 3
    columns = np.stack([np.where(fold == k, "test", "train") for k in range(3)], axis=1)
    found = judge(labels, columns, lambda test: predict(values, labels, test, trees=20, jobs=1))
    assert found["n"] == len(labels)
    assert found["accuracy"] == pytest.approx(np.mean([f["accuracy"] for f in found["folds"]]))
    low, high = found["accuracy_interval"]
    assert 0.5 < low < found["accuracy"] < high < 1
    alone = judge(labels, columns[:, :1], lambda test: labels[test])
    assert (alone["n"], alone["accuracy"], len(alone["folds"])) == (100, 1, 1)


def test_the_table_of_the_docs_is_that_of_the_results():
    from baselines import RESULTS, markdown

    table = markdown(json.loads(RESULTS.read_text()))
    page = (RESULTS.parents[2] / "docs/benchmark.md").read_text(encoding="utf-8")
    assert len(table.splitlines()) == 9
    assert table in page


def test_stain_is_brought_to_the_reference():
    from frozen_probe import _moments, _normaliser, _stains

    random = np.random.default_rng(1)
    # Amounts of two stains, and their directions; every image has gains of its own.
    directions = np.array([[0.65, 0.70, 0.29], [0.1, 0.95, 0.3]]).T
    squares = []
    for _ in range(6):
        amounts = random.gamma(2, 0.4, size=(2, 900)) * random.uniform(0.6, 1.4, (2, 1))
        density = (directions @ amounts).T
        pixels = np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255)
        squares.append(pixels.astype(np.uint8).reshape(30, 30, 3))
    density = lambda image: -np.log((image.reshape(-1, 3) + 1.0) / 256)  # noqa: E731
    for name, measure, part in (("reinhard", _moments, 0), ("macenko", _stains, 1)):
        normalise = _normaliser(squares.__getitem__, len(squares), name)
        before = np.stack([measure(density(image))[part] for image in squares])
        after = np.stack([measure(density(normalise(image)))[part] for image in squares])
        assert after.std(0).max() < 0.35 * before.std(0).max()


def test_an_image_is_reflected_until_it_fills_the_square():
    from frozen_probe import _reflected

    image = np.random.default_rng(0).integers(0, 255, (5, 9, 3)).astype(np.uint8)
    found = _reflected(image, 8)
    assert found.shape == (9, 9, 3)
    np.testing.assert_array_equal(found[2:7], image)
    np.testing.assert_array_equal(found[1], image[1])
    assert _reflected(image, 4).shape == image.shape


def test_splits_are_written_as_split_table_gives_them(prepared):
    import write_splits

    from cervix_jax import data

    settings = {"clusters_per_class": 4, "cells_per_cluster": 2}
    name = "cervix_phantom/single_cell"
    dataset = data.load(name, data_dir=prepared, settings=settings)
    split = write_splits.split_of(dataset, "cluster", ".bmp")
    for fold in range(5):
        rows = data.split_table(name, fold=fold, data_dir=prepared, settings=settings)
        found = {Path(row["filename"]).stem: row["split"] for row in rows}
        assert found == {
            Path(filename).stem: part
            for filename, part in zip(split.filenames, split.splits[:, fold], strict=True)
        }
    rows = write_splits.images_of(dataset, ".bmp")
    assert [row["filename"] for row in rows] == list(split.filenames)
    assert len({row["pixels_sha256"] for row in rows}) == len(rows)


class TwoSizes:
    """A data set of one grey disc in two sizes, each on glass of twice its width."""

    name, microns_per_pixel, digests = "discs", 0.3, ()
    sides = (40, 80)

    def __init__(self):
        self.decoded_source = [{"image": self.disc(side)} for side in self.sides * 4]

    def __len__(self):
        return len(self.decoded_source)

    @staticmethod
    def disc(side):
        y, x = np.mgrid[:side, : 2 * side] + 0.5
        inside = np.hypot(y - side / 2, x - side) < side / 4
        return np.where(inside, 90, 240).astype(np.uint8)[..., None].repeat(3, axis=-1)


def test_the_control_takes_size_away():
    from frozen_probe import _FACTOR, _squares, features

    discs = TwoSizes()

    def radii(view):
        square = _squares(discs, view, 128)
        areas = [(square(index)[..., 0] < 165).sum() for index in range(len(discs))]
        return np.sqrt(np.array(areas) / np.pi).reshape(-1, 2)

    known = radii("scale")
    scale = 0.3 * 128 / 76.8  # pixels of the square per pixel of the image
    np.testing.assert_allclose(known, np.broadcast_to((10 * scale, 20 * scale), (4, 2)), rtol=0.02)
    unknown = radii("scale_random")
    assert (unknown / known > 0.97 / _FACTOR).all()
    assert (unknown / known < 1.03 * _FACTOR).all()
    assert unknown[:, 0].max() > unknown[:, 1].min()  # a small one may look the larger
    np.testing.assert_array_equal(unknown, radii("scale_random"))
    found = features(discs, "size", 128, Path("unused"))
    np.testing.assert_allclose(np.exp(found), [(2 * s, s, 2 * s * s) for s in discs.sides * 4],
                               rtol=1e-5)  # fmt: skip
