"""Explanations beside the table: one an image, over what the network looked at."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from predicted_rows import read_rows

from cervix_jax.predict.overlays import METHODS, lay_over


@pytest.mark.parametrize("method", METHODS)
def test_one_overlay_an_image(predict, workdir, cells, tmp_path, method):
    some = sorted(cells.rglob("*.png"))[:2]
    for folder, path in zip("ab", some, strict=True):
        (tmp_path / folder).mkdir()
        shutil.copy(path, tmp_path / folder / "same$name.png")
    (tmp_path / "a" / "broken.png").write_text("no image")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    pictures = tmp_path / "overlays"
    predict(tmp_path / "a", tmp_path / "b", workdir=workdir, out=tmp_path / "p.csv",
            overlay=pictures, method=method)  # fmt: skip
    rows = read_rows(tmp_path / "p.csv")
    assert len(rows) == 2
    assert sorted(row["overlay"] for row in rows) == sorted(os.listdir(pictures))
    for row in rows:
        with Image.open(pictures / row["overlay"]) as picture, Image.open(row["path"]) as image:
            assert picture.text["class"] == row["class"]
            assert picture.text["method"] == method
            assert float(picture.text["scale"]) > 0
            assert min(picture.size) >= 256
            assert picture.width / picture.height == pytest.approx(image.width / image.height, 0.02)
            plain = image.convert("RGB").resize(picture.size, Image.Resampling.BICUBIC)
            assert not np.array_equal(np.asarray(picture), np.asarray(plain))
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_map_lies_where_the_network_looked(resize):
    image = Image.new("RGB", (400, 300), (128, 128, 128))
    values = np.zeros((30, 30))
    values[12:18, 12:18] = 1.0
    changed = (np.asarray(lay_over(image, values, 1.0, resize)) != 128).any(-1)
    y, x = np.nonzero(changed)
    assert (x.mean(), y.mean()) == pytest.approx((199.5, 149.5), abs=1.5)
    side = {"stretch": (80, 60), "crop": (60, 60), "pad": (80, 80)}[resize]
    assert np.ptp(x) == pytest.approx(side[0], abs=16)
    assert np.ptp(y) == pytest.approx(side[1], abs=16)
    blank = lay_over(image, np.zeros((30, 30)), 0.0, resize)
    np.testing.assert_array_equal(np.asarray(blank), np.asarray(image))
