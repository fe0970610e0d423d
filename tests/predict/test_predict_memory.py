"""Memory does not grow with the number of images."""

import os

import numpy as np
import pytest
from PIL import Image
from predicted_rows import read_rows

from cervix_jax.predict.output import Output

IMAGES = 3000
# All images decoded are 590 MB, and one in ten of them is more than this.
ALLOWED = 32e6


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_memory_stays_bounded(predict, workdir, tmp_path, monkeypatch):
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 4, (256, 256, 3), np.uint8) * 60
    Image.fromarray(pixels).save(folder / "0000.png", compress_level=1)
    for number in range(1, IMAGES):
        os.link(folder / "0000.png", folder / f"{number:04}.png")
    held, add = [], Output.add

    def measured(self, *what):
        add(self, *what)
        held.append(resident())

    monkeypatch.setattr(Output, "add", measured)
    predict(folder, workdir=workdir, out=tmp_path / "p.csv", batch_size=24)
    assert len(read_rows(tmp_path / "p.csv")) == IMAGES
    assert len(held) == IMAGES // 24
    fifth = len(held) // 5  # before it, buffers and pools fill
    assert max(held[fifth:]) - np.median(held[fifth : 2 * fifth]) < ALLOWED
