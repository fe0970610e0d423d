import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from selection import tries

from cervix_jax.data.decode import (
    ONE_VIEW,
    TWO_VIEWS,
    Frame,
    crop_with_margin,
    decode_square,
    frames,
    picture_shape,
    resize_labels,
    resize_square,
    scale_with_margin,
)
from cervix_jax.errors import InputError


def encode(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def wide():
    """40 x 80, left half dark, right half bright, one bright column at the left edge."""
    image = np.full((40, 80, 3), 40, np.uint8)
    image[:, 40:] = 200
    return image


@pytest.mark.parametrize("mode", ONE_VIEW)
def test_every_mode_gives_a_square(wide, mode):
    square = resize_square(wide, 32, mode, 0.7)
    assert square.shape == (32, 32, 3)
    assert square.dtype == np.uint8


def test_stretch_keeps_both_halves_and_crop_cuts_the_sides(wide):
    wide[:, :10] = 255
    assert (resize_square(wide, 32, "stretch")[:, 0] > 240).all()
    assert (resize_square(wide, 32, "crop")[:, 0] < 60).all()


def test_pad_keeps_the_aspect_and_fills_with_the_border_colour(wide):
    square = resize_square(wide[:, :40].repeat(2, 1), 32, "pad")
    assert (square == 40).all()


def test_a_square_of_the_right_size_is_left_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    for mode in ONE_VIEW:
        np.testing.assert_array_equal(resize_square(image, 24, mode, 1.0), image)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_come_back_exactly(kind):
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    np.testing.assert_array_equal(decode_square(encode(image, kind), 24), image)


def test_grey_and_alpha_become_rgb():
    grey = np.full((8, 8), 90, np.uint8)
    assert (decode_square(encode(grey), 8) == 90).all()
    alpha = np.dstack([np.full((8, 8, 3), 90, np.uint8), np.full((8, 8), 255, np.uint8)])
    assert (decode_square(encode(alpha), 8) == 90).all()


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"not an image", lambda b: b""]
)
def test_damaged_bytes_are_bad_input_by_name(damage):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with pytest.raises(InputError, match=r"001_01\.bmp: is not a readable"):
        decode_square(damage(encode(image)), 32, name="001_01.bmp")


def test_unknown_mode_is_bad_input():
    with pytest.raises(InputError, match=r"data\.resize='zoom'"):
        resize_square(np.zeros((8, 8, 3), np.uint8), 8, "zoom")


# --- where labels and points lie ------------------------------------------------------------------

sides = st.integers(24, 150)
scales = st.floats(0.1, 3)


@settings(max_examples=tries(60))
@given(st.data(), st.sampled_from(ONE_VIEW), sides, sides, st.integers(16, 64), scales)
def test_a_point_drawn_into_an_image_lands_where_its_frame_says(
    data, mode, width, height, size, scale
):
    """A bright block's centre of brightness is that of the resized block."""
    block = min(width, height) // 4
    left = data.draw(st.integers(1, width - block - 1), label="left")
    top = data.draw(st.integers(1, height - block - 1), label="top")
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + block, left : left + block] = 255
    frame = Frame.of((width, height), size, mode, scale)
    corners = np.array([[left, top], [left + block, top + block]]) * frame.scale + frame.offset
    # The whole block must be seen, and not be mirrored or cut where the filter ends.
    blur = np.maximum(frame.scale, 1)
    assume((corners[0] >= 1.5 * blur).all() and (corners[1] <= size - 1.5 * blur).all())
    if mode == "scale":  # nor be blended with the fill where the image has ended
        ends = np.array([[0, 0], [width, height]]) * frame.scale + frame.offset
        assume((corners[0] - ends[0] > ends[0] + 2 * blur).all())
        assume((ends[1] - corners[1] > size - ends[1] + 2 * blur).all())
    bright = resize_square(image, size, mode, scale)[..., 0].astype(float)
    middle = np.arange(size) + 0.5
    centroid = [(bright.sum(axis) * middle).sum() / bright.sum() for axis in (0, 1)]
    np.testing.assert_allclose(centroid, corners.mean(axis=0), atol=0.15)
    assert bright.sum() / 255 == pytest.approx(np.prod(corners[1] - corners[0]), rel=0.1)


