"""A detector as a run: trained by the loop, evaluated, resumed, taken by name, and refused."""

import json

import numpy as np
import pytest
from PIL import Image

from cervix_jax import evaluate_run, explain_run, load_run, predict_images
from cervix_jax.detect.detector import BLOBS, load_detector
from cervix_jax.detect.evaluation import fields_of_tiles
from cervix_jax.detect.peaks import found_in
from cervix_jax.errors import InputError
from cervix_jax.evaluate.summary_text import summary

pytestmark = pytest.mark.slow


def test_its_report_counts_every_marked_nucleus_of_the_test_fields(detector_run):
    report = json.loads((detector_run / "evaluate/test.json").read_text())
    run = load_run(detector_run)
    data = run.open_data()
    marked = sum(len(data.dataset.source[int(k)]["nuclei"]) for k in data.indices("test"))
    assert report["task"] == "nuclei"
    assert report["threshold_of"] == "validation fields"
    assert report["sources"]["phantom"]["at_threshold"]["marked"] == marked > 0
    assert report["sources"]["phantom"]["fields"] == len(
        {data.dataset.groups[int(k)] for k in data.indices("test")}
    )
    assert report["blobs"]["phantom"]["20"]["marked"] == marked
    assert (detector_run / "evaluate/test_detection.png").stat().st_size > 10_000
    assert f"of {marked} marked nuclei found" in summary(report)
    again = evaluate_run(detector_run, "test")
    assert again["sources"] == report["sources"]
    history = [
        json.loads(line) for line in (detector_run / "metrics.jsonl").read_text().split("\n")[:-1]
    ]
    losses = [row["val/loss"] for row in history if "val/loss" in row]
    assert losses[-1] < losses[0]


def test_the_detector_of_a_run_takes_images_of_any_size(detector_run):
    detector = load_detector(detector_run, least=0.0)
    assert detector.microns_per_pixel == 0.5
    image = np.random.default_rng(0).integers(0, 255, (90, 150, 3), np.uint8)
    found = detector(image)
    assert (found.positions < (150, 90)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert load_detector(detector_run).least == pytest.approx(
        json.loads((detector_run / "evaluate/test.json").read_text())["threshold"]
    )


def test_it_is_refused_where_images_need_a_class(detector_run, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        tmp_path / "a.png"
    )
    for use in (
        lambda: predict_images(detector_run, tmp_path / "a.png", out=tmp_path / "a.csv"),
        lambda: explain_run(detector_run),
    ):
        with pytest.raises(InputError, match="nucleus detector, which does not classify images"):
            use()


def test_names_that_are_no_detector(tmp_path):
    with pytest.raises(InputError, match=r"--detector=.*nuclei, blobs, or the folder"):
        load_detector(tmp_path / "absent")
    with pytest.raises(InputError, match="--min_nucleus=2"):
        load_detector(BLOBS, least=2)


def test_tiles_make_their_field_again():
    """A nucleus that two tiles see counts once, where the core of one holds it."""

    def tile(left, core, nuclei):
        return {
            "source": b"cric", "field_id": b"f", "offset": np.array([left, 0]),
            "core": np.array([*core]), "nuclei": np.asarray(nuclei, np.float32).reshape(-1, 2),
        }  # fmt: skip

    scores = np.zeros((2, 32, 32), np.float32)
    scores[0, 10, 20] = 0.9  # at (41, 21) of the first tile, beyond its core: the second has it
    scores[1, 10, 4] = 0.8  # at (9, 21) of the second, which begins at 32: the same place
    tiles = [tile(0, (0, 0, 40, 64), []), tile(32, (8, 0, 64, 64), [[9, 21]])]
    fields = fields_of_tiles(tiles, [found_in(values, 0.0) for values in scores], tolerance=2)
    assert fields["cric"][0].scores.tolist() == [pytest.approx(0.8)]
    assert fields["cric"][0].hits.tolist() == [pytest.approx(0.8)]
