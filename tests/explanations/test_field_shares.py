"""Shares of relevance on nuclei, by hand on drawn fields."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from linear_run import seeing, seeing_all
from PIL import Image

from cervix_jax.explain.field_map import FieldMap
from cervix_jax.explanations.expert_nuclei import MarkedField, discs, nucleus_under
from cervix_jax.explanations.field_shares import measure_field, of_field, summarise
from cervix_jax.explanations.field_workflow import FieldOptions, class_of_field
from cervix_jax.predict.severity import severity_of
from cervix_jax.slides import as_slide

OPTIONS = FieldOptions(methods=("input_x_gradient",), class_name="abnormal")


def drawn():
    """Two nuclei of 2 x 2 white pixels, in one square of 8 x 8 about the first; a third far off."""
    labels = np.zeros((30, 40), np.int32)
    labels[9:11, 9:11], labels[9:11, 12:14], labels[20:22, 30:32] = 1, 2, 3
    pixels = np.where(labels[..., None] > 0, 255, 0).astype(np.uint8).repeat(3, -1)
    centres = np.array([[10.0, 10.0], [13.0, 10.0], [31.0, 21.0]])
    slide = as_slide(Image.fromarray(pixels), Path("drawn.png"), 0.5)
    return MarkedField(slide, labels, centres)


def test_shares_by_hand():
    """The map is the image: all relevance on nuclei, half of it on each of two in a square."""
    found = measure_field(seeing_all(), drawn(), drawn().centres, "input_x_gradient", OPTIONS)
    cells = found.of_cells
    assert cells["mass_nucleus"] == pytest.approx([0.5, 0.5, 1])
    assert cells["mass_nuclei"] == pytest.approx([1, 1, 1])
    assert cells["area_nucleus"] == pytest.approx([4 / 64] * 3)
    assert cells["area_nuclei"] == pytest.approx([8 / 64, 8 / 64, 4 / 64])
    assert cells["rank_nuclei"] == pytest.approx([1, 1, 1])
    assert cells["rank_nucleus"] == pytest.approx([0.5, 0.5, 1])  # of 8 equal pixels 4 are its own
    assert cells["pointing_nucleus"].tolist() == [1, 1, 1]
    field = found.of_field
    assert found.class_name == "abnormal"
    assert (field["field_mass_nuclei"], field["field_rank_nuclei"]) == pytest.approx((1, 1))
    assert field["field_area_nuclei"] == pytest.approx(12 / 1200)
    # Squares of 8 x 8 at 6, 9 and 27 cover 8 x 11 and 64 pixels; the first two see two nuclei.
    assert field["field_chance_rank_nuclei"] == pytest.approx(12 / (88 + 64))
    assert field["field_chance_mass_nuclei"] == pytest.approx((8 + 8 + 4) / (3 * 64))


def test_a_cell_beside_every_nucleus_is_undefined_and_counted():
    places = np.array([[10.0, 10.0], [20.0, 20.0]])
    found = measure_field(seeing_all(), drawn(), places, "input_x_gradient", OPTIONS)
    assert np.isnan(found.of_cells["mass_nucleus"]).tolist() == [False, True]
    summary = summarise([found])["mass_nucleus"]
    assert (summary["n"], summary["undefined"], summary["groups"]) == (1, 1, 1)
    assert summary["estimate"] == pytest.approx(0.5)
    assert summary["chance"] == pytest.approx(4 / 64)


def test_a_network_that_looks_beside_the_nucleus_has_no_share():
    """It sees the upper left pixel of each square, which is black: the map is zero, so undefined.
    With gradients it is one pixel outside of every nucleus: 0."""
    found = measure_field(seeing((0, 0)), drawn(), drawn().centres, "input_x_gradient", OPTIONS)
    assert np.isnan(found.of_cells["mass_nucleus"]).all()
    found = measure_field(seeing((0, 0)), drawn(), drawn().centres, "saliency", OPTIONS)
    assert found.of_cells["mass_nucleus"].tolist() == [0, 0, 0]
    assert found.of_field["field_mass_nuclei"] == 0


def test_intervals_of_cells_resample_fields():
    found = measure_field(seeing_all(), drawn(), drawn().centres, "input_x_gradient", OPTIONS)
    fields = [dataclasses.replace(found, name=f"{k}.png", group=f"{k // 2}") for k in range(4)]
    summary = summarise(fields)
    assert (summary["mass_nucleus"]["n"], summary["mass_nucleus"]["groups"]) == (12, 4)
    assert (summary["field_mass_nuclei"]["n"], summary["field_mass_nuclei"]["groups"]) == (4, 2)


def test_of_a_field_in_a_smaller_map():
    labels = np.zeros((40, 80), np.int32)
    labels[0:20, 0:20] = 1
    whole, flat = FieldMap((80, 40), longest=20), FieldMap((80, 40), longest=20)
    for each in (whole, flat):
        each.add(np.full((4, 4), 1 / 16), (0, 0, 40, 40))
    found = of_field(whole, flat, labels)
    assert found["field_mass_nuclei"] == pytest.approx(0.25)
    assert found["field_chance_mass_nuclei"] == found["field_chance_rank_nuclei"] == 0.25
    assert found["field_area_nuclei"] == pytest.approx(0.125)


def test_discs_are_numbered_and_meet_halfway():
    labels = discs(np.array([[10.0, 10.0], [16.0, 10.0], [-50.0, 3.0], [39.5, 0.2]]), (20, 40), 4.0)
    assert (labels == 1).sum() == (labels == 2).sum()
    assert labels[10, 9] == 1
    assert labels[10, 13] == 2
    assert labels[10, 12] == 1
    assert labels[0, 39] == 4
    assert not (labels == 3).any()
    y, x = np.mgrid[:20, :40] + 0.5
    inside = np.minimum(np.hypot(x - 10, y - 10), np.hypot(x - 16, y - 10)) <= 4
    np.testing.assert_array_equal((labels == 1) | (labels == 2), inside)
    under = nucleus_under(labels, np.array([[10.0, 10.0], [30.0, 15.0], [40.0, 0.0]]))
    assert under.tolist() == [1, 0, 4]


def test_the_class_of_a_field():
    order = severity_of(("normal", "abnormal"), order=("normal", "abnormal"))
    assert class_of_field(np.array([[0.9, 0.1], [0.4, 0.6]]), order) == 1
    assert class_of_field(np.array([[0.9, 0.1], [0.8, 0.2]]), order) == 0  # the worst that is there
    unknown = severity_of(("a", "b", "c"))
    assert class_of_field(np.array([[0.1, 0.5, 0.4], [0.2, 0.2, 0.6]]), unknown) == 2
    named = severity_of(("a", "b", "c"), abnormal=("b",))
    assert class_of_field(np.array([[0.1, 0.5, 0.4], [0.2, 0.2, 0.6]]), named) == 1
