"""The measurements on fields and slides: matching, majorities, and the PyTorch twin's weights."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from cervix_jax import models

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_as_many_cells_as_possible_are_matched_then_the_nearest():
    import field_cells

    points = np.asarray([[50.0, 50], [70, 50], [300, 300]])
    boxes = np.asarray([[0.0, 0, 100, 100], [60, 0, 160, 100], [500, 500, 600, 600]])
    allowed = field_cells.in_boxes(points, boxes)
    assert allowed.tolist() == [[True, True, False], [False, True, False], [False] * 3]
    centres = field_cells.middles(boxes)
    assert field_cells.matched(points, allowed, centres).tolist() == [0, 1, -1]
    # Both points lie in the first box alone: the nearer one is its cell.
    assert field_cells.matched(points, allowed & [[True], [False], [False]], centres)[0] == 0
    # A cell counts even where the nearest point is all that another one has.
    shared = np.asarray([[True, True], [True, False]])
    assert field_cells.matched(points[:2], shared, centres[:2]).tolist() == [1, 0]
    assert field_cells.matched(points[:0], allowed[:, :0], centres).tolist() == [-1] * 3


def test_a_margin_is_taken_off_boxes_and_contours_have_none():
    import field_cells

    box = np.asarray([[0.0, 0, 100, 100]])
    points = np.asarray([[10.0, 10], [9.9, 50], [90, 90], [50, 90.1]])
    assert field_cells.in_boxes(points, box)[0].tolist() == [True, False, True, False]
    triangle = np.asarray([[0.0, 0], [100, 0], [0, 100]])
    inside = field_cells.in_contours(np.asarray([[20.0, 20], [80, 80]]), [triangle])
    assert inside.tolist() == [[True, False]]


def test_a_tie_of_votes_goes_to_the_class_of_more_probability():
    import field_cells

    votes = [[0.6, 0.4, 0], [0.1, 0.9, 0], [0.9, 0.1, 0]]
    assert field_cells.majority(np.asarray(votes)) == 0
    assert field_cells.majority(np.asarray(votes[:2])) == 1
    assert field_cells.majority(np.zeros((0, 3))) == -1


def field_of(tmp_path):
    """A field with two cells, and detections: one right, one of another class, one beside."""
    import field_cells

    folder = tmp_path / "im_Parabasal" / "im_Parabasal"
    folder.mkdir(parents=True)
    Image.effect_noise((300, 200), 60).convert("RGB").save(folder / "020.png")
    (folder / "020_nuc01.dat").write_text("40,40\n60,40\n60,60\n40,60\n")
    (folder / "020_nuc02.dat").write_text("140,40\n160,40\n160,60\n140,60\n")
    (tmp_path / "crop_positions.csv").write_text(
        "class,cluster,crop,x,y,w,h\n"
        "im_Parabasal,020,020_01,0,0,100,100\nim_Parabasal,020,020_02,100,0,100,100\n"
    )
    (field,) = field_cells.read_fields(tmp_path)
    cells = field_cells.Cells(
        np.asarray([[50.0, 50], [120, 20], [250, 150]]),
        np.asarray([0.9, 0.5, 0.2]),
        np.asarray([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]),
    )
    return field, cells


def test_what_is_counted_in_fields(tmp_path):
    import field_cells

    field, cells = field_of(tmp_path)
    assert (field.label, len(field.boxes), len(field.contours)) == ("Parabasal", 2, 2)
    names = ["parabasal", "metaplastic"]
    field_cells.check_classes(names, [field])
    with pytest.raises(SystemExit, match="Parabasal"):
        field_cells.check_classes(["benign"], [field])
    measured = field_cells.measure({field.name: cells}, [field], names, 0.4)
    lowest, own = measured["curve"]
    assert (lowest["detections"], own["detections"], own["own"]) == (3, 2, True)
    assert (own["found"], own["in_contours"], own["precision_at_least"]) == (2, 1, 1.0)
    assert own["right_of_all"]["part"] == own["right_of_found"]["part"] == 1
    assert (lowest["majorities"]["part"], own["majorities"]["part"]) == (0, 1)
    (row,) = measured["by_field"]
    # One vote each; metaplastic has 0.9 of the probability, parabasal 1.1.
    assert (row["votes"], row["majority"]) == ({"parabasal": 1, "metaplastic": 1}, "parabasal")
    assert measured["by_class"] == {"Parabasal": {"cells": 2, "found": 2, "right": 1}}
    assert "| im_Parabasal/020 | 2 of 2 | 1 | 2 | parabasal |" in field_cells.text_of_detector(
        "d", measured
    )


def test_known_cells_of_a_slide_by_class():
    import slide_acceptance

    known = [
        {"class": name, "image": image}
        for name, image in (("NILM", "a.jpg"), ("HSIL", "b.jpg"), ("HSIL", "b.jpg"))
    ]
    found = [{"nucleus": score, "class": name} for score, name in [("0.2", "a"), ("0.9", "b")]]
    places = np.asarray([[0.0, 0], [100, 0], [200, 0]])
    measured = slide_acceptance.matches(
        known, found, places, np.asarray([[103.0, 4], [20, 0]]), 12.0
    )
    assert (measured["found"], measured["median_distance"]) == (1, 5.0)
    assert measured["by_class"] == {
        "NILM": {"known": 1, "found": 0, "given": {}},
        "HSIL": {"known": 2, "found": 1, "given": {"a": 1}},
    }
    wider = slide_acceptance.matches(
        known, found, places, np.asarray([[103.0, 4], [20, 0]]), 24.0, {"b"}
    )
    assert (wider["found"], wider["known"]) == (2, 3)
    assert (wider["named"]["found"], wider["named"]["known"]) == (1, 2)
    none = slide_acceptance.matches(known, [], places, np.zeros((0, 2)), 12.0)
    assert (none["found"], none["median_distance"], none["named"]) == (0, None, None)


def test_cells_in_common(tmp_path):
    import slide_throughput

    for name, rows in (("a", [(1, 1, "x"), (50, 50, "x")]), ("b", [(2, 1, "y"), (90, 50, "x")])):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([("x", "y", "class"), *rows])
    found = slide_throughput.common(tmp_path / "a", tmp_path / "b", 3.0)
    assert found == {"here": 2, "torch": 2, "both": 1, "same_class": 0}


@pytest.mark.torch
def test_the_detector_in_pytorch_is_the_same_network():
    torch = pytest.importorskip("torch")
    import slide_throughput

    model = models.create("nucleus_detector", num_classes=2, rngs=nnx.Rngs(0))
    model.eval()
    random = np.random.default_rng(0)
    _, params, stats = nnx.split(model, nnx.Param, ...)
    stats = jax.tree.map(lambda v: v + random.uniform(0, 0.5, v.shape).astype(np.float32), stats)
    nnx.update(model, stats)
    variables = {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}
    twin = slide_throughput.load_twin(
        slide_throughput.detector_twin(), slide_throughput.torch_names(variables)
    )
    image = random.normal(size=(1, 64, 48, 3)).astype(np.float32)
    ours = np.asarray(model(jnp.asarray(image))[0])
    with torch.inference_mode():
        theirs = twin(torch.from_numpy(image.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    assert slide_throughput.difference(ours, theirs) < 1e-5


def test_known_places_are_read_as_predict_reads_them(tmp_path):
    import types

    import field_cells

    field, _ = field_of(tmp_path)
    asked = []

    def logits(images, batch_size, mpp=None):
        asked.append(([np.shape(image) for image in images], mpp))
        return np.asarray([[2.0, 0.0], [0.0, 1.0]])

    run = types.SimpleNamespace(
        class_names=["Parabasal", "Metaplastic"], field_of_view=9.6, logits=logits,
        config=types.SimpleNamespace(image_size=48),
    )  # fmt: skip
    known = field_cells.known_places(run, [field], 0.14, 0)
    assert asked == [([(48, 48, 3)] * 2, None), ([(100, 100, 3)] * 2, 0.14)]
    assert [way["right"]["part"] for way in known.values()] == [1, 1]
    assert "| box cut out | 1 of 2 (50%" in field_cells.text_of_known(known)
    run.field_of_view = None
    assert list(field_cells.known_places(run, [field], 0.14, 0)) == ["box cut out"]
