"""Decodes images to square uint8 arrays on the host, and maps masks and points onto them."""

import dataclasses

import numpy as np
from PIL import Image, ImageOps

from cervix_jax.errors import check_choice
from cervix_jax.files import images

# Two views of one image, side by side: the whole image, and the image at a fixed resolution.
TWO_VIEWS = ("stretch+scale", "pad+scale")
ONE_VIEW = ("stretch", "crop", "pad", "scale")
RESIZE_MODES = (*ONE_VIEW, *TWO_VIEWS)
# Modes that cut a square out of the image, so that image pixels can remain beside it.
MARGINS = ("crop", "scale")


def views_of(mode: str) -> tuple[str, ...]:
    """Return the modes of the squares that a mode places side by side; most modes have one square.

    Raises:
      InputError: `mode` is unknown.
    """
    check_mode(mode)
    return tuple(mode.split("+"))


def needs_scale(mode: str) -> bool:
    """Whether a mode resamples to a fixed resolution and so requires the image's resolution."""
    return "scale" in views_of(mode)


def picture_shape(size: int, mode: str) -> tuple[int, int]:
    """Height and width of the result of `resize_square`, in pixels."""
    return size, size * len(views_of(mode))


def resize_square(
    image: np.ndarray | Image.Image, size: int, mode: str = "stretch", scale: float | None = None
) -> np.ndarray:
    """Resize one image to a square, with antialiasing.

    Args:
      image: uint8 [H, W, 3], or a PIL image.
      size: side of the result in pixels.
      mode: "stretch" changes the aspect ratio; "crop" scales the shorter side and cuts out the
        centre, as the paper does; "pad" scales the longer side and fills the rest with the
        median colour of the border, which keeps aspect ratio and size class visible; "scale"
        resamples the image by `scale` about its centre, cuts off what exceeds the square and
        fills missing pixels with the border colour, so that a micrometre has the same length in
        all squares; "stretch+scale" and "pad+scale" return the squares of both modes, the second
        on the right.
      scale: pixels of the result per pixel of the image; required by "scale" and the modes that
        contain it, unused by the others. A scale of 1 resamples no pixel.

    Returns:
      uint8 [size, size, 3]; [size, 2 size, 3] for modes with two squares.

    Raises:
      InputError: `mode` is unknown.
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    if mode in TWO_VIEWS:
        squares = [resize_square(image, size, view, scale) for view in views_of(mode)]
        return np.concatenate(squares, axis=1)
    if mode == "scale":
        return _scaled(image, size, scale, Image.Resampling.BILINEAR, _border_colour(image))
    colour = _border_colour(image) if mode == "pad" else None
    return _squared(image, size, mode, Image.Resampling.BILINEAR, colour)


def _border_colour(image: Image.Image) -> tuple[int, ...]:
    """Return the median of the outermost pixels, per channel."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(border, axis=0))


# Fills beyond the image border, by the name of the augmentation's fill: arguments of `numpy.pad`.
_FILLS = {
    "reflect": {"mode": "reflect"},
    "edge": {"mode": "edge"},
    "black": {"constant_values": 0},
    "white": {"constant_values": 255},
}


def scale_with_margin(
    image: np.ndarray | Image.Image, size: int, margin: int, scale: float | None
) -> np.ndarray:
    """Return the centre that `resize_square(..., "scale")` cuts out, with its surroundings.

    Args:
      image: uint8 [H, W, 3], or a PIL image.
      size: side of the centre in pixels.
      margin: pixels on each side of the centre; beyond the image, its border colour.
      scale: see `resize_square`.

    Returns:
      uint8 [size + 2 margin, size + 2 margin, 3].
    """
    pixels = resize_square(image, size + 2 * margin, "scale", scale).copy()
    # Pillow rounds the box, which changes a few pixels by one grey level.
    centre = slice(margin, margin + size)
    pixels[centre, centre] = resize_square(image, size, "scale", scale)
    return pixels