@settings(max_examples=tries(60))
@given(st.sampled_from(ONE_VIEW), sides, sides, st.integers(8, 200), scales)
def test_a_label_is_the_one_nearest_to_the_middle_of_its_pixel(mode, width, height, size, scale):
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    x, y = (resize_labels((1 + a).astype(np.uint8), size, mode, scale) for a in (column, row))
    frame = Frame.of((width, height), size, mode, scale)
    middle = np.arange(size)[:, None] + 0.5
    source = (middle - frame.offset) / frame.scale
    inside = (source > 0) & (source < [width, height])
    # On the border of two pixels rounding decides.
    clear = np.abs(source - np.rint(source)) > 1e-4
    expected = np.where(inside, np.floor(source) + 1, 0)
    shown = inside[:, 1, None] & inside[None, :, 0]
    for found, axis in ((x.T, 0), (y, 1)):
        seen = shown.T if axis == 0 else shown
        want = np.where(seen, expected[:, axis, None], 0)
        np.testing.assert_array_equal(found[clear[:, axis]], want[clear[:, axis]])


@pytest.mark.parametrize("mode", ONE_VIEW)
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (64, 64)])
def test_labels_lie_over_the_image(mode, shape):
    """Wherever the resized image shows one colour only, the label is its."""
    labels = np.zeros(shape, np.uint8)
    labels[20:45, 15:50] = 1
    image = (labels * 255)[..., None].repeat(3, -1)
    bright = resize_square(image, 32, mode, 0.45)[..., 0]
    found = resize_labels(labels, 32, mode, 0.45)
    assert found.dtype == np.uint8
    assert (found[bright == 255] == 1).all()
    assert (found[bright == 0] == 0).all()
    assert (bright == 255).sum() / (bright > 0).sum() > 0.2


def test_frame_and_labels_of_an_unknown_mode():
    for call in (Frame.of, resize_labels):
        first = (8, 8) if call is Frame.of else np.zeros((8, 8), np.uint8)
        with pytest.raises(InputError, match=r"data\.resize='zoom'"):
            call(first, 8, "zoom")


