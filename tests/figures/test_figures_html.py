"""What all pages share: values that are text, a style, and pictures inside the page."""

import base64
import io

import jinja2
import numpy as np
import pytest
from PIL import Image

from cervix_jax.figures.html import data_uri, template


@pytest.mark.parametrize("channels", [3, 4])
def test_a_picture_comes_back_from_its_address(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    kind, encoded = data_uri(pixels).split(",")
    assert kind == "data:image/png;base64"
    found = Image.open(io.BytesIO(base64.b64decode(encoded)))
    np.testing.assert_array_equal(np.asarray(found), pixels)


def test_a_jpeg_is_near_and_smaller_with_less_quality():
    row = np.linspace(0, 255, 64).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(row, row[:, None], row[::-1]), axis=-1)
    kind, encoded = data_uri(pixels, "JPEG").split(",")
    assert kind == "data:image/jpeg;base64"
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))), float)
    assert np.abs(found - pixels).mean() < 3
    assert len(data_uri(pixels, "JPEG", quality=20)) < len(encoded)


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("cervix_jax.report", "page.html.j2"),
        ("cervix_jax.report", "comparison.html.j2"),
        ("cervix_jax.predict", "slide_page.html.j2"),
        ("cervix_jax.predict", "images_page.html.j2"),
        ("cervix_jax.explanations", "index_page.html.j2"),
    ],
)
def test_pages_have_the_style_and_miss_no_value_in_silence(package, name):
    page = template(package, name)
    assert page.environment.autoescape is True
    assert "prefers-color-scheme: dark" in page.environment.get_template("page.css").render()
    with pytest.raises(jinja2.UndefinedError):
        page.render()