def crop_with_margin(
    image: np.ndarray | Image.Image, size: int, margin: int, fill: str = "black"
) -> np.ndarray:
    """Return the centre that `resize_square(..., "crop")` cuts out, with its surroundings.

    Args:
      image: uint8 [H, W, 3], or a PIL image.
      size: side of the centre in pixels.
      margin: pixels on each side of the centre.
      fill: fill beyond the image border: "black", "white", "edge" or "reflect".

    Returns:
      uint8 [size + 2 margin, size + 2 margin, 3].
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    step = min(image.size) / size
    # Whole pixels of the result that the image provides beside the centre.
    beside = [min(margin, int((side / step - size) / 2 + 1e-6)) for side in image.size]
    wide, high = (size + 2 * more for more in beside)
    ends = (image.width - wide * step) / 2, (image.height - high * step) / 2
    left, top = (max(end, 0.0) for end in ends)
    right, bottom = image.width - left, image.height - top
    pixels = np.array(
        image.resize((wide, high), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    )
    # Pillow rounds the box, which changes a few pixels by one grey level.
    centre = tuple(slice(more, more + size) for more in reversed(beside))
    pixels[centre] = resize_square(image, size, "crop")
    x, y = (margin - more for more in beside)
    return np.pad(pixels, ((y, y), (x, x), (0, 0)), **_FILLS[fill])


def resize_labels(
    labels: np.ndarray, size: int, mode: str = "stretch", scale: float | None = None
) -> np.ndarray:
    """Resize a label map so that it aligns with the result of `resize_square`.

    Args:
      labels: uint8 [H, W].
      size: side of the result in pixels.
      mode: as for the image; "pad" and "scale" fill the rest with 0.
      scale: as for the image.

    Returns:
      uint8 [size, size], each pixel the label nearest to its centre; [size, 2 size] for modes
      with two squares.

    Raises:
      InputError: `mode` is unknown.
    """
    if mode in TWO_VIEWS:
        squares = [resize_labels(labels, size, view, scale) for view in views_of(mode)]
        return np.concatenate(squares, axis=1)
    if mode == "scale":
        return _scaled(Image.fromarray(labels), size, scale, Image.Resampling.NEAREST, 0)
    return _squared(Image.fromarray(labels), size, mode, Image.Resampling.NEAREST, 0)


@dataclasses.dataclass(frozen=True)
class Frame:
    """Position mapping of `resize_square`: `point * scale + offset`, in pixels.

    Points are (x, y) from the upper left corner of the image, which is (0, 0); the centre of the
    first pixel is (0.5, 0.5).

    Attributes:
      scale: float64 [2].
      offset: float64 [2].
    """

    scale: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(
        cls,
        image_size: tuple[int, int],
        size: int,
        mode: str = "stretch",
        scale: float | None = None,
    ) -> "Frame":
        """Return the frame of an image.

        Args:
          image_size: its width and height in pixels.
          size: side of the resized image in pixels.
          mode: see `resize_square`; for modes with two squares, see `frames`.
          scale: see `resize_square`.

        Raises:
          InputError: `mode` is unknown, or has two squares.
        """
        check_choice("data.resize", mode, ONE_VIEW)
        sides = np.asarray(image_size, np.float64)
        if mode == "scale":
            scale = _given(scale)
            return cls(np.full(2, scale), -_corner(sides, size, scale) * scale)
        if mode == "stretch":
            scaled = np.full(2, float(size))
        elif mode == "crop":
            scaled = sides * size / sides.min()
        else:  # Pillow pads whole pixels.
            scaled = np.array([max(1, round(s / sides.max() * size)) for s in sides], np.float64)
        margin = (size - scaled) / 2
        offset = np.array([round(m) for m in margin], np.float64) if mode == "pad" else margin
        return cls(scaled / sides, offset)


def frames(
    image_size: tuple[int, int], size: int, mode: str = "stretch", scale: float | None = None
) -> tuple[Frame, ...]:
    """Return the frame of each square of `resize_square`, in pixels of the whole result.

    Args:
      image_size: width and height of the image in pixels.
      size: side of a square in pixels.
      mode: see `resize_square`.
      scale: see `resize_square`.

    Raises:
      InputError: `mode` is unknown.
    """
    found = []
    for number, view in enumerate(views_of(mode)):
        frame = Frame.of(image_size, size, view, scale)
        beside = np.array([number * size, 0.0])
        found.append(Frame(frame.scale, frame.offset + beside))
    return tuple(found)


def _squared(image: Image.Image, size: int, mode: str, resampling, colour) -> np.ndarray:
    check_mode(mode)
    if mode == "stretch":
        return np.asarray(image.resize((size, size), resampling))
    if mode == "crop":
        return np.asarray(ImageOps.fit(image, (size, size), resampling))
    return np.asarray(ImageOps.pad(image, (size, size), resampling, color=colour))


def _given(scale: float | None) -> float:
    if scale is None or not scale > 0:  # a caller's mistake; user input is checked earlier
        raise ValueError(f'scale={scale}: resize mode "scale" requires a positive value')
    return scale


def _corner(sides: np.ndarray, size: int, scale: float) -> np.ndarray:
    """Upper left corner of the square about the centre, float64 [2], in pixels of the image."""
    corner = (sides - size / scale) / 2
    return np.floor(corner) if scale == 1 else corner  # half a pixel would blur the copy


def _scaled(
    image: Image.Image,
    size: int,
    scale: float | None,
    resampling: Image.Resampling,
    fill: int | tuple[int, ...],
) -> np.ndarray:
    """Return the square about the centre; pixels whose centre lies outside the image are filled."""
    scale = _given(scale)
    sides = np.asarray(image.size, np.float64)
    corner = _corner(sides, size, scale)
    first = np.clip(np.ceil(-corner * scale - 0.5), 0, (size - 1) // 2).astype(int)
    last = np.clip(np.floor((sides - corner) * scale + 0.5), first + 1, size).astype(int)
    start, end = corner + first / scale, corner + last / scale
    # The outermost pixels may extend beyond the image by half their width.
    beyond = np.ceil(np.maximum(0, np.maximum(-start, end - sides))).astype(int)
    if beyond.any():
        grown = Image.new(image.mode, tuple((sides.astype(int) + 2 * beyond).tolist()), fill)
        grown.paste(image, tuple(beyond.tolist()))
        image = grown
    box = (*(start + beyond).tolist(), *(end + beyond).tolist())
    wide, high = (last - first).tolist()
    found = np.asarray(image.resize((wide, high), resampling, box=box))
    square = np.empty((size, size, *found.shape[2:]), np.uint8)
    square[:] = fill
    (left, top), (right, bottom) = first.tolist(), last.tolist()
    square[top:bottom, left:right] = found
    return square


def check_mode(mode: str) -> None:
    """Raises InputError unless `mode` is one of `RESIZE_MODES`."""
    check_choice("data.resize", mode, RESIZE_MODES)


def decode_labels(encoded: bytes, size: int, mode: str = "stretch") -> np.ndarray:
    """Decode a label map, a PNG file of uint8 [H, W], and resize it as `resize_labels` does."""
    drawn = np.asarray(images.decode(encoded, "a map of labels"))
    return resize_labels(drawn, size, mode)


def decode_square(
    encoded: bytes,
    size: int,
    mode: str = "stretch",
    *,
    scale: float | None = None,
    margin: int = 0,
    fill: str = "black",
    name: str = "",
) -> np.ndarray:
    """Decode an encoded image (PNG, JPEG, BMP or TIFF) and resize it to a square.

    Args:
      encoded: the file's bytes.
      size: side of the result in pixels.
      mode: see `resize_square`.
      scale: see `resize_square`.
      margin: pixels to keep on each side of the square if `mode` is "crop" or "scale", see
        `crop_with_margin` and `scale_with_margin`.
      fill: fill of the margin beyond the image border, for "crop".
      name: name of the image in an error.

    Returns:
      uint8 [size + 2 margin, size + 2 margin, 3], RGB.

    Raises:
      InputError: the bytes cannot be used, see `cervix_jax.files.images.decode`.
    """
    upright = images.rgb(images.decode(encoded, name or "image"))
    if margin and mode == "crop":
        return crop_with_margin(upright, size, margin, fill)
    if margin and mode == "scale":
        return scale_with_margin(upright, size, margin, scale)
    return resize_square(upright, size, mode, scale)
