"""Explanations beside the table: named safely, one an image, where the image is."""

import os
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from predicted_rows import read_rows

from cervix_jax.errors import InputError
from cervix_jax.explain import cam, registry
from cervix_jax.predict.overlays import OVERLAY_METHODS, overlay
from cervix_jax.predict.picture_names import picture_name, shown
from cervix_jax.predict.workflow import predict_images

ODD = ["../../etc/passwd", "..", ".", "/", "a/", "C:\\x.png", "CON.png", "é.png", "caf\udce9.png"]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
PATHS = TEXT | st.sampled_from(ODD)


@given(st.lists(PATHS, min_size=2, max_size=9, unique=True))
def test_names_are_safe_and_unique(paths):
    names = [picture_name(path, ".png") for path in paths]
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*-[0-9a-f]{12}\.png", name)
        assert len(name) < 120
    assert len(set(map(str.lower, names))) == len(paths)


@given(PATHS)
def test_shown_paths_are_text_and_no_formula(path):
    assert shown(path).encode()
    assert shown(path)[0] not in "=+-@\t\r"
    if path.isascii() and shown(path) != path:
        assert os.path.normpath(shown(path)) == os.path.normpath(path)


@pytest.mark.parametrize("method", OVERLAY_METHODS)
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
            # Of 32 pixels the stem has 8 x 8, and the stages 4 x 4.
            grid = "stem, 8 x 8" if method == "grad_cam" else None
            assert picture.text.get("feature_map") == grid
            scale = float(picture.text["scale"])
            # Nothing need speak for the class in any place; Grad-CAM is then zero everywhere.
            assert scale > 0 or (method == "grad_cam" and scale == 0)
            # The caption and the legend stand below the image, which is enlarged.
            factor = 256 / min(image.size)
            width, height = round(image.width * factor), round(image.height * factor)
            assert picture.width == width
            assert picture.height > height + 30
            sure = f"class {row['class']} {float(row['confidence']):.2f}"
            label = registry.METHODS[method].label
            assert picture.text["caption"] == "; ".join(
                [f"{label}, {grid}" if grid else label, sure]
            )
            grey = image.convert("L").resize((width, height), Image.Resampling.BILINEAR)
            above = np.asarray(picture)[:height]
            assert np.array_equal(above, np.asarray(grey.convert("RGB"))) == (scale == 0)
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_map_lies_where_the_network_looked(resize):
    image = Image.new("RGB", (400, 300), (128, 128, 128))
    values = np.zeros((30, 30))
    values[12:18, 12:18] = 1.0
    changed = (np.asarray(overlay(image, values, 1.0, resize)) != 128).any(-1)
    y, x = np.nonzero(changed)
    assert (x.mean(), y.mean()) == pytest.approx((199.5, 149.5), abs=1.5)
    side = {"stretch": (80, 60), "crop": (60, 60), "pad": (80, 80)}[resize]
    assert np.ptp(x) == pytest.approx(side[0], abs=16)
    assert np.ptp(y) == pytest.approx(side[1], abs=16)
    blank = overlay(image, np.zeros((30, 30)), 0.0, resize)
    np.testing.assert_array_equal(np.asarray(blank), np.asarray(image))


def test_no_class_activation_map_is_made_of_a_coarse_grid(workdir, cells, tmp_path, monkeypatch):
    monkeypatch.setattr(cam, "FINE_ENOUGH", 9)  # of 32 pixels the finest has 8 x 8
    some = min(cells.rglob("*.png"))
    predict_images(
        workdir, some, out=tmp_path / "p.csv", overlay=tmp_path / "o", method="grad_cam",
        progress=False,
    )  # fmt: skip
    (name,) = os.listdir(tmp_path / "o")
    with Image.open(tmp_path / "o" / name) as picture:
        assert picture.text["method"] == "integrated_gradients"
        assert picture.text["caption"].startswith("integrated gradients; class ")
        assert "feature_map" not in picture.text


def test_a_feature_map_can_be_named(workdir, cells, tmp_path):
    path = min(cells.rglob("*.png"))
    given = {"out": tmp_path / "p.csv", "progress": False}
    predict_images(workdir, path, overlay=tmp_path / "o", feature_map="stage4", **given)
    (name,) = os.listdir(tmp_path / "o")
    with Image.open(tmp_path / "o" / name) as picture:
        assert picture.text["feature_map"] == "stage4, 4 x 4"
    with pytest.raises(InputError, match="--feature_map=stage4 needs --overlay"):
        predict_images(workdir, path, feature_map="stage4", overwrite=True, **given)
    with pytest.raises(InputError, match="no feature map 'stage9'"):
        predict_images(
            workdir, path, overlay=tmp_path / "o", feature_map="stage9", overwrite=True, **given
        )