SHAPES = [(40, 64, 3), (64, 40, 3), (33, 33, 3), (97, 41, 3), (15, 190, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("size", "margin"), [(24, 5), (32, 60), (37, 1)])
def test_the_centre_of_a_crop_with_margin_is_the_crop(shape, size, margin):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    inside = slice(margin, margin + size)
    for whole, centre in (
        (crop_with_margin(image, size, margin), resize_square(image, size, "crop")),
        (scale_with_margin(image, size, margin, 0.7), resize_square(image, size, "scale", 0.7)),
        (scale_with_margin(image, size, margin, 1.0), resize_square(image, size, "scale", 1.0)),
    ):
        assert whole.shape == (size + 2 * margin, size + 2 * margin, 3)
        np.testing.assert_array_equal(whole[inside, inside], centre)


def test_a_margin_shows_the_image_as_far_as_it_goes():
    """A field of 4 to 3, as in SIPaKMeD: an eighth of its width lies on each side of the square."""
    image = np.full((300, 400, 3), 200, np.uint8)
    image[:, :50], image[:, -50:] = 90, 110  # what a crop cuts off
    found = crop_with_margin(image, 150, 40)[..., 0]
    assert found.shape == (230, 230)
    assert (found[:40] == 0).all()
    assert (found[-40:] == 0).all()
    row = found[115]
    assert (row[:15] == 0).all()
    assert (row[15:39] == 90).all()
    assert (row[41:-41] == 200).all()
    assert (row[-39:-15] == 110).all()
    assert (row[-15:] == 0).all()
    assert (crop_with_margin(image, 150, 40, "white")[:40] == 255).all()
    np.testing.assert_array_equal(
        crop_with_margin(image, 150, 40, "edge")[:41].std(0), np.zeros((230, 3))
    )


def disc(radius: float, width: int, height: int) -> np.ndarray:
    """A bright disc in the middle, anti-aliased by its area in each pixel."""
    fine = (np.arange(8) + 0.5) / 8
    x = (np.arange(width)[:, None] + fine).ravel() - width / 2
    y = (np.arange(height)[:, None] + fine).ravel() - height / 2
    inside = x**2 + y[:, None] ** 2 < radius**2
    share = inside.reshape(height, 8, width, 8).mean((1, 3))
    return np.repeat(np.rint(255 * share).astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize("mpp", [0.14, 0.201, 0.2451, 0.35])
@pytest.mark.parametrize(("width", "height"), [(300, 200), (101, 120)])
def test_a_micrometre_has_one_length_in_all_squares(mpp, width, height):
    """A nucleus of 8 micrometres, at any resolution and in images of any size."""
    network = 0.25
    square = resize_square(disc(4 / mpp, width, height), 64, "scale", mpp / network)
    found = 2 * np.sqrt(square[..., 0].astype(float).sum() / 255 / np.pi)
    assert found == pytest.approx(8 / network, rel=0.01)
    # The squares of two resolutions show the same.
    other = resize_square(disc(4 / 0.2, 500, 500), 64, "scale", 0.2 / network)
    assert np.abs(square.astype(int) - other).mean() < 2.5  # a shift by a pixel gives 4


@pytest.mark.parametrize("shape", [(40, 64, 3), (41, 63, 3), (30, 20, 3), (31, 70, 3), (9, 7, 3)])
def test_an_image_of_the_networks_resolution_is_cut_or_filled_and_never_resampled(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = [max(0, (32 - side) // 2 + (32 - side) % 2) for side in shape[:2]]
    after = [max(0, (32 - side) // 2) for side in shape[:2]]
    first = [max(0, (side - 32) // 2) for side in shape[:2]]
    cut = image[first[0] : first[0] + 32, first[1] : first[1] + 32]
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    filled = np.full((32, 32, 3), np.median(border, axis=0).astype(np.uint8))
    filled[before[0] : 32 - after[0], before[1] : 32 - after[1]] = cut
    np.testing.assert_array_equal(resize_square(image, 32, "scale", 1.0), filled)
    labels = resize_labels(image[..., 0], 32, "scale", 1.0)
    bare = np.pad(cut[..., 0], (*zip(before, after, strict=True),))
    np.testing.assert_array_equal(labels, bare)
    frame = Frame.of(shape[1::-1], 32, "scale", 1.0)
    np.testing.assert_array_equal(frame.offset, [before[1] - first[1], before[0] - first[0]])


def test_scale_is_never_guessed():
    image = np.zeros((8, 8, 3), np.uint8)
    for call in (resize_square, resize_labels):
        with pytest.raises(ValueError, match="requires a positive"):
            call(image if call is resize_square else image[..., 0], 8, "scale")
    with pytest.raises(ValueError, match="requires a positive"):
        Frame.of((8, 8), 8, "scale", 0.0)


def test_margins_are_for_what_is_cut_alone():
    image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    encoded = encode(image)
    with_margin = decode_square(encoded, 24, "crop", margin=5)
    np.testing.assert_array_equal(with_margin, crop_with_margin(image, 24, 5))
    with_margin = decode_square(encoded, 24, "scale", scale=0.5, margin=5)
    np.testing.assert_array_equal(with_margin, scale_with_margin(image, 24, 5, 0.5))
    for mode in ("stretch", "pad"):
        assert decode_square(encoded, 24, mode, margin=5).shape == (24, 24, 3)


# --- two squares side by side ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", TWO_VIEWS)
@pytest.mark.parametrize("shape", [(60, 90), (90, 61), (17, 17)])
def test_two_views_are_the_squares_of_both_modes(mode, shape):
    draw = np.random.default_rng(0)
    image, labels = draw.integers(0, 256, (*shape, 3), np.uint8), draw.integers(0, 9, shape)
    picture = resize_square(image, 24, mode, 0.4)
    drawn = resize_labels(labels.astype(np.uint8), 24, mode, 0.4)
    assert picture.shape == (*picture_shape(24, mode), 3) == (24, 48, 3)
    placed = frames(shape[::-1], 24, mode, 0.4)
    for number, view in enumerate(mode.split("+")):
        columns = slice(24 * number, 24 * (number + 1))
        np.testing.assert_array_equal(picture[:, columns], resize_square(image, 24, view, 0.4))
        alone = resize_labels(labels.astype(np.uint8), 24, view, 0.4)
        np.testing.assert_array_equal(drawn[:, columns], alone)
        frame = Frame.of(shape[::-1], 24, view, 0.4)
        np.testing.assert_array_equal(placed[number].scale, frame.scale)
        np.testing.assert_array_equal(placed[number].offset - frame.offset, (24 * number, 0))
    assert decode_square(encode(image), 24, mode, scale=0.4).tobytes() == picture.tobytes()
    with pytest.raises(ValueError, match="requires a positive value"):
        resize_square(image, 24, mode)
    with pytest.raises(InputError, match=r"data\.resize"):
        Frame.of(shape[::-1], 24, mode, 0.4)
