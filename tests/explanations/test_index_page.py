"""The page of explanations: previews, measures, settings; nothing from a network."""

import re

import numpy as np
import pytest
from PIL import Image

from cervix_jax.explanations.index_page import PREVIEW, write_index

SOME = {"estimate": 0.25, "interval": [0.125, 0.5], "n": 8, "groups": 4, "undefined": 0}
SETTINGS = {"method": "saliency", "weights": "0123abcd", "dataset": "d", "version": "1.0.0",
            "image_size": 32, "resize": "stretch", "target": "predicted",
            "output": "logit"}  # fmt: skip


def report(**changes):
    method = {"description": "gradient", "reduction": "sum", "settings": SETTINGS}
    return {
        "model": "<tiny>", "step": 9, "dataset": "d", "data_title": "clinic", "split": "test",
        "target": "predicted", "selection": {"n": 8, "groups": 4, "wrong": 2, "seed": 3},
        "measures": {"insertion": {"better": "higher", "description": "comes in"}},
        "methods": {
            "saliency": method | {"reference": False, "measures": {"insertion": SOME}},
            "random": method | {"reference": True, "measures": {"insertion": SOME}},
        },
    } | changes  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sheets").mkdir()
    Image.fromarray(np.zeros((40, 3000, 3), np.uint8)).save(tmp_path / "sheets" / "saliency.png")
    return tmp_path


def test_the_page_shows_sheets_measures_and_settings(folder):
    path = write_index(
        folder, report(), sheets=["saliency"], pictures=[], left_out={"grad_cam": "no <map>"}
    )
    assert path == folder / "index.html"
    text = path.read_text(encoding="utf-8")
    assert "<h1>Explanations of &lt;tiny&gt; on clinic</h1>" in text
    assert "8 images of 4 groups, 2 wrongly classified." in text
    assert "<td>0.25 (0.125 to 0.5)</td>" in text
    assert '<th scope="row">(random)</th>' in text
    assert "insertion ↑: comes in" in text
    assert '<a href="sheets/saliency.png">' in text
    assert text.count("data:image/jpeg;base64,") == 1
    assert "<dd>0123abcd</dd>" in text
    assert "<dt>Seed</dt><dd>3</dd>" in text
    assert "output logit" in text
    assert "<dt>Grad-CAM</dt><dd>no &lt;map&gt;</dd>" in text
    assert "not for clinical use" in text
    assert '<a href="#pictures">' not in text
    assert not re.search(r"https?://|url\(|@import|fetch\(|<script", text)
    assert len(text) < 60_000  # the preview is small, whatever the sheet
    assert max(PREVIEW) < 3000


def test_without_measures_and_sheets_there_are_no_sections_of_them(folder):
    bare = report(measures={})
    for each in bare["methods"].values():
        each["measures"] = {}
    text = write_index(folder, bare, sheets=[], pictures=[], left_out={}).read_text("utf-8")
    for name in ("measures", "sheets", "pictures"):
        assert f'id="{name}"' not in text
        assert f'href="#{name}"' not in text
    assert "measures.csv" not in text
    assert '<section id="settings">' in text
