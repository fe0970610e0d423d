"""Maps of cells: squares as they are read, maps where the network looks, in any batches."""

from pathlib import Path

import numpy as np
import pytest
from linear_run import seeing
from PIL import Image

from cervix_jax.errors import InputError
from cervix_jax.explain.field_map import FieldMap
from cervix_jax.explanations.cells import explain_cells
from cervix_jax.explanations.explainer import MapSettings
from cervix_jax.slides import as_slide

PIXELS = np.random.default_rng(0).integers(50, 255, (40, 60, 3), np.uint8)
POSITIONS = np.array([[20.0, 15.0], [33.0, 20.0], [2.0, 3.0], [50.0, 33.0], [41.0, 10.0]])


def field(mpp=0.5):
    return as_slide(Image.fromarray(PIXELS), Path("field.png"), mpp)


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients"])
def test_maps_lie_where_the_network_looks(method):
    """The network sees one pixel of its square: 4 um are 8 pixels, so one of the field as well."""
    run, whole = seeing((2, 5)), FieldMap((60, 40))
    parts = list(explain_cells(run, field(), POSITIONS, method=method, target=1,
                               settings=MapSettings(batch_size=2)))  # fmt: skip
    assert [len(part.maps) for part in parts] == [2, 2, 1]
    for part in parts:
        for values, box in zip(part.reduced, part.boxes.tolist(), strict=True):
            whole.add(values, tuple(box))
            assert np.argwhere(values).tolist() == [[2, 5]]
    # The square about (20, 15) begins at (16, 11), and so on; that of the third beyond the corner.
    expected = {(13, 21), (18, 34), (1, 3), (31, 51), (8, 42)}
    assert {tuple(place) for place in np.argwhere(np.abs(whole.values) > 1e-6).tolist()} == expected
    if method == "input_x_gradient":
        for y, x in expected:
            assert whole.values[y, x] == pytest.approx(PIXELS[y, x].sum() / 255, rel=1e-4)


def test_what_is_explained_and_where_it_lies():
    (part,) = explain_cells(seeing((2, 5)), field(), POSITIONS, method="input_x_gradient")
    assert part.boxes[0].tolist() == [16, 11, 24, 19]
    np.testing.assert_array_equal(part.squares[0], PIXELS[11:19, 16:24])
    assert part.targets.tolist() == part.logits.argmax(1).tolist() == [1] * 5
    np.testing.assert_allclose(part.reduced.sum((1, 2)), part.logits[:, 1], rtol=1e-5)
    (other,) = explain_cells(seeing((2, 5)), field(), POSITIONS, method="saliency", target=0)
    assert not other.maps.any()
    assert other.targets.tolist() == [0] * 5


def test_batches_change_nothing():
    def maps(size):
        settings = MapSettings(batch_size=size, steps=3)
        parts = explain_cells(seeing((1, 1)), field(), POSITIONS, target=1, settings=settings)
        return np.concatenate([part.maps for part in parts])

    np.testing.assert_allclose(maps(2), maps(32), atol=1e-6)


def test_a_crop_of_ones_own_counts_before_the_field_of_view():
    (part,) = explain_cells(seeing((2, 5)), field(None), POSITIONS[:1], method="saliency", crop=12)
    assert part.boxes[0].tolist() == [14, 9, 26, 21]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "salience"}, "--method='salience' .did you mean 'saliency'"),
        ({"method": "edges"}, "--method='edges'"),
        ({"method": "expected_gradients"}, "needs training images, which are not"),
        ({"target": 2}, "target=2: the run has classes 0 to 1"),
        ({"mpp": None}, "does not state its pixel size; give the micrometres, e.g. --mpp"),
        ({"seen": None}, "--crop is missing"),
    ],
)
def test_bad_requests_are_refused_before_any_work(given, message):
    run = seeing((2, 5))
    run.field_of_view = given.pop("seen", 4.0)
    slide = field(given.pop("mpp", 0.5))
    with pytest.raises(InputError, match=message):
        explain_cells(run, slide, POSITIONS, **given)
