"""The detector that ships: its file, its card, and that it finds what experts mark first."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cervix_jax.data.cric_nuclei import read_nuclei
from cervix_jax.detect import shipped
from cervix_jax.detect.detector import BLOBS, SHIPPED, load_detector
from cervix_jax.statistics.detection import match_points

FOLDER = Path(shipped.__file__).parent


def test_its_file_is_small_and_the_card_says_what_it_is():
    stored = shipped.read_shipped()
    size = (FOLDER / "nuclei.npz").stat().st_size
    assert size < 1_000_000
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    parameters = sum(np.size(leaf) for leaf in jax.tree.leaves(stored.variables["params"]))
    assert f"{parameters:,} parameters" in card
    assert f"{stored.least:.3f}" in card
    for word in ("CRIC", "CC BY 4.0", "not for clinical use", "--config=configs/nuclei.py"):
        assert word in card
    assert 0 < stored.least < 1


def test_what_is_stored_comes_back(tmp_path):
    kernel = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    variables = {"params": {"conv": {"kernel": kernel}}, "stats": {"norm": {"var": np.ones(2)}}}
    settings = {"model": "m", "normalization": "n", "microns_per_pixel": 0.5, "least": 0.25}
    shipped.store(tmp_path / "w.npz", variables, settings)
    with np.load(tmp_path / "w.npz") as file:
        assert file["params/conv/kernel"].dtype == np.float16
        assert file["stats/norm/var"].dtype == np.float64
    stored = shipped.read_stored(tmp_path / "w.npz")
    assert (stored.model, stored.least) == ("m", 0.25)
    found = np.asarray(stored.variables["params"]["conv"]["kernel"])
    np.testing.assert_allclose(found, kernel, atol=5e-4)


@pytest.mark.slow
def test_on_a_real_field_it_beats_blobs_at_the_same_number_of_detections(shared):
    folder = shared / "data/cric"
    marked: dict[str, list[tuple[float, float]]] = {}
    for nucleus in read_nuclei(folder / "classifications.csv"):
        marked.setdefault(nucleus.image, []).append((nucleus.x, nucleus.y))
    name = max(sorted(marked)[:12], key=lambda image: len(marked[image]))
    image = Image.open(folder / "images" / name).convert("RGB")
    microns = 0.228 * 1376 / image.width
    recalls = {}
    for detector in (load_detector(SHIPPED, 0.0), load_detector(BLOBS, 0.0)):
        scale = microns / detector.microns_per_pixel
        size = round(image.width * scale), round(image.height * scale)
        found = detector(np.asarray(image.resize(size, Image.Resampling.BILINEAR)))
        points = found.positions[: 2 * len(marked[name])] / scale
        hits = match_points(points, np.asarray(marked[name]), 24)
        recalls[detector.name] = float((hits >= 0).mean())
    assert recalls[SHIPPED] > 0.8, recalls
    assert recalls[SHIPPED] > recalls[BLOBS] + 0.2, recalls


def test_the_card_names_no_file_that_is_absent():
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:docs|configs)/[\w.]+\.(?:md|py)", card):
        assert (FOLDER.parents[1] / name).exists(), name
