"""Flips, quarter turns, and one affine warp with one bilinear sampling for everything else."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from cervix_jax.data.augment.draws import spread, uniform_per_example
from cervix_jax.data.augment.settings import AugmentSettings
from cervix_jax.errors import InputError

# fill -> (boundary mode of map_coordinates, constant outside)
_BOUNDARY = {
    "reflect": ("mirror", 0.0),
    "edge": ("nearest", 0.0),
    "black": ("constant", 0.0),
    "white": ("constant", 1.0),
}


def random_dihedral(
    key: jax.Array, images: jax.Array, *, flip: bool = True, rot90: bool = True
) -> jax.Array:
    """Apply a random symmetry of the square to every image; pixels are permuted, never blended.

    Args:
      key: a random key.
      images: `[B, H, W, C]` of any dtype; H == W if `rot90`.
      flip: whether to allow mirror images.
      rot90: whether to allow quarter turns.

    Returns:
      Images of the same shape and dtype. The allowed symmetries are equally likely: 8 with both
      arguments, 4 with either.

    Raises:
      InputError: `rot90` is set and the images are not square.
    """
    if rot90:
        check_square(images)
    batch = images.shape[0]
    left_right, up_down, transposed = (
        bit[:, None, None, None] for bit in dihedral_bits(key, batch, flip=flip, rot90=rot90)
    )
    if rot90:
        images = jnp.where(transposed, images.swapaxes(1, 2), images)
    images = jnp.where(left_right, images[:, :, ::-1], images)
    return jnp.where(up_down, images[:, ::-1], images)


def check_square(images: jax.Array) -> None:
    """Raises `InputError` unless images `[B, H, W, C]` can be turned by 90 degrees."""
    height, width = images.shape[1:3]
    if height != width:
        raise InputError(
            f"augment.rot90 needs square images, these are {height} x {width}:"
            " turn it off or resize to a square"
        )


def dihedral_bits(
    key: jax.Array, batch: int, *, flip: bool = True, rot90: bool = True
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws the symmetries of `random_dihedral`.

    Returns:
      bool `[batch]` each: mirror left-right, mirror up-down, and transpose before both.
    """
    left_right, up_down, transposed = (uniform_per_example(key, batch, 3) < 0.5).T
    if not rot90:
        transposed = jnp.zeros_like(transposed)
    if not flip:
        # A turn by 90 or 270 degrees is a transposition and one mirror; by 0 or 180, none or two.
        up_down = left_right ^ transposed
    return left_right, up_down, transposed


def dihedral(images: jax.Array, number: int) -> jax.Array:
    """Apply one of the 8 symmetries of the square, the same to every image.

    Args:
      images: `[B, S, S, C]` of any dtype.
      number: 0 to 7; bit 0 mirrors left-right, bit 1 up-down, bit 2 transposes first; 0 is the
        identity.
    """
    if number & 4:
        images = images.swapaxes(1, 2)
    if number & 1:
        images = images[:, :, ::-1]
    return images[:, ::-1] if number & 2 else images


def random_affine(
    key: jax.Array, batch: int, height: int, width: int, settings: AugmentSettings
) -> jax.Array:
    """Draws the maps from output to input pixel positions.

    The parts are composed in this order: a window of the input (crop, scale, aspect), rotation
    about its centre, shift. Rotation, scale, shift and shape are drawn independently.

    Args:
      key: a random key.
      batch: number of maps.
      height: image height in pixels.
      width: image width in pixels.
      settings: the geometric settings; flips and quarter turns are not part of the map.

    Returns:
      float32 `[batch, 2, 3]`: input (row, column), measured from the image centre, is
      `map[:, :2] @ output (row, column) + map[:, 2]`.
    """
    angle, scale, row, column, area, ratio, window_row, window_column = uniform_per_example(
        key, batch, 8
    ).T
    angle = spread(angle, math.radians(settings.rotation_degrees))
    low, high = math.log1p(-settings.scale), math.log1p(settings.scale)
    magnification = jnp.exp(low + (high - low) * scale)
    ratio = jnp.exp(spread(ratio, math.log1p(settings.aspect)))
    area = settings.crop_area + (1 - settings.crop_area) * area if settings.crops else 1.0
    window_height, window_width = jnp.sqrt(area / ratio), jnp.sqrt(area * ratio)
    row = spread(row, settings.translate) * height
    column = spread(column, settings.translate) * width
    if settings.crops:
        # A window is cut inside the image, so a stretched window that would exceed it is trimmed.
        window_height, window_width = jnp.minimum(window_height, 1), jnp.minimum(window_width, 1)
        row += (window_row - 0.5) * (1 - window_height) * height
        column += (window_column - 0.5) * (1 - window_width) * width
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    step_row, step_column = window_height / magnification, window_width / magnification
    return jnp.stack(
        [
            jnp.stack([cosine * step_row, -sine * step_column, row], axis=-1),
            jnp.stack([sine * step_row, cosine * step_column, column], axis=-1),
        ],
        axis=1,
    )


def warp(images: jax.Array, maps: jax.Array, fill: str = "reflect", margin: int = 0) -> jax.Array:
    """Samples images bilinearly at affine positions.

    No low-pass filter is applied, so a map that shrinks an image below about half causes aliasing.

    Args:
      images: float `[B, H, W, C]` in [0, 1], H and W at least 2.
      maps: `[B, 2, 3]` from output to input positions, as `random_affine` returns them.
      fill: one of `settings.FILLS`.
      margin: pixels on each side by which the output is smaller; its centre is the same.

    Returns:
      float32 `[B, H - 2 margin, W - 2 margin, C]`, a convex combination of pixels and fill.
    """
    _, height, width, _ = images.shape
    mode, constant = _BOUNDARY[fill]
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2])
    rows = jnp.arange(margin, height - margin)[:, None] - centre[0]
    columns = jnp.arange(margin, width - margin)[None, :] - centre[1]

    def sample(image: jax.Array, affine: jax.Array) -> jax.Array:
        positions = [
            affine[axis, 0] * rows + affine[axis, 1] * columns + affine[axis, 2] + centre[axis]
            for axis in range(2)
        ]
        return jax.vmap(
            lambda channel: map_coordinates(channel, positions, order=1, mode=mode, cval=constant),
            in_axes=-1,
            out_axes=-1,
        )(image)

    return jax.vmap(sample)(images, maps)
