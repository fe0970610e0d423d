"""Windows and nuclei in the frame in which QuPath shows a file: that of its stored pixels."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from cervix_jax.files.images import orientation
from cervix_jax.predict.geojson import as_stored, squares_as_stored


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_squares_and_points_lie_where_the_stored_pixels_are(tmp_path, turned, suffix):
    stored = np.zeros((40, 56, 3), np.uint8)
    stored[8:16, 24:32] = 255  # a square of 8 pixels
    exif = Image.Exif()
    exif[274] = turned
    path = tmp_path / f"field.{suffix}"
    Image.fromarray(stored).save(path, exif=exif)
    assert orientation(path) == turned
    plain = Image.fromarray(stored)
    plain.getexif()[274] = turned
    upright = np.asarray(ImageOps.exif_transpose(plain))
    y, x = np.nonzero(upright[..., 0])
    corner, size = np.asarray([[x.min(), y.min()]]), (upright.shape[1], upright.shape[0])
    assert squares_as_stored(corner, 8, size, turned).tolist() == [[24, 8]]
    centre = as_stored(corner + 4.0, size, turned)
    assert centre.tolist() == [[28.0, 12.0]]
