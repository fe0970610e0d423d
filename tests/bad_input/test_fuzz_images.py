"""Damaged images give an array of the right kind or one line, whatever the damage."""

import numpy as np
import pytest
from bad_files import encoded, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import attempt, mutated
from PIL import Image

from cervix_jax.data.decode import RESIZE_MODES, decode_square, picture_shape
from cervix_jax.files import images

pytestmark = pytest.mark.slow
RGB = noise(1, (20, 14))
PICTURE = Image.fromarray(RGB)
EXIF = Image.Exif()
EXIF[274] = 6
FRAMES = [Image.fromarray(noise(seed, (20, 14))) for seed in range(2)]
ORIGINALS = {
    "PNG": [
        encoded(RGB, "PNG"),
        encoded(RGB, "PNG", exif=EXIF),
        encoded(PICTURE.quantize(16), "PNG", transparency=3),
        encoded(PICTURE.convert("RGBA"), "PNG"),
        encoded(RGB[..., 0].astype(np.uint16) << 8, "PNG"),
        encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
    ],
    "JPEG": [
        encoded(RGB, "JPEG"),
        encoded(RGB, "JPEG", exif=EXIF),
        encoded(RGB, "JPEG", progressive=True),
        encoded(PICTURE.convert("CMYK"), "JPEG"),
    ],
    "BMP": [encoded(RGB, "BMP"), encoded(PICTURE.quantize(16), "BMP")],
    "GIF": [encoded(PICTURE, "GIF")],
    "TIFF": [
        encoded(RGB, "TIFF"),
        encoded(RGB, "TIFF", compression="tiff_lzw"),
        encoded(RGB, "TIFF", compression="tiff_adobe_deflate", exif=EXIF),
        encoded(np.full((9, 9), np.nan, np.float32), "TIFF"),
        encoded(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]),
    ],
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's about odd tags
@pytest.mark.parametrize("kind", ORIGINALS)
def test_decoding_gives_an_array_or_one_line(kind, tmp_path):
    path = tmp_path / f"x.{kind.lower()}"

    @settings(max_examples=120)
    @given(data=mutated(ORIGINALS[kind]), mode=st.sampled_from(RESIZE_MODES))
    def check(data, mode):
        path.write_bytes(data)
        square, why = attempt(lambda: decode_square(data, 16, mode, scale=0.3, name="x"))
        found, why_not = attempt(lambda: images.read_image(path, min_colours=1))
        assert (found is None) == (square is None)
        if found is None:
            assert why.startswith("x: ")
            assert why_not.startswith(f"{path}: ")
            assert "\n" not in why
            return
        assert square.shape == (*picture_shape(16, mode), 3)
        assert square.dtype == np.uint8
        # What is stored is read again as what it was.
        again = decode_square(images.encode(*found), 16, mode, scale=0.3)
        np.testing.assert_array_equal(again, square)
        assert images.image_size(path) == found[0].size

    check()
