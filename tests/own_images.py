"""A folder of images that a run was trained on, to be changed and opened again."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from cervix_jax.config.base import base_config
from cervix_jax.data.experiment import open_data
from cervix_jax.data.identity import DataIdentity
from cervix_jax.runs import own_data

NUMBER = 12  # images of a class, three of a patient


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def draw_class(folder: Path, first: int, count: int = NUMBER) -> None:
    for number in range(count):
        draw(folder / f"p{first // 100}{number // 3}" / f"{number:02d}.png", first + number)


class Trained:
    """A folder of images as it was, the identity of a run on them, and a way to open it again."""

    def __init__(self, root: Path, pattern: str = "parent"):
        self.root, self.cells = root, root / "cells"
        draw_class(self.cells / "HSIL", 100)
        draw_class(self.cells / "LSIL", 200)
        draw_class(self.cells / "NILM", 300)
        config = base_config("image_folder/default")
        config.data.manual_dir, config.data.data_dir = str(self.cells), str(root / "prepared")
        config.data.settings.group_pattern = pattern or None
        config.image_size, config.split.folds = 32, 3
        self.config = config
        self.then = open_data(config, progress=False)
        self.identity = DataIdentity.of(self.then, config)
        self.pixels = self.then.pipeline.images(np.arange(len(self.then.dataset)))
        self.first = self.then.dataset.decoded_source[0]["image"]

    def copy(self, root: Path) -> "Trained":
        """A copy, to be changed."""
        copy = Trained.__new__(Trained)
        shutil.copytree(self.root, root)
        vars(copy).update(vars(self), root=root, cells=root / "cells")
        copy.config = self.config.copy_and_resolve_references()
        copy.config.data.manual_dir = str(copy.cells)
        copy.config.data.data_dir = str(root / "prepared")
        copy.identity = dataclasses.replace(
            self.identity, manual_dir=str(copy.cells), data_dir=str(root / "prepared")
        )
        return copy

    def open(self, *, cells="cells", recorded=None, identity=True, **options):
        """The run's data from the folder as it is now, prepared anew."""
        shutil.rmtree(self.root / "prepared", ignore_errors=True)
        own_data.say_once.cache_clear()
        return own_data.open_own_data(
            self.config,
            self.identity if identity else None,
            recorded or self.then.describe(),
            name="runs/cells",
            manual_dir=str(self.root / cells),
            **options,
        )

    def assert_same(self, data):
        """The same images in the same order with the same labels and division."""
        dataset, then = data.dataset, self.then.dataset
        assert dataset.digests == self.identity.digests
        assert dataset.filenames == then.filenames
        assert dataset.class_names == then.class_names
        np.testing.assert_array_equal(dataset.labels, then.labels)
        np.testing.assert_array_equal(data.splits, self.then.splits)
        assert dataset.fingerprints().digests == dataset.digests
        np.testing.assert_array_equal(data.pipeline.images(np.arange(len(dataset))), self.pixels)
        np.testing.assert_array_equal(dataset.decoded_source[0]["image"], self.first)
